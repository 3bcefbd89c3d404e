package rig

import (
	"context"
	"log/slog"

	"slipway.dev/slipway/internal/base/loop"
)

// waiter reaps the process and returns a channel that closes when it ended.
func (in *Instance) waiter() <-chan struct{} {
	g := loop.New(context.Background(), slog.Default())
	g.Spawn("wait", func(context.Context) error {
		defer close(in.done)
		_ = in.cmd.Wait() // ProcessState tells how it ended
		return nil
	})
	return in.done
}
