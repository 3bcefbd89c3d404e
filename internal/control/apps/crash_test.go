package apps_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/link"
)

// killer ends a life of the core at its n-th dealing with the outside: before
// or after an effect on the engine, the builder or the gateways, and before
// anything is recorded, for which the service looks at its clock.
type killer struct {
	left atomic.Int64
	kill context.CancelFunc
	dead atomic.Bool
}

func (k *killer) tick() bool {
	if k.left.Add(-1) == 0 {
		k.dead.Store(true)
		k.kill()
	}
	return k.dead.Load()
}

var errKilled = errors.New("killed")

type mortalEngine struct {
	engine.Engine
	k *killer
}

func (e mortalEngine) Apply(ctx context.Context, o engine.Object) error {
	if e.k.tick() {
		return errKilled
	}
	err := e.Engine.Apply(ctx, o)
	if e.k.tick() {
		return errKilled
	}
	return err
}

func (e mortalEngine) Remove(ctx context.Context, ref engine.Ref) error {
	if e.k.tick() {
		return errKilled
	}
	err := e.Engine.Remove(ctx, ref)
	if e.k.tick() {
		return errKilled
	}
	return err
}

type mortalBuilder struct {
	apps.Builder
	k *killer
}

func (b mortalBuilder) Detect(ctx context.Context, source string, vars map[string]string) (build.Plan, error) {
	p, err := b.Builder.Detect(ctx, source, vars)
	if b.k.tick() {
		return p, errKilled
	}
	return p, err
}

type mortalRouter struct {
	*router
	k *killer
}

func (r mortalRouter) SetRoute(route link.Route) uint64 {
	if r.k.dead.Load() { // a dead core hands nothing out
		return 0
	}
	v := r.router.SetRoute(route)
	r.k.tick()
	return v
}

func (r mortalRouter) Acked(ctx context.Context, v uint64) error {
	if r.k.tick() {
		return errKilled
	}
	return r.router.Acked(ctx, v)
}

// TestKilledAnywhereItConverges pushes a second release and kills the core at
// its n-th dealing with the outside, for every n there is. The next core, on
// the same database and engine, must bring the deploy to its end, without a
// moment in which nobody serves, and with nothing left behind.
func TestKilledAnywhereItConverges(t *testing.T) {
	t.Parallel()
	const lanes = 6
	var lived atomic.Int64 // the first n at which nothing was killed
	lived.Store(1 << 40)
	t.Run("lanes", func(t *testing.T) {
		for lane := int64(1); lane <= lanes; lane++ {
			t.Run(strconv.FormatInt(lane, 10), func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				for n := lane * stride; n < lived.Load() && !t.Failed(); n += lanes * stride {
					if r.killedAt(n) {
						lived.Store(n)
					}
				}
			})
		}
	})
	if n := lived.Load(); n < 40 {
		t.Errorf("at most %d places to be killed at: the test has lost its grip", n)
	}
}

// killedAt reports whether the core lived to the end.
func (r *rig) killedAt(n int64) bool {
	t := r.t
	plain := r.opt
	name := fmt.Sprintf("iris-%d", n)
	r.build.set(func(b *builder) { b.plan.EnvKey, b.plan.Predeploy, b.plan.Postdeploy = "env-one", "", "" })
	r.start()
	r.create(name)
	r.settled(r.live(r.push(name)).ID)
	r.stop()

	k := &killer{}
	k.left.Store(1 << 40)
	r.opt.Engine, r.opt.Build, r.opt.Router = mortalEngine{r.fake, k}, mortalBuilder{r.build, k}, mortalRouter{r.router, k}
	r.opt.Now = func() time.Time {
		k.tick()
		return time.Now()
	}
	s := apps.New(r.opt)
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.build.set(func(b *builder) { b.plan.EnvKey, b.plan.Predeploy, b.plan.Postdeploy = "env-two", "collect", "tell" })
	d := must[slipway.Deploy](t)(s.Deploy(r.as("alice"), name, apps.DeployInput{Source: r.source("two"), Cause: slipway.CausePush}))
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	k.kill = kill
	k.left.Store(n)
	lived := false
	_ = loop.Run(ctx, s.Run, func(ctx context.Context) error {
		for ctx.Err() == nil {
			now, err := s.GetDeploy(r.as("alice"), d.ID)
			if err == nil && now.State.Final() {
				lived = !k.dead.Load()
				kill()
			}
			_ = loop.Sleep(ctx, 20*time.Millisecond)
		}
		return nil
	})

	r.opt = plain
	r.start()
	end := r.settled(d.ID)
	if end.State != slipway.DeployLive || end.Release != 2 {
		t.Errorf("killed at %d: the deploy is %s: %s; steps %+v", n, end.State, end.Reason, end.Steps)
	}
	r.live(end) // followers see the end, however often it was told
	r.eventually("only the new release is left", func() bool {
		snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
		return len(snap.Workloads) == 1 && snap.Workloads[0].ID.Name == "web-v2" && len(snap.Tasks) == 0 &&
			slices.Equal(r.router.targets(name), []string{"web-v2.0"})
	})
	if g := r.router.gaps(name); g != 0 {
		t.Errorf("killed at %d: %d tables had no target", n, g)
	}
	if rel := must[apps.Page[slipway.Release]](t)(r.Releases(r.as("alice"), name, "", 10)).Items; len(rel) != 2 {
		t.Errorf("killed at %d: %d releases", n, len(rel))
	}
	lines, _ := r.follow(end)
	if err := r.Delete(r.as("alice"), name, name); err != nil {
		t.Error(err)
	}
	r.stop()
	if got := count(lines, "install ends"); got > 1 {
		t.Errorf("killed at %d: a line of the build was copied %d times", n, got)
	}
	return lived
}

func count(lines []string, line string) int {
	n := 0
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}
