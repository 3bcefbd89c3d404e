package apps_test

import (
	"context"
	"sync/atomic"
	"testing"

	"slipway.dev/slipway/internal/engine"
)

// watchedEngine counts how often it is observed.
type watchedEngine struct {
	engine.Engine
	times atomic.Int32
}

func (e *watchedEngine) Observe(ctx context.Context) (engine.Snapshot, error) {
	e.times.Add(1)
	return e.Engine.Observe(ctx)
}

// A deploy that waits for its release to be well sleeps between two looks: its
// own passes do not wake it.
func TestWaitingIsNotBusy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := &watchedEngine{Engine: r.fake}
	r.opt.Engine = e
	r.build.plan.Procfile = map[string]string{"web": "slow"}
	r.start()
	r.create("iris")
	r.live(r.push("iris"))
	if n := e.times.Load(); n > 200 {
		t.Errorf("the engine was observed %d times for one deploy", n)
	}
}
