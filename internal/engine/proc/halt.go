package proc

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Halt stops every sandbox gracefully and forgets nothing: the next engine on
// the folder starts what is wanted again. It is for a machine's administrator
// who stops the platform, when no engine runs; an engine that merely ends
// leaves its sandboxes running. A task under way is Lost. The machine gets back what
// all engines on it share, unless another one's sandboxes run.
func Halt(ctx context.Context, opt Options) error {
	e := newEngine(opt)
	if err := e.check(); err != nil {
		return err
	}
	if _, err := os.Stat(e.opt.Root); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := e.lock(); err != nil {
		return err
	}
	defer e.Close() //nolint:errcheck // nothing of its own is under way
	if err := e.prepare(); err != nil {
		return err
	}
	var stops []func(context.Context) error
	for _, ob := range e.objects {
		for _, r := range ob.replicas {
			stops = append(stops, func(ctx context.Context) error { return e.halt(ctx, ob, r) })
		}
	}
	if err := loop.Run(ctx, stops...); err != nil {
		return err
	}
	return e.giveBack()
}

// machineLock is held, shared, by every engine of root.
const machineLock = "/run/slipway-engine.lock"

// share says that this engine needs what all engines of the machine share.
func (e *Engine) share() error {
	f, err := os.OpenFile(machineLock, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil //nolint:nilerr // then nothing is ever given back
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		return errors.Join(err, f.Close())
	}
	e.shared = f
	return nil
}

// giveBack removes the cgroups' parents and the firewall's table, unless another
// engine runs, which needs them for its next sandbox, or its sandboxes do.
func (e *Engine) giveBack() error {
	if e.shared == nil || unix.Flock(int(e.shared.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	e.cg.drop()
	return dropFirewall()
}

func (e *Engine) halt(ctx context.Context, ob *object, r *replica) error {
	if err := e.stop(ctx, ob.rec.Grace, r); err != nil {
		return err
	}
	if err := e.clear(ctx, r); err != nil {
		return err
	}
	if ob.ref.Kind != engine.KindWorkload {
		return nil
	}
	// Without it the next engine would see a crash, and wait before it starts.
	if err := os.Remove(r.priv(inside.StateFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
