package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
)

// machine is one of a cluster's: its control plane, a node, or the host's
// share, which is in the host's network and forwards DNS.
type machine struct {
	c      *Cluster
	name   string
	number int // of the node; 0 the control plane, -1 the host's share
	ip     netip.Addr
}

// Control is the name of the machine of the control plane; nodes are n1, n2 and so on.
const Control = "control"

const host = "host"

func (c *Cluster) machines() []machine {
	out := []machine{{c, host, -1, c.gateway()}, {c, Control, 0, c.control()}}
	for n := 1; n <= c.Nodes; n++ {
		out = append(out, machine{c, fmt.Sprintf("n%d", n), n, c.node(n)})
	}
	return out
}

func (c *Cluster) machine(name string) (machine, error) {
	for _, m := range c.machines() {
		if m.name == name {
			return m, nil
		}
	}
	return machine{}, fmt.Errorf("the cluster has no machine %q", name)
}

// nodes are the machines that run pods.
func (c *Cluster) nodes() []machine { return c.machines()[2:] }

// pid is the host's number of the machine's first process, 0 when there is none.
func (m machine) pid() int {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		cmdline, err := os.ReadFile(f)
		if err != nil || !bytes.Equal(cmdline, []byte(holdName+"\x00"+m.c.Dir+"\x00"+m.name+"\x00")) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(f), "status"))
		if err != nil || !bytes.Contains(status, []byte("\t1\nNSpgid:")) { // not a child that has not yet become its program
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		return pid
	}
	return 0
}

// boot starts the machine's first process and connects it; its programs are not started.
func (m machine) boot(ctx context.Context) error {
	for _, dir := range []string{"var/lib", "var/log", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(m.c.Dir, m.name, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.Symlink("/run", filepath.Join(m.c.Dir, m.name, "var", "run")); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(m.c.Dir, "logs", m.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self) // it outlives us
	cmd.Args = []string{holdName, m.c.Dir, m.name}
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if m.name != host {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWNET
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	waiting, ended := context.WithCancel(ctx)
	defer ended()
	loop.New(context.WithoutCancel(ctx), slog.Default()).Spawn("machine", func(context.Context) error {
		defer ended()
		_ = cmd.Wait() // its log says why
		return nil
	})
	if err := until(waiting, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", m.socket())
		if err == nil {
			c.Close()
		}
		return err
	}); err != nil {
		return err
	}
	if m.name == host {
		return nil
	}
	return m.connect()
}

func (m machine) socket() string { return filepath.Join(m.c.Dir, m.name+".sock") }

// tell has the machine's first process do something with a program.
func (m machine) tell(ctx context.Context, program, verb string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", m.socket())
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://machine/"+program+"/"+verb, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s on %s: %w", verb, program, m.name, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("%s %s on %s: %s", verb, program, m.name, bytes.TrimSpace(why))
	}
	return nil
}

// command is one that runs on the machine.
func (m machine) command(ctx context.Context, argv ...string) *exec.Cmd {
	flags := []string{"-t", strconv.Itoa(m.pid()), "-m", "-n", "-p", "-u", "-i", "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(flags, argv...)...)
	cmd.Env = append(os.Environ(), "PATH="+insideParts+"/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"CONTAINERD_ADDRESS=/run/containerd/containerd.sock", "CONTAINERD_NAMESPACE=k8s.io")
	return cmd
}

// halt kills all of the machine's processes and waits for their end.
func (m machine) halt() error {
	pid := m.pid()
	if pid == 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	for { // the kernel tells when all processes of the namespace have ended
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && n == 0 {
			err = fmt.Errorf("the processes of %s do not end", m.name)
		}
		return err
	}
}

const cgroups = "/sys/fs/cgroup"

// hierarchies are the folders with the roots of the host's cgroups: one on
// version 2, one for each controller on version 1.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(cgroups + "/cgroup.controllers"); err == nil {
		return []string{cgroups}, nil
	}
	files, err := filepath.Glob(cgroups + "/*/cgroup.procs")
	if err == nil && len(files) == 0 {
		err = errors.New("no cgroups are mounted at " + cgroups)
	}
	var out []string
	for _, f := range files {
		out = append(out, filepath.Dir(f))
	}
	return out, err
}

// cgroup is the machine's, below which its kubelet keeps those of pods.
func (m machine) cgroup() string { return filepath.Join("/", m.c.bridge(), m.name) }

// weights are files with the share of CPU of the pods of all nodes together,
// where an ordinary group of processes has 1024, or 100 on version 2: they are
// many programs, which a busy machine would else give the share of one.
var weights = map[string]string{"cpu.shares": "8192", "cpu.weight": "800"}

func (m machine) makeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		at := root
		for _, part := range strings.Split(m.cgroup(), "/")[1:] {
			above := at
			at = filepath.Join(at, part)
			if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} { // a new one of version 1 has none, and takes no process
				if root == cgroups {
					continue
				}
				if all, err := os.ReadFile(filepath.Join(above, f)); err == nil {
					if err := os.WriteFile(filepath.Join(at, f), all, 0); err != nil {
						return err
					}
				}
			}
		}
		for file, weight := range weights {
			path := filepath.Join(root, m.c.bridge(), file)
			if _, err := os.Stat(path); err != nil { // another hierarchy's, or the other version's
				continue
			}
			if err := os.WriteFile(path, []byte(weight), 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cluster) removeCgroups() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, c.bridge()), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for _, d := range slices.Backward(dirs) {
			if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("remove cgroup %s: %w", d, err)
			}
		}
	}
	return nil
}
