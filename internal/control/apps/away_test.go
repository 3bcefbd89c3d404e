package apps_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// awayEngine takes nothing for a number of times, as one whose API is away.
type awayEngine struct {
	engine.Engine
	times atomic.Int32
}

func (e *awayEngine) Apply(ctx context.Context, o engine.Object) error {
	if e.times.Add(-1) >= 0 {
		return errs.Wrap(engine.ErrAway, errs.KindUnavailable, "the engine cannot be reached: try again")
	}
	return e.Engine.Apply(ctx, o)
}

// A deploy waits for an engine that is away longer than it tries what fails,
// and says so.
func TestEngineIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := &awayEngine{Engine: r.fake}
	e.times.Store(10)
	r.opt.Engine = e
	r.start()
	r.create("iris")
	lines, end := r.follow(r.push("iris"))
	if end.State != slipway.DeployLive {
		t.Fatalf("the deploy is %s: %s; lines %q", end.State, end.Reason, lines)
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "the engine cannot be reached") }) {
		t.Errorf("nobody is told: %q", lines)
	}
}
