package proc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	runc "github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// work makes one object what it should be until it is gone.
func (e *Engine) work(ctx context.Context, ob *object) error {
	retry := loop.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	for {
		wait, gone, err := e.converge(ctx, ob)
		switch {
		case gone:
			e.changed(ob.ref)
			return nil
		case ctx.Err() != nil:
			return nil
		case err != nil:
			e.opt.Log.Error("an object is not as it should be; trying again", "ref", ob.ref.String(), "error", err)
			if retry.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		retry.Reset()
		var timer <-chan time.Time
		if wait > 0 {
			timer = time.After(wait)
		}
		select {
		case <-ob.poke:
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

// converge does everything that can be done now and tells when to look again.
func (e *Engine) converge(ctx context.Context, ob *object) (wait time.Duration, gone bool, err error) {
	e.mu.Lock()
	rec := ob.rec
	var todo []func(context.Context) error
	for i, r := range ob.replicas {
		r.refresh()
		if rec.Removing || i >= rec.Replicas {
			todo = append(todo, func(ctx context.Context) error { return e.end(ctx, ob, r) })
		}
	}
	if !rec.Removing {
		for i := range rec.Replicas {
			r := ob.replicas[i]
			if r == nil {
				r = newReplica(ob, i)
				ob.replicas[i] = r
			}
			if d := time.Until(r.state.NotBefore); r.pid == 0 && r.result == nil && !r.task && d > 0 {
				if wait == 0 || d < wait {
					wait = d
				}
				continue
			}
			if r.pid == 0 && r.result == nil || r.pid != 0 && r.state.Phase == inside.Waiting {
				todo = append(todo, func(ctx context.Context) error { return e.step(ctx, rec, r) })
			}
		}
	}
	e.mu.Unlock()
	if len(todo) > 0 {
		err = loop.Run(ctx, todo...)
		e.changed(ob.ref)
	}
	if err != nil || !rec.Removing {
		if err == nil && len(todo) > 0 && wait == 0 {
			wait = 200 * time.Millisecond
		}
		return wait, false, err
	}
	if err := e.removeAll(ob.dir); err != nil {
		return 0, false, err
	}
	e.mu.Lock()
	delete(e.objects, ob.ref)
	e.mu.Unlock()
	close(ob.gone)
	return 0, true, nil
}

// step starts a replica, or finishes a start or a task that went on without us.
func (e *Engine) step(ctx context.Context, rec record, r *replica) error {
	e.mu.Lock()
	pid, state, begun := r.pid, r.state, r.begun
	e.mu.Unlock()
	switch {
	case pid != 0:
		return e.connect(ctx, rec, r)
	case r.task && state.Phase == inside.Exited:
		return e.finish(ctx, rec, r, exitOf(state.Exit))
	case r.task && begun:
		return e.finish(ctx, rec, r, nil)
	}
	err := e.start(ctx, rec, r)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if r.task && !errors.Is(err, errNotBegun) {
		e.opt.Log.Warn("a task's sandbox could not be started", "ref", rec.ref().String(), "error", err)
		return e.finish(ctx, rec, r, &engine.Exit{Code: 125, Message: "the sandbox could not be started: " + err.Error(), At: time.Now().UTC()})
	}
	return errors.Join(err, e.again(r, "the sandbox could not be started: "+err.Error()))
}

// again writes down that the sandbox failed and when it is next tried. With no
// init alive, the state file is the engine's.
func (e *Engine) again(r *replica, why string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := r.state
	now := time.Now().UTC()
	delay := inside.NextDelay(time.Duration(s.Delay)*time.Millisecond, now.Sub(s.Since))
	s = inside.State{
		Phase: inside.Backoff, Since: now, Restarts: s.Restarts + 1, Delay: delay.Milliseconds(), NotBefore: now.Add(delay),
		Exit: &inside.Exit{Code: 125, Message: why, At: now},
	}
	r.state = s
	if err := os.MkdirAll(r.priv(""), 0o700); err != nil {
		return err
	}
	return inside.Write(r.priv(inside.StateFile), s)
}

var errNotBegun = errors.New("it was not begun")

// start makes a sandbox and lets its program go.
func (e *Engine) start(ctx context.Context, rec record, r *replica) error {
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if !r.task {
		// An init that was running did not end by itself: count it.
		switch r.state.Phase {
		case inside.Running, inside.Stopped, inside.Waiting:
			e.mu.Lock()
			why := r.why
			r.why = ""
			e.mu.Unlock()
			return e.again(r, cmp.Or(why, "the sandbox ended: its first process was killed, or the machine restarted"))
		case inside.Backoff, inside.Exited:
		}
	}
	if err := e.clear(ctx, r); err != nil {
		return errors.Join(errNotBegun, err)
	}
	if err := e.bundle(rec, r); err != nil {
		return errors.Join(errNotBegun, err)
	}
	if r.task {
		if err := writeSync(r.path(intentFile)); err != nil {
			return errors.Join(errNotBegun, err)
		}
		e.mu.Lock()
		r.begun = true
		e.mu.Unlock()
	}
	out, err := os.OpenFile(r.path("init.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	pid, born, err := e.launch(ctx, r, out)
	if err != nil {
		return err
	}
	if pid == 0 {
		e.mu.Lock()
		r.refresh()
		ended := r.task && r.state.Phase == inside.Exited
		e.mu.Unlock()
		if ended { // sooner than we looked: the next step records it
			return nil
		}
		tail, _ := os.ReadFile(r.path("init.log"))
		return fmt.Errorf("the init ended at once: %s", tail)
	}
	e.mu.Lock()
	r.pid, r.born = pid, born
	e.mu.Unlock()
	return e.connect(ctx, rec, r)
}

// launch starts the init. It is not cut short by the end of this engine: a
// half-started task is lost. A zero pid has ended already.
func (e *Engine) launch(ctx context.Context, r *replica, out *os.File) (pid int, born uint64, err error) {
	if e.plain {
		return e.plainStart(r, out)
	}
	rc := e.client(r.path("runc.log"))
	_, err = rc.Run(context.WithoutCancel(ctx), r.cid, r.dir, &runc.CreateOpts{IO: fileIO{out}, Detach: true, NoNewKeyring: true})
	if err != nil {
		return 0, 0, runcError(err, r.path("runc.log"))
	}
	pid, born = e.runcState(r.cid)
	return pid, born, nil
}

// connect gives a new sandbox its network and says go. Repeating it is harmless.
func (e *Engine) connect(ctx context.Context, rec record, r *replica) error {
	e.mu.Lock()
	pid, born := r.pid, r.born
	e.mu.Unlock()
	if e.networked(rec) {
		attach := func() error { return e.net.attach(r.cid, pid) }
		if e.slirp != nil {
			attach = func() error { return e.slirp.attach(ctx, r, pid) }
		}
		if err := attach(); err != nil {
			return fmt.Errorf("connect the sandbox to the network: %w", err)
		}
		if err := sayGo(ctx, r.priv(inside.Socket), func() bool { return alive(pid, born) }); err != nil {
			return err
		}
	}
	// The program is there in a moment: to know it now is worth more than the scan.
	for range 50 {
		e.mu.Lock()
		r.refresh()
		done := r.pid == 0 || r.state.Phase == inside.Running || r.state.Phase == inside.Exited
		e.mu.Unlock()
		if done || loop.Sleep(ctx, time.Millisecond) != nil {
			break
		}
	}
	return nil
}

func (e *Engine) networked(rec record) bool {
	return (e.net != nil || e.slirp != nil) && rec.Egress == engine.EgressInternet
}

// end stops a replica gracefully and removes all of it.
func (e *Engine) end(ctx context.Context, ob *object, r *replica) error {
	e.mu.Lock()
	grace := ob.rec.Grace
	e.mu.Unlock()
	if err := e.stop(ctx, grace, r); err != nil {
		return err
	}
	if err := e.clear(ctx, r); err != nil {
		return err
	}
	if err := e.removeAll(r.dir); err != nil {
		return err
	}
	e.mu.Lock()
	delete(ob.replicas, r.id.Index)
	e.mu.Unlock()
	return nil
}

// Restart implements engine.Restarter.
func (e *Engine) Restart(ctx context.Context, id engine.ReplicaRef, why string) error {
	e.mu.Lock()
	var r *replica
	ob := e.objects[id.Ref]
	if ob != nil {
		r = ob.replicas[id.Index]
	}
	if r == nil || r.task || !alive(r.pid, r.born) {
		e.mu.Unlock()
		return nil
	}
	r.why = why
	grace := ob.rec.Grace
	e.mu.Unlock()
	err := e.stop(ctx, grace, r)
	ob.wake()
	return err
}

// stop sends TERM; the init sees to the grace. It is killed when it does not end.
func (e *Engine) stop(ctx context.Context, grace time.Duration, r *replica) error {
	e.mu.Lock()
	pid, born := r.pid, r.born
	e.mu.Unlock()
	if !alive(pid, born) {
		return nil
	}
	fd, err := send(pid, born, unix.SIGTERM)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal %s: %w", r.cid, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	kill := time.Now().Add(grace + 3*time.Second)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		// Again: an init that has just begun does not hear the first TERM.
		sig := unix.SIGTERM
		if time.Now().After(kill) {
			sig = unix.SIGKILL
		}
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
}

// clear removes what is left of an ended sandbox outside of its folder.
func (e *Engine) clear(ctx context.Context, r *replica) error {
	e.mu.Lock()
	r.pid, r.born = 0, 0
	e.mu.Unlock()
	if e.net != nil {
		if err := e.net.detach(r.cid); err != nil {
			return err
		}
	}
	if e.plain {
		return plainClear(ctx, r)
	}
	if e.rootless != nil {
		if err := slirpDetach(ctx, r); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(e.opt.Root, "runc", r.cid)); err == nil {
		if err := e.client("").Delete(ctx, r.cid, &runc.DeleteOpts{Force: true}); err != nil {
			return fmt.Errorf("delete sandbox %s: %w", r.cid, err)
		}
	}
	return e.cg.remove(ctx, r.cid)
}

// finish records a task's end, after its kept folders became layers. A nil
// exit means that nobody saw the end.
func (e *Engine) finish(ctx context.Context, rec record, r *replica, exit *engine.Exit) error {
	res := result{Exit: exit, Lost: exit == nil, At: time.Now().UTC()}
	if exit != nil {
		res.At = exit.At
		if !exit.Failed() {
			if err := e.keep(rec, r); err != nil {
				exit.Code, exit.Message = 125, "what it made could not be kept: "+err.Error()
			}
		}
	}
	if err := e.clear(ctx, r); err != nil {
		return err
	}
	for _, d := range []string{"home", "tmp", "keep"} {
		if err := e.removeAll(r.path(d)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if err := inside.Write(r.path(resultFile), res); err != nil {
		return err
	}
	e.mu.Lock()
	r.result = &res
	e.mu.Unlock()
	return nil
}

func writeSync(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
