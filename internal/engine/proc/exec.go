package proc

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/console"
	runc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// Exec implements engine.Engine.
func (e *Engine) Exec(ctx context.Context, id engine.ReplicaRef, c engine.Command, s engine.Streams) (engine.Exit, error) {
	if len(c.Args) == 0 {
		return engine.Exit{}, errs.Invalid("there is no command to run")
	}
	e.mu.Lock()
	ob := e.objects[id.Ref]
	var r *replica
	var rec record
	if ob != nil {
		r, rec = ob.replicas[id.Index], ob.rec
	}
	live := r != nil && r.observed("").Phase == engine.PhaseRunning && alive(r.pid, r.born)
	e.mu.Unlock()
	switch {
	case ob == nil || r == nil:
		return engine.Exit{}, errs.NotFound("there is no replica %d of %s", id.Index, id.Ref)
	case !live:
		return engine.Exit{}, errs.Conflict("replica %d of %s does not run", id.Index, id.Ref)
	}
	var more []string
	for _, v := range c.Env {
		more = append(more, v.Name+"="+v.Value.Reveal())
	}
	rec.Env = append(slices.Clone(rec.Env), more...)
	p := specs.Process{
		Args: e.words(rec, c.Args), Env: environment(rec), Cwd: "/app", Terminal: c.TTY, NoNewPrivileges: true,
		User:         specs.User{UID: uint32(rec.UID), GID: uint32(rec.UID)},
		Capabilities: &specs.LinuxCapabilities{},
	}
	if e.plain {
		p.Env = more
	}
	run := e.pipes
	if c.TTY {
		run = e.terminal
	}
	err := run(ctx, r, p, s)
	exit := engine.Exit{At: time.Now().UTC()}
	var status *runc.ExitError
	if errors.As(err, &status) {
		exit.Code = status.Status
		if exit.Code > 128 {
			exit.Signal = exit.Code - 128
		}
		return exit, nil
	}
	return exit, err
}

// words are the arguments as they are where the program runs.
func (e *Engine) words(rec record, args []string) []string {
	if args[0] != engine.Init {
		return args
	}
	args = slices.Clone(args)
	args[0] = initAt
	if !e.plain {
		return args
	}
	args[0] = e.init
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, a := range args {
		for _, m := range rec.Mounts {
			if v := e.volumes[m.Volume]; v != nil && a == m.Path {
				args[i] = filepath.Join(v.dir, "data")
			}
		}
	}
	return args
}

// execIO hands runc the ends of pipes or of a terminal.
type execIO struct {
	in       *os.File
	out, err *os.File
}

func (execIO) Close() error          { return nil }
func (execIO) Stdin() io.WriteCloser { return nil }
func (execIO) Stdout() io.ReadCloser { return nil }
func (execIO) Stderr() io.ReadCloser { return nil }
func (i execIO) Set(cmd *exec.Cmd) {
	if i.in != nil {
		cmd.Stdin = i.in
	}
	cmd.Stdout, cmd.Stderr = i.out, i.err
}

// enter runs a program beside the replica's own.
func (e *Engine) enter(ctx context.Context, r *replica, p specs.Process, s execIO) error {
	if e.plain {
		return e.plainExec(ctx, r, p, s)
	}
	return e.client("").Exec(ctx, r.cid, p, &runc.ExecOpts{IO: s})
}

func (e *Engine) pipes(ctx context.Context, r *replica, p specs.Process, s engine.Streams) (err error) {
	var open []*os.File
	defer func() {
		for _, f := range open {
			_ = f.Close() // closed twice when all went well
		}
	}()
	pipe := func() (r, w *os.File) {
		if err == nil {
			if r, w, err = os.Pipe(); err == nil {
				open = append(open, r, w)
			}
		}
		return r, w
	}
	inR, inW := pipe()
	outR, outW := pipe()
	errR, errW := pipe()
	if err != nil {
		return err
	}
	g := loop.New(ctx, e.opt.Log)
	g.Spawn("input", func(context.Context) error {
		if s.In != nil {
			_, _ = io.Copy(inW, s.In) // its end, or the program's, ends it
		}
		return inW.Close()
	})
	drain := func(w io.Writer, r *os.File) func(context.Context) error {
		if w == nil {
			w = io.Discard
		}
		return func(context.Context) error {
			_, err := io.Copy(w, r)
			return err
		}
	}
	return loop.Run(context.WithoutCancel(ctx), drain(s.Out, outR), drain(s.Err, errR), func(context.Context) error {
		err := e.enter(ctx, r, p, execIO{inR, outW, errW})
		return errors.Join(err, outW.Close(), errW.Close(), inR.Close())
	})
}

func (e *Engine) terminal(ctx context.Context, r *replica, p specs.Process, s engine.Streams) error {
	master, path, err := console.NewPty()
	if err != nil {
		return err
	}
	defer master.Close()
	slave, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer slave.Close()
	g := loop.New(ctx, e.opt.Log)
	if s.In != nil {
		g.Spawn("input", func(context.Context) error {
			_, _ = io.Copy(master, s.In) // its end, or the terminal's, ends it
			return nil
		})
	}
	out := s.Out
	if out == nil {
		out = io.Discard
	}
	return loop.Run(context.WithoutCancel(ctx), func(context.Context) error {
		_, _ = io.Copy(out, master) // a terminal's end reads as an error
		return nil
	}, func(context.Context) error {
		err := e.enter(ctx, r, p, execIO{slave, slave, slave})
		return errors.Join(err, slave.Close())
	})
}
