package apps

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// A replica of web that answered once is asked again from time to time. What
// counts is that it answers, not what: an app whose database is away is not
// mended by a restart. It is ended when it has been silent for all of
// Limits.Silent, over several requests; one that computes meanwhile is busy with
// somebody's request, and gets busyFactor times as long.

const (
	aliveChecks  = 4 // requests at least that got no answer
	busyMilliCPU = 200
	busyFactor   = 5
)

// watch asks one life of a ready replica until that life is over.
func (a *appLoop) watch(ctx context.Context, w wanted, r engine.Replica) {
	silent := a.s.Limits.Silent
	var since time.Time // of the silence
	failed := 0
	for {
		every := silent / 4
		if failed > 0 {
			every = silent / 12
		}
		if loop.Sleep(ctx, every) != nil {
			return
		}
		asked := a.s.now()
		why := a.s.alive(ctx, r.Endpoint, w)
		if ctx.Err() != nil {
			return
		}
		if why == "" {
			failed, since = 0, time.Time{}
			continue
		}
		if failed++; failed == 1 {
			since = asked
		}
		lasted := a.s.now().Sub(since)
		if failed < aliveChecks || lasted < silent || lasted < busyFactor*silent && a.s.busy(ctx, r.ID, w.app.ID) {
			continue
		}
		a.restart(ctx, w, r, why, lasted)
		failed = 0 // should it still live, from the beginning
	}
}

// restart ends a replica that does not answer.
func (a *appLoop) restart(ctx context.Context, w wanted, r engine.Replica, why string, lasted time.Duration) {
	reason := "it did not answer for " + lasted.Round(time.Second).String() + " (" + why + "), so it was restarted"
	a.s.Log.WarnContext(ctx, "a replica does not answer and is restarted", "app", w.app.Name, "replica", r.ID.Ref.Name, "index", r.ID.Index, "reason", why)
	e, ok := a.s.Engine.(engine.Restarter)
	if !ok {
		a.s.Log.WarnContext(ctx, "this engine cannot restart a replica", "app", w.app.Name)
		return
	}
	if err := e.Restart(ctx, r.ID, reason); err != nil && ctx.Err() == nil {
		a.s.Log.WarnContext(ctx, "a replica could not be restarted", "app", w.app.Name, "error", err)
	}
}
