// Package proc is the engine of one machine: every replica is a sandbox made
// by runc, detached, so that apps outlive the platform's process and are
// adopted by the next one. PID 1 in a sandbox is slipway-init, which restarts
// the program by itself.
//
// What is wanted lies in one folder per object below Options.Root; a worker
// per object makes it so, and a scan compares it with what runs. The folders
// hold the environment's secrets and belong to the engine's user alone: root, or
// with isolation rootless an ordinary one.
package proc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/initbin"
	"slipway.dev/slipway/internal/engine/inside"
)

// Options of New.
type Options struct {
	Root        string            // the engine's folder; made when missing
	Log         *slog.Logger      // required
	Links       map[string]string // platform endpoints: name to Unix socket
	Isolation   engine.Isolation  // "" = full
	Runc        string            // path of runc; "" = look in PATH
	Nameservers []string          // "" = the host's
	Hosts       map[string]string // more names for /etc/hosts inside
	ReadOnly    []string          // more host folders to show, such as another Python
	FirstUID    int               // apps' user numbers start here; 0 = 200000
	Memory      int64             // default limit of a replica; 0 = 512 MiB
	PIDs        int64             // default limit of a replica; 0 = 512
}

// Engine implements engine.Engine.
type Engine struct {
	opt  Options
	host string // the machine's name
	runc string
	init string // the init's program on the host
	cg   cgroups
	net  *network // nil = no network at all
	why  []string // what is missing
	// plain says that there are no sandboxes: isolation none.
	plain bool
	// rootless is nil when the engine is root's, or plain.
	rootless *rootless
	slirp    *slirp // its network, or nil
	group    *loop.Group
	locked   *os.File      // keeps other engines out
	shared   *os.File      // says that this one runs; nil when nobody can tell
	slots    chan struct{} // bounds starts at once
	layers   *layers

	rootMu   sync.Mutex
	rootMade map[int]bool

	mu      sync.Mutex
	objects map[engine.Ref]*object
	volumes map[engine.Ref]*volume
	uids    map[string]int
	wakes   map[int]func(engine.Ref)
	nextID  int
}

// New opens the engine, adopts what runs and goes on with what was begun.
func New(opt Options) (*Engine, error) {
	e := newEngine(opt)
	if err := e.check(); err != nil {
		return nil, err
	}
	for _, d := range []string{"", "objects", "layers", "volumes", "runc", "bin", "rootfs"} {
		if err := os.MkdirAll(filepath.Join(opt.Root, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := e.lock(); err != nil {
		return nil, err
	}
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func newEngine(opt Options) *Engine {
	if opt.FirstUID == 0 {
		opt.FirstUID = 200000
		if opt.Isolation == engine.IsolationRootless {
			opt.FirstUID = 1000 // inside
		}
	}
	if opt.Memory == 0 {
		opt.Memory = 512 << 20
	}
	if opt.PIDs == 0 {
		opt.PIDs = 512
	}
	return &Engine{
		opt: opt, group: loop.New(context.Background(), opt.Log), slots: make(chan struct{}, 4),
		objects: map[engine.Ref]*object{}, volumes: map[engine.Ref]*volume{},
		wakes: map[int]func(engine.Ref){}, rootMade: map[int]bool{},
	}
}

// open prepares the machine and goes on where the last engine stopped.
func (e *Engine) open() error {
	if err := e.prepare(); err != nil {
		return err
	}
	if e.net != nil {
		e.net.sweep(e.objects)
	}
	if e.slirp != nil {
		e.group.Go("guard", e.guard)
	}
	for _, ob := range e.objects {
		e.group.Spawn("object", func(ctx context.Context) error { return e.work(ctx, ob) })
	}
	e.group.Go("scan", e.scan)
	return nil
}

// prepare finds out what the machine can do and what an earlier engine left.
func (e *Engine) prepare() error {
	opt := e.opt
	e.layers = &layers{dir: filepath.Join(opt.Root, "layers"), used: e.layerUsed}
	if err := errors.Join(e.claim(), e.layers.sweep(), e.installInit(), e.loadUIDs()); err != nil {
		return err
	}
	if e.plain {
		e.withoutSandbox()
		return e.load()
	}
	if e.rootless != nil {
		e.withoutRoot()
		return errors.Join(e.writeEtc(), e.load())
	}
	if err := e.share(); err != nil {
		return err
	}
	e.cg = findCgroups()
	if why := e.cg.prepare(); why != "" {
		e.why = append(e.why, why)
	}
	var why []string
	e.net, why = newNetwork(opt)
	e.why = append(e.why, why...)
	return errors.Join(e.writeEtc(), e.load())
}

// lock keeps a second engine out of the folder. A killed engine's lock is free
// at once; one that is just ending gets a moment.
func (e *Engine) lock() error {
	f, err := os.OpenFile(filepath.Join(e.opt.Root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for range 100 {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			e.locked = f
			return nil
		}
		if loop.Sleep(e.group.Context(), 50*time.Millisecond) != nil {
			break
		}
	}
	return errors.Join(errs.Wrap(err, errs.KindConflict, "another slipway uses the folder %s", e.opt.Root), f.Close())
}

// check finds what the engine cannot do without.
func (e *Engine) check() error {
	switch e.opt.Isolation {
	case "", engine.IsolationFull:
		if os.Geteuid() != 0 {
			return errs.Unsupported("isolation %q is not possible here, because slipway does not run as root: start it with sudo, or set `isolation: rootless` in slipway.yaml", engine.IsolationFull)
		}
		if err := tryNamespaces(); err != nil {
			return errs.Wrap(err, errs.KindUnsupported, "isolation %q is not possible here, because this machine does not let root make namespaces (%v): "+
				"in a container, give it the rights (privileged); or, to run trusted code as plain processes without any isolation, set `isolation: none` in slipway.yaml",
				engine.IsolationFull, err)
		}
	case engine.IsolationRootless:
		r, err := findRootless()
		if err != nil {
			return err
		}
		e.rootless = r
	case engine.IsolationNone:
		e.plain = true
	default:
		return errs.Unsupported("there is no isolation %q", e.opt.Isolation)
	}
	// A Unix socket's path ends at 107 bytes.
	if !filepath.IsAbs(e.opt.Root) || len(e.opt.Root) > 60 {
		return errs.Invalid("the path %q must be absolute and at most 60 characters long, because Unix sockets lie below it: choose a shorter one with --data", e.opt.Root)
	}
	e.host, _ = os.Hostname()
	if e.plain {
		return e.checkPlain()
	}
	e.runc = e.opt.Runc
	if e.runc == "" {
		p, err := findProgram("runc")
		if err != nil {
			return errs.Wrap(err, errs.KindUnsupported, "sandboxes need runc: install it with `apt-get install runc`")
		}
		e.runc = p
	}
	return nil
}

// tryNamespaces does what every sandbox needs, and leaves nothing.
func tryNamespaces() error {
	out, err := exec.CommandContext(context.Background(), "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--mount-proc", "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// findProgram also looks where an ordinary user's PATH does not.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err != nil {
			path, err = exec.LookPath(dir + name)
		}
	}
	return path, err
}

// installInit puts the init's program where sandboxes see it. Its name has its
// digest, so that running ones keep theirs.
func (e *Engine) installInit() error {
	b, err := initbin.Bytes()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	e.init = filepath.Join(e.opt.Root, "bin", "slipway-init-"+hex.EncodeToString(sum[:6]))
	if st, err := os.Stat(e.init); err == nil && st.Size() == int64(len(b)) {
		return nil
	}
	tmp := e.init + ".new"
	if err := os.WriteFile(tmp, b, 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, e.init)
}

// Close ends the engine's own work. Sandboxes go on. Closing twice is harmless.
func (e *Engine) Close() error {
	err := e.group.Stop()
	for _, f := range []*os.File{e.shared, e.locked} {
		if cerr := f.Close(); f != nil && !errors.Is(cerr, os.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// load reads the objects of an earlier life.
func (e *Engine) load() error {
	dirs, err := os.ReadDir(filepath.Join(e.opt.Root, "objects"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		dir := filepath.Join(e.opt.Root, "objects", d.Name())
		var rec record
		ok, err := inside.Read(filepath.Join(dir, objectFile), &rec)
		if err != nil {
			return err
		}
		if !ok { // died before it was recorded: nothing was started yet
			if err := e.removeAll(dir); err != nil {
				return err
			}
			continue
		}
		ob := newObject(dir, rec)
		if err := e.adopt(ob); err != nil {
			return err
		}
		e.objects[ob.ref] = ob
	}
	return e.loadVolumes()
}

// adopt finds the replicas of an object that were started earlier.
func (e *Engine) adopt(ob *object) error {
	dirs, err := filepath.Glob(filepath.Join(ob.dir, "r*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		var i int
		if _, err := fmt.Sscanf(filepath.Base(d), "r%d", &i); err != nil {
			continue
		}
		r := newReplica(ob, i)
		if _, err := os.Stat(r.path(intentFile)); err == nil {
			r.begun = true
		}
		var res result
		if ok, err := inside.Read(r.path(resultFile), &res); err != nil {
			return err
		} else if ok {
			r.result = &res
		}
		// Killed between making and starting, runc leaves its own process,
		// which waits for ever: the next step deletes it.
		if e.plain {
			// What was being started holds the lock until it is an init.
			_, r.pid, r.born = plainFind(r)
		} else if pid, born := e.runcState(r.cid); !halfMade(pid) {
			r.pid, r.born = pid, born
		}
		r.refresh()
		ob.replicas[i] = r
	}
	return nil
}

// halfMade reports whether the process is still runc's, not yet the init.
func halfMade(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && strings.HasPrefix(string(comm), "runc:[")
}

// runcState reads which process is PID 1 of a container, as runc keeps it.
func (e *Engine) runcState(cid string) (pid int, born uint64) {
	var st struct {
		Pid   int    `json:"init_process_pid"`
		Start uint64 `json:"init_process_start"`
	}
	if ok, err := inside.Read(filepath.Join(e.opt.Root, "runc", cid, "state.json"), &st); !ok || err != nil {
		return 0, 0
	}
	if !alive(st.Pid, st.Start) {
		return 0, 0
	}
	return st.Pid, st.Start
}

// Watch implements engine.Engine.
func (e *Engine) Watch(ctx context.Context, wake func(engine.Ref)) error {
	e.mu.Lock()
	id := e.nextID
	e.nextID++
	e.wakes[id] = wake
	e.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-e.group.Context().Done():
	}
	e.mu.Lock()
	delete(e.wakes, id)
	e.mu.Unlock()
	return ctx.Err()
}

// changed tells watchers. It is called without the lock.
func (e *Engine) changed(ref engine.Ref) {
	e.mu.Lock()
	fns := make([]func(engine.Ref), 0, len(e.wakes))
	for _, fn := range e.wakes {
		fns = append(fns, fn)
	}
	e.mu.Unlock()
	for _, fn := range fns {
		fn(ref)
	}
}

// scan compares what is known with what is: up to twenty times a second, less
// often with many replicas, so that it costs a few percent of a core at most.
func (e *Engine) scan(ctx context.Context) error {
	replicas := 0
	for loop.Sleep(ctx, min(50+time.Duration(replicas), 250)*time.Millisecond) == nil {
		var hit []*object
		replicas = 0
		e.mu.Lock()
		for _, ob := range e.objects {
			moved := false
			for _, r := range ob.replicas {
				r.refresh()
				replicas++
				moved, r.moved = moved || r.moved, false
			}
			if moved {
				hit = append(hit, ob)
			}
		}
		e.mu.Unlock()
		for _, ob := range hit {
			ob.wake()
			e.changed(ob.ref)
		}
	}
	return nil
}

// alive reports whether the process runs and is the one that was born then.
func alive(pid int, born uint64) bool {
	if pid <= 0 {
		return false
	}
	state, start, ok := procStat(pid)
	if ok && state == 'Z' && start == born {
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // it may be a child, without sandboxes
	}
	return ok && start == born && state != 'Z' && state != 'X'
}

// send signals PID 1 of a sandbox, and nobody who got its number later.
func send(pid int, born uint64, sig unix.Signal) (fd int, err error) {
	fd, err = unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	if !alive(pid, born) {
		return -1, errors.Join(unix.ESRCH, unix.Close(fd))
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Preflight tells why no engine can run on this machine, as Unsupported, or in
// the folder root, as Invalid. It makes nothing.
func Preflight(isolation engine.Isolation, root string) error {
	return (&Engine{opt: Options{Root: root, Isolation: isolation}}).check()
}
