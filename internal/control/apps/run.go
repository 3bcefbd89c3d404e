package apps

import (
	"context"
	"errors"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/store"
)

// Load hands out the routes of all apps as they are now: before gateways get
// the table, so that none loses an app because the core started again.
func (s *Service) Load(ctx context.Context) error {
	var all []store.App
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.Apps("")
		return err
	})
	if err != nil {
		return err
	}
	snap, err := s.observe(ctx)
	if err != nil {
		return err
	}
	fns := make([]func(context.Context) error, 0, len(all))
	for _, app := range all {
		s.mu.Lock()
		a := s.newLoop(app.ID)
		s.mu.Unlock()
		fns = append(fns, func(ctx context.Context) error { return a.load(ctx, snap) })
	}
	return loop.Run(ctx, fns...)
}

// load publishes what serves and changes nothing else.
func (a *appLoop) load(ctx context.Context, snap engine.Snapshot) error {
	a.pass.Lock()
	defer a.pass.Unlock()
	w, err := a.s.wanted(ctx, a.id)
	if err != nil {
		return err
	}
	ready := a.sync(ctx, w, snap)
	v := view{workloads: a.own(snap), ready: ready}
	a.targets = a.firstTargets(w, v)
	v.state = stateOf(w, w.desired(a.s.now()), v.workloads, a.targets)
	if err := a.publish(ctx, w, v); err != nil {
		return err
	}
	a.show(v, nil)
	return nil
}

// Run moves deploys on and keeps running what should run, until ctx ends. Call
// it once at a time, after Load.
func (s *Service) Run(ctx context.Context) error {
	g := loop.New(ctx, s.Log)
	s.mu.Lock()
	s.group = g
	loops := make([]*appLoop, 0, len(s.loops))
	for _, a := range s.loops {
		loops = append(loops, a)
	}
	s.mu.Unlock()
	for _, a := range loops {
		g.Spawn("app "+string(a.id), a.run)
	}
	g.Go("watch", s.watch)
	g.Go("dispatch", s.dispatchLoop)
	g.Go("resync", s.resync)
	g.Go("sweep", s.sweepLoop)
	g.Go("measure", s.measureLoop)
	g.Go("photos", s.photoLoop)
	err := g.Wait()
	s.mu.Lock()
	s.group = nil
	s.mu.Unlock()
	s.events.forget()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// spawn starts background work; false when Run does not run.
func (s *Service) spawn(name string, fn func(ctx context.Context) error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group == nil {
		return false
	}
	s.group.Spawn(name, fn)
	return true
}

func (s *Service) watch(ctx context.Context) error {
	again := loop.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := s.Engine.Watch(ctx, func(r engine.Ref) {
			s.mu.Lock()
			a := s.loops[slipway.AppID(r.Scope)]
			s.mu.Unlock()
			if a != nil {
				a.soon()
			}
			if r.Kind != engine.KindWorkload { // who waits for a task waits for the bell
				s.bell.ring()
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		s.Log.WarnContext(ctx, "the engine's hints stopped; the loop goes on without them", "error", err)
		if again.Wait(ctx) != nil {
			return nil
		}
	}
}

// resync looks at every app now and then, for hints may be lost: with one
// observation for all of them.
func (s *Service) resync(ctx context.Context) error {
	for {
		if loop.Sleep(ctx, s.Limits.Resync) != nil {
			return nil
		}
		snap, err := s.observe(ctx)
		if err != nil {
			s.Log.ErrorContext(ctx, "the engine cannot be observed", "error", err)
			continue
		}
		s.mu.Lock()
		loops := make([]*appLoop, 0, len(s.loops))
		for _, a := range s.loops {
			loops = append(loops, a)
		}
		s.mu.Unlock()
		for _, a := range loops {
			if _, err := a.converge(ctx, &snap); err != nil {
				a.soon() // its own loop tries again, and tells
			}
		}
		if err := s.dropOrphans(ctx, snap); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "finished tasks could not be removed", "error", err)
		}
		s.dispatchSoon()
	}
}

func (s *Service) dispatchSoon() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Service) dispatchLoop(ctx context.Context) error {
	again := loop.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	for {
		if err := s.dispatch(ctx); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "deploys cannot be started", "error", err)
			if again.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		again.Reset()
		select {
		case <-s.kick:
		case <-ctx.Done():
			return nil
		}
	}
}

// building reports whether the state counts against the builds at once.
func building(d store.Deploy) bool {
	switch d.State {
	case slipway.DeployDetecting, slipway.DeployEnv, slipway.DeployPredeploy, slipway.DeployPacking:
		return true
	default:
		return false
	}
}

// exclusive reports whether the app's next deploy waits for this one. An old
// release that drains holds up nothing.
func exclusive(d store.Deploy) bool {
	return d.State != slipway.DeployQueued && d.State != slipway.DeployDraining
}

// dispatch takes up deploys that a core before this one left, and starts
// waiting ones as far as there is room: first for whoever has the least under
// way, then for whoever waits the longest since the last.
func (s *Service) dispatch(ctx context.Context) error {
	for {
		var open []store.Deploy
		if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
			open, err = tx.OpenDeploys()
			return err
		}); err != nil {
			return err
		}
		busy := map[slipway.AppID]bool{}
		under := map[slipway.UserID]int{}
		builds := 0
		for _, d := range open {
			if d.State == slipway.DeployQueued {
				continue
			}
			s.take(d)
			busy[d.App] = busy[d.App] || exclusive(d)
			if building(d) {
				builds++
				under[d.Owner]++
			}
		}
		next := s.choose(open, busy, under, builds)
		if next == nil {
			return nil
		}
		if err := s.begin(ctx, *next); err != nil {
			return err
		}
	}
}

func (s *Service) choose(open []store.Deploy, busy map[slipway.AppID]bool, under map[slipway.UserID]int, builds int) *store.Deploy {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *store.Deploy
	for i := range open {
		d := &open[i]
		if d.State != slipway.DeployQueued || d.Canceling || busy[d.App] {
			continue
		}
		if d.Origin != 0 {
			return d // builds nothing
		}
		if builds >= s.Limits.Builds {
			continue
		}
		if best == nil || under[d.Owner] < under[best.Owner] ||
			under[d.Owner] == under[best.Owner] && s.started[d.Owner] < s.started[best.Owner] {
			best = d // those before it in line are older
		}
	}
	if best != nil {
		s.starts++
		s.started[best.Owner] = s.starts
	}
	return best
}

// begin takes a deploy out of the queue.
func (s *Service) begin(ctx context.Context, d store.Deploy) error {
	r := &run{s: s, id: d.ID, d: d}
	state := slipway.DeployDetecting
	if d.Origin != 0 {
		state = slipway.DeployReleasing
	}
	err := r.to(ctx, state, "", nil)
	if errors.Is(err, errStale) || errors.Is(err, errCanceled) {
		return nil // superseded or canceled meanwhile
	}
	if err == nil {
		s.take(r.d)
	}
	return err
}

// take runs a deploy unless it runs.
func (s *Service) take(d store.Deploy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.group == nil || s.runs[d.ID] != nil {
		return
	}
	r := &run{s: s, id: d.ID, d: d}
	r.cancelCtx, r.cancel = context.WithCancelCause(context.Background())
	s.runs[d.ID] = r
	s.group.Spawn("deploy "+string(d.ID), func(ctx context.Context) error {
		defer func() {
			r.cancel(nil)
			s.mu.Lock()
			delete(s.runs, d.ID)
			s.mu.Unlock()
			s.dispatchSoon()
			s.wake(d.App)
			s.bell.ring()
			s.studio.wake()
		}()
		return r.main(ctx)
	})
}

func (s *Service) cancelRun(id slipway.DeployID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.runs[id]; r != nil {
		r.cancel(errCanceled)
	}
}

func (s *Service) cancelRuns(app slipway.AppID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if r.d0().App == app {
			r.cancel(errCanceled)
		}
	}
}

func (s *Service) hasRuns(app slipway.AppID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if r.d0().App == app {
			return true
		}
	}
	return false
}

// sweepLoop removes layers that nothing refers to.
func (s *Service) sweepLoop(ctx context.Context) error {
	for {
		if err := s.sweep(ctx, s.Limits.KeepLayer); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "what is no longer used could not all be removed", "error", err)
		}
		if loop.Sleep(ctx, time.Hour) != nil {
			return nil
		}
	}
}

// sweep removes layers that no kept release and no deploy under way uses, once
// they are older than keep.
func (s *Service) sweep(ctx context.Context, keep time.Duration) error {
	var kept map[string]bool
	layers, err := s.Engine.Layers().List(ctx)
	if err != nil {
		return err
	}
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		kept, err = tx.KeptLayers(s.Limits.Releases)
		return err
	}); err != nil {
		return err
	}
	var errs []error
	for _, l := range layers {
		if ours(l.Name) && !kept[l.Name] && s.now().Sub(l.Created) >= keep {
			errs = append(errs, s.dropLayer(ctx, l.Name))
		}
	}
	return errors.Join(errs...)
}
