// Package supervise is what `slipway up` is: it owns the listening sockets,
// starts the gateway and the core as children that inherit them, and starts a
// child again when it dies. Because the sockets stay open here, connections
// that come while a child is away wait in the backlog and none is refused.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

const (
	namesEnv  = "SLIPWAY_LISTENERS" // names of the descriptors from 3 on
	firstFD   = 3
	stopGrace = 20 * time.Second
	healthy   = 10 * time.Second // a child that lived so long restarts at once
)

// Socket is a named listener.
type Socket struct {
	Name string
	file *os.File
}

// Listen opens an address like Open, to be handed to a child.
func Listen(ctx context.Context, name, network, addr string) (Socket, net.Addr, error) {
	l, err := Open(ctx, network, addr)
	if err != nil {
		return Socket{}, nil, err
	}
	defer l.Close()
	type filer interface{ File() (*os.File, error) }
	f, err := l.(filer).File()
	return Socket{name, f}, l.Addr(), err
}

// Open listens on a TCP address, or with network "unix" on a socket file for
// this user only, which replaces one that a dead process left.
func Open(ctx context.Context, network, addr string) (net.Listener, error) {
	if network == "unix" {
		if err := os.Remove(addr); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, errs.Wrap(err, errs.KindConflict, "the address %s is taken: stop what listens there, or choose another", addr)
	}
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "cannot listen on %s: %v", addr, reason(err))
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
		if err := os.Chmod(addr, 0o600); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// reason is what the system said, without the address again.
func reason(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// Inherited returns the listeners that the supervisor handed to this process.
func Inherited() (map[string]net.Listener, error) {
	names := os.Getenv(namesEnv)
	if names == "" {
		return nil, errs.Invalid("this command is started by `slipway up`, which hands it its sockets")
	}
	out := map[string]net.Listener{}
	for i, name := range strings.Split(names, ",") {
		f := os.NewFile(uintptr(firstFD+i), name)
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("inherited socket %s: %w", name, err)
		}
		f.Close()
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		out[name] = l
	}
	return out, os.Unsetenv(namesEnv)
}

// Child is a process to keep running.
type Child struct {
	Name    string
	Args    []string // of our own binary
	Sockets []Socket
}

// Run keeps the children running until ctx ends; then it stops them one after
// the other, in the order given.
func Run(ctx context.Context, log *slog.Logger, children ...Child) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	g := loop.New(context.WithoutCancel(ctx), log)
	stops := make([]func(), len(children))
	ended := make([]chan struct{}, len(children))
	for i, c := range children {
		childCtx, stop := context.WithCancel(g.Context())
		stops[i], ended[i] = stop, make(chan struct{})
		g.Go(c.Name, func(context.Context) error {
			defer close(ended[i])
			return c.keep(childCtx, self, log.With("child", c.Name))
		})
	}
	<-ctx.Done()
	for i := range children {
		stops[i]()
		<-ended[i]
	}
	return g.Stop()
}

// keep stays on one thread: the kernel sends the parent-death signal when the
// thread that forked ends, not the process.
func (c Child) keep(ctx context.Context, self string, log *slog.Logger) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := loop.Backoff{Min: 20 * time.Millisecond, Max: 5 * time.Second}
	for {
		began := time.Now()
		err := c.run(ctx, self)
		if ctx.Err() != nil {
			return nil
		}
		log.Error("a part of the platform died and is started again", "error", err, "lived", time.Since(began).String())
		if time.Since(began) > healthy {
			wait.Reset()
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

func (c Child) run(ctx context.Context, self string) error {
	cmd := exec.CommandContext(ctx, self, c.Args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	names := make([]string, len(c.Sockets))
	for i, s := range c.Sockets {
		names[i] = s.Name
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.Env = append(os.Environ(), namesEnv+"="+strings.Join(names, ","))
	// A process group of its own: Ctrl-C reaches only us, and we stop in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	return cmd.Run()
}

// Lock makes sure that only one platform runs on a data folder. The lock ends
// with the process.
func Lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, errs.Conflict("another slipway runs on this data folder (%s is locked): stop it, or choose another with --data", path)
	}
	return f, nil
}
