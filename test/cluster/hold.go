package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
)

// holdName is the name by which the program, the command's or a test's, is
// started again to be a machine's first process.
const holdName = "slipway-cluster-machine"

func init() { //nolint:gochecknoinits // a test's program must become a machine before its tests run
	if filepath.Base(os.Args[0]) == holdName && len(os.Args) == 3 {
		if err := hold(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, holdName+":", err)
		}
		os.Exit(1)
	}
}

// Where a machine sees the cluster's folder, and what was built.
const (
	insideDir   = "/run/slipway/cluster"
	insideParts = "/run/slipway/parts"
)

// hold is PID 1 of a machine: it sets up what the machine sees, and keeps its
// programs running as it is told over its socket. It never returns unless it fails.
func hold(dir, machineName string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return err
	}
	c := &Cluster{}
	if err := json.Unmarshal(text, c); err != nil {
		return err
	}
	m, err := c.machine(machineName)
	if err != nil {
		return err
	}
	if err := m.view(); err != nil {
		return err
	}
	k := &keeper{logs: filepath.Join(insideDir, "logs"), prefix: m.name + "-"}
	for _, p := range m.programs() {
		k.programs = append(k.programs, &kept{program: p})
	}
	if k.null, err = os.Open(os.DevNull); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", filepath.Join(insideDir, m.name+".sock"))
	if err != nil {
		return err
	}
	g := loop.New(context.Background(), slog.Default())
	g.Go("programs", k.run)
	g.Go("socket", func(context.Context) error {
		return (&http.Server{Handler: k, ReadHeaderTimeout: time.Minute}).Serve(l)
	})
	return g.Wait()
}

// view gives the machine a /var, /run and /proc of its own, and shows it files
// in place of the few settings of the kernel that a kubelet insists on: the
// host's stay as they are.
func (m machine) view() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	mounts := []struct{ from, to string }{{m.c.Dir, insideDir}, {m.c.Parts, insideParts}, {filepath.Join(m.c.Dir, m.name, "var"), "/var"}}
	var open []*os.File // the new /run and /var may hide the paths
	for _, b := range mounts {
		f, err := os.OpenFile(b.from, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		open = append(open, f)
	}
	if err := unix.Mount("run", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for i, b := range mounts {
		if err := os.MkdirAll(b.to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", open[i].Fd()), b.to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", b.to, err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, kv := range []string{
		"vm/overcommit_memory=1", "vm/panic_on_oom=0", "kernel/panic=10", "kernel/panic_on_oops=1",
		"kernel/keys/root_maxkeys=1000000", "kernel/keys/root_maxbytes=25000000",
	} {
		key, value, _ := strings.Cut(kv, "=")
		mine := filepath.Join("/run/slipway", strings.ReplaceAll(key, "/", "_"))
		if err := os.WriteFile(mine, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(mine, "/proc/sys/"+key, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mount over %s: %w", key, err)
		}
	}
	// What kubelet and containerd mount must reach each other.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("shared mounts: %w", err)
	}
	return unix.Sethostname([]byte(m.name))
}

// program is a program of a machine.
type program struct {
	name string
	argv []string
}

// keeper starts programs that are wanted, and starts them again when they end.
type keeper struct {
	logs, prefix string
	null         *os.File

	mu       sync.Mutex
	programs []*kept
}

type kept struct {
	program
	wanted bool
	pid    int // 0: it does not run
	again  time.Time
}

// respite is the time between the end of a program and its next start.
const respite = time.Second

func (k *keeper) run(ctx context.Context) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	tick := time.NewTicker(respite / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
		case <-tick.C:
		}
		k.mu.Lock()
		k.reap()
		for _, p := range k.programs {
			if p.wanted && p.pid == 0 && time.Now().After(p.again) {
				k.start(p)
			}
		}
		k.mu.Unlock()
	}
}

// reap takes note of every process that has ended, also those whose parents left them.
func (k *keeper) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if pid <= 0 || err != nil {
			return
		}
		for _, p := range k.programs {
			if p.pid == pid {
				p.pid, p.again = 0, time.Now().Add(respite)
				if p.wanted {
					fmt.Fprintf(os.Stderr, "%s %s ended: exit status %d, signal %d\n", time.Now().Format(time.TimeOnly), p.name, status.ExitStatus(), status.Signal())
				}
			}
		}
	}
}

func (k *keeper) start(p *kept) {
	log, err := os.OpenFile(filepath.Join(k.logs, k.prefix+p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		defer log.Close()
		var proc *os.Process
		proc, err = os.StartProcess(p.argv[0], p.argv, &os.ProcAttr{
			Dir:   "/",
			Env:   []string{"PATH=" + insideParts + "/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"},
			Files: []*os.File{k.null, log, log},
			Sys:   &syscall.SysProcAttr{Setpgid: true},
		})
		if err == nil {
			p.pid = proc.Pid
			_ = proc.Release() // reap waits for it
			return
		}
	}
	p.again = time.Now().Add(respite)
	fmt.Fprintf(os.Stderr, "start %s: %v\n", p.name, err)
}

// ServeHTTP does POST /<program>/<verb>; see [Cluster.Stop] and the others.
func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.programs {
		if p.name != name {
			continue
		}
		if err := k.act(p, verb); err != nil {
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintln(w, err)
		}
		return
	}
	w.WriteHeader(http.StatusNotFound)
	fmt.Fprintf(w, "no program %q here\n", name)
}

func (k *keeper) act(p *kept, verb string) error {
	signals := map[string]syscall.Signal{"kill": syscall.SIGKILL, "stop": syscall.SIGKILL, "pause": syscall.SIGSTOP, "resume": syscall.SIGCONT}
	switch sig, ok := signals[verb]; {
	case verb == "start":
		p.wanted, p.again = true, time.Time{}
		if p.pid == 0 {
			k.start(p)
		}
		return nil
	case !ok:
		return fmt.Errorf("what is %q?", verb)
	case p.pid == 0 && verb != "stop":
		return fmt.Errorf("%s does not run", p.name)
	default:
		if verb == "stop" {
			p.wanted = false
		}
		if p.pid == 0 {
			return nil
		}
		if err := syscall.Kill(p.pid, sig); err != nil {
			return err
		}
	}
	if verb == "stop" || verb == "kill" {
		_, _ = syscall.Wait4(p.pid, nil, 0, nil) // SIGKILL cannot be refused
		p.pid = 0
	}
	return nil
}
