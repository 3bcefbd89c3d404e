package proc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// With isolation none a replica is a slipway-init of the engine's own user in a
// session of its own, with a private folder for its files. Nothing is mounted:
// paths that a sandbox would show are replaced by those on the machine, in the
// command and in what the engine itself says, and ports are free ones of the
// machine, because all replicas share its loopback.

// plainPath is what may stand in a shell script without quotes.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9_./-]+$`)

const (
	plainMark = "SLIPWAY_REPLICA" // in the environment of all processes of a replica: its folder
	loopback  = "127.0.0.1"
)

// withoutSandbox says what the engine does not do.
func (e *Engine) withoutSandbox() {
	e.cg = cgroups{has: map[string]bool{}}
	e.why = append(e.why,
		"apps run as plain processes of the platform's user, as isolation none allows: they can read and change whatever that user can, "+
			"see each other's ports and files, and no limit is enforced")
}

// plainPaths finds where the replica's paths are and prepares them.
func (e *Engine) plainPaths(rec record, r *replica) (map[string]string, error) {
	at := map[string]string{home: r.path("home"), "/tmp": r.path("tmp"), "/app": r.path("app")}
	for _, l := range rec.Layers {
		at[l.At] = e.layers.path(l.Name)
	}
	for i, k := range rec.Keep {
		dir := r.path(fmt.Sprintf("keep/%d", i))
		if err := e.fillKept(rec, k, dir); err != nil {
			return nil, err
		}
		at[k.At] = dir
	}
	// An app that writes beside its source must not change the layer.
	if src := at["/app"]; filepath.Dir(src) == e.layers.dir {
		at["/app"] = r.path("app")
		if err := errors.Join(os.RemoveAll(at["/app"]), copyTree(src, at["/app"])); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(at["/app"], 0o700); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, m := range rec.Mounts {
		v := e.volumes[m.Volume]
		if v == nil {
			continue
		}
		at[m.Path] = filepath.Join(v.dir, "data")
		// Programs say ~/mount.
		if rel, ok := strings.CutPrefix(m.Path, home+"/"); ok {
			name := r.path(filepath.Join("home", rel))
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				return nil, err
			}
			if err := link(at[m.Path], name); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

// plainWords replaces paths that mean something inside a sandbox only, where
// they stand alone. It looks once: what it puts in may hold another of them.
func plainWords(s string, words map[string]string) string {
	// The longest first: /home/app/mount is not /home/app.
	from := slices.SortedFunc(maps.Keys(words), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	name := func(c byte) bool {
		return c == '_' || c == '.' || c == '-' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	var out strings.Builder
next:
	for i := 0; i < len(s); {
		if i == 0 || !name(s[i-1]) && s[i-1] != '/' {
			for _, w := range from {
				if rest, ok := strings.CutPrefix(s[i:], w); ok && (rest == "" || !name(rest[0])) {
					out.WriteString(words[w])
					i += len(w)
					continue next
				}
			}
		}
		out.WriteByte(s[i])
		i++
	}
	return out.String()
}

// freePort returns a port of loopback that nobody has now. Should another take
// it first, the program fails, and its next sandbox gets another.
func freePort() (int, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", loopback+":0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// plainSpec is what the init reads.
func (e *Engine) plainSpec(rec record, r *replica) error {
	words, err := e.plainPaths(rec, r)
	if err != nil {
		return err
	}
	spec := inside.Spec{UID: -1, Grace: rec.Grace, Deadline: rec.Deadline, Once: r.task, Dir: words["/app"]}
	var moved []string
	for _, l := range rec.Links {
		port, err := freePort()
		if err != nil {
			return err
		}
		spec.Links = append(spec.Links, inside.Link{Port: port, To: "unix://" + e.opt.Links[l.Target]})
		moved = append(moved, fmt.Sprintf("%s:%d", loopback, l.Port), fmt.Sprintf("%s:%d", loopback, port))
	}
	addresses := strings.NewReplacer(moved...)
	given := rec.Env
	rec.Env = nil
	for _, a := range rec.Command {
		spec.Args = append(spec.Args, plainWords(addresses.Replace(a), words))
	}
	for _, v := range environment(rec) {
		spec.Env = append(spec.Env, plainWords(v, words))
	}
	spec.Env = append(spec.Env, plainMark+"="+r.dir,
		"UV_VENV_RELOCATABLE=1") // an environment is not built where it will be
	if rec.Port != 0 {
		if spec.Port, err = freePort(); err != nil {
			return err
		}
		// Nobody else may reach the port, not even from another machine.
		spec.Env = append(spec.Env, fmt.Sprintf("GUNICORN_CMD_ARGS=--bind %s:%d", loopback, spec.Port))
	}
	for _, v := range given {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case rec.Port != 0 && value == strconv.Itoa(rec.Port):
			value = strconv.Itoa(spec.Port)
		case value == "0.0.0.0":
			value = loopback
		default:
			value = addresses.Replace(value)
		}
		spec.Env = slices.DeleteFunc(spec.Env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		spec.Env = append(spec.Env, name+"="+value)
	}
	return inside.Write(r.priv(inside.SpecFile), spec)
}

// plainStart starts the init, which outlives the engine.
func (e *Engine) plainStart(r *replica, out *os.File) (pid int, born uint64, err error) {
	cmd := exec.CommandContext(context.Background(), e.init, r.priv(""))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.Env = []string{"GOMAXPROCS=2", "GOGC=50", plainMark + "=" + r.dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	pid = cmd.Process.Pid
	_, born, _ = procStat(pid)
	return pid, born, cmd.Process.Release() // reaped by alive
}

// plainFind returns the processes of a replica, and which one is its init.
// They carry its mark, however they were started and whoever is their parent.
func plainFind(r *replica) (all []int, init int, born uint64) {
	dirs, _ := os.ReadDir("/proc")
	mark := []byte(plainMark + "=" + r.dir + "\x00")
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		env, err := os.ReadFile("/proc/" + d.Name() + "/environ")
		if err != nil || !bytes.Contains(env, mark) {
			continue
		}
		all = append(all, pid)
		args, _ := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if f := strings.Split(string(args), "\x00"); len(f) == 3 && strings.HasPrefix(filepath.Base(f[0]), "slipway-init-") && f[1] == r.priv("") {
			if state, start, ok := procStat(pid); ok && state != 'Z' {
				init, born = pid, start
			}
		}
	}
	return all, init, born
}

// plainClear kills what a dead init left.
func plainClear(ctx context.Context, r *replica) error {
	for {
		all, _, _ := plainFind(r)
		if len(all) == 0 {
			return nil
		}
		for _, pid := range all {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
		if err := loop.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
}

// plainExec runs a program like the replica's own.
func (e *Engine) plainExec(ctx context.Context, r *replica, p specs.Process, streams execIO) error {
	var spec inside.Spec
	if _, err := inside.Read(r.priv(inside.SpecFile), &spec); err != nil {
		return err
	}
	path := ""
	for _, v := range spec.Env {
		if s, ok := strings.CutPrefix(v, "PATH="); ok {
			path = s
		}
	}
	name := p.Args[0]
	if !strings.Contains(name, "/") {
		for _, dir := range filepath.SplitList(path) {
			if found, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				name = found
				break
			}
		}
	}
	cmd := exec.CommandContext(ctx, name, p.Args[1:]...)
	cmd.Dir, cmd.Env = spec.Dir, append(spec.Env, p.Env...)
	streams.Set(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: p.Terminal}
	err := cmd.Run()
	var status *exec.ExitError
	switch {
	case errors.As(err, &status):
		code := status.ExitCode()
		if ws, ok := status.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		return &runc.ExitError{Status: code}
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return &runc.ExitError{Status: 127}
	}
	return err
}

// checkPlain tells whether the folder can be said in a script.
func (e *Engine) checkPlain() error {
	if !plainPath.MatchString(e.opt.Root) {
		return errs.Invalid("with isolation %q the path %q may hold letters, digits and _ . / - only: choose another with --data", engine.IsolationNone, e.opt.Root)
	}
	return nil
}
