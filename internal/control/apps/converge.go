package apps

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// observer shares observations: those who ask before one has begun share it.
type observer struct {
	mu      sync.Mutex
	waiting *observation
	turn    sync.Mutex
}

type observation struct {
	done chan struct{}
	snap engine.Snapshot
	err  error
}

// observe returns a snapshot that was begun after the call.
func (s *Service) observe(ctx context.Context) (engine.Snapshot, error) {
	o := &s.observer
	o.mu.Lock()
	if w := o.waiting; w != nil {
		o.mu.Unlock()
		select {
		case <-w.done:
			return w.snap, w.err
		case <-ctx.Done():
			return engine.Snapshot{}, ctx.Err()
		}
	}
	w := &observation{done: make(chan struct{})}
	o.waiting = w
	o.mu.Unlock()

	o.turn.Lock()
	defer o.turn.Unlock()
	o.mu.Lock()
	o.waiting = nil
	o.mu.Unlock()
	w.snap, w.err = s.Engine.Observe(context.WithoutCancel(ctx)) // others wait for it too
	close(w.done)
	return w.snap, w.err
}

// life tells one life of a replica from the next.
type life struct {
	since    time.Time
	restarts int
}

func lifeOf(r engine.Replica) life { return life{r.Since, r.Restarts} }

// appLoop brings one app to what is wanted of it.
type appLoop struct {
	s    *Service
	id   slipway.AppID
	kick chan struct{}

	pass sync.Mutex // one at a time; guards what only passes use
	// Used by passes only.
	targets  []plan.Target
	route    *link.Route // as handed out last
	adopted  bool
	finished bool // the app is gone

	mu       sync.Mutex
	ready    map[engine.ReplicaRef]life
	checks   map[engine.ReplicaRef]*check
	watches  map[engine.ReplicaRef]*check // of those that are ready
	removing map[engine.Ref]bool
	last     view
}

// view is what the last pass saw.
type view struct {
	state     slipway.AppState
	current   int  // release that was wanted to serve
	settled   bool // nothing was left to do but to wait, and the gateways know
	workloads []engine.WorkloadStatus
	ready     map[engine.ReplicaRef]bool
	failures  map[engine.ReplicaRef]string // of health checks
	errors    map[int]error                // of starting a release
}

// wake makes the app's loop look soon.
func (s *Service) wake(id slipway.AppID) {
	if a := s.loopOf(id); a != nil {
		a.soon()
	}
}

func (a *appLoop) soon() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// loopOf returns the app's loop, which runs while Run does; nil while the
// service neither was loaded nor runs.
func (s *Service) loopOf(id slipway.AppID) *appLoop {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.loops[id]; a != nil {
		return a
	}
	if s.group == nil {
		return nil
	}
	a := s.newLoop(id)
	a.adopted = true // what it will run is not there yet
	s.group.Spawn("app "+string(id), a.run)
	return a
}

// newLoop is called with the lock held.
func (s *Service) newLoop(id slipway.AppID) *appLoop {
	a := &appLoop{
		s: s, id: id, kick: make(chan struct{}, 1),
		ready: map[engine.ReplicaRef]life{}, checks: map[engine.ReplicaRef]*check{}, watches: map[engine.ReplicaRef]*check{}, removing: map[engine.Ref]bool{},
	}
	s.loops[id] = a
	return a
}

// settle runs a pass now and waits for it: for changes that must hold when a
// call returns. A failure is the loop's to repeat.
func (s *Service) settle(ctx context.Context, id slipway.AppID) {
	s.mu.Lock()
	a := s.loops[id]
	s.mu.Unlock()
	if a != nil {
		_, _ = a.converge(ctx, nil)
	}
}

func (a *appLoop) run(ctx context.Context) error {
	again := loop.Backoff{Min: 100 * time.Millisecond, Max: 10 * time.Second}
	for {
		at, err := a.converge(ctx, nil)
		if ctx.Err() != nil || a.done() {
			return nil
		}
		if err != nil {
			a.s.Log.ErrorContext(ctx, "an app is not as wanted yet", "app", a.id, "error", err)
			if again.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		again.Reset()
		var timer <-chan time.Time
		if !at.IsZero() {
			timer = time.After(at.Sub(a.s.now()))
		}
		select {
		case <-a.kick:
		case <-timer:
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *appLoop) done() bool {
	a.pass.Lock()
	defer a.pass.Unlock()
	return a.finished
}

// wanted is all that a pass reads from the store.
type wanted struct {
	app      store.App
	grants   []slipway.Grant
	replicas map[string]int
	open     []store.Deploy
	current  *store.Release
	next     *store.Release
	steps    []slipway.DeployStep // of the first deploy
}

func (s *Service) wanted(ctx context.Context, id slipway.AppID) (wanted, error) {
	var w wanted
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		w = wanted{}
		if w.app, err = tx.App(id); err != nil {
			return err
		}
		if w.grants, err = tx.GrantsOn(id); err != nil {
			return err
		}
		if w.replicas, err = tx.Replicas(id); err != nil {
			return err
		}
		if w.open, err = tx.OpenDeploysOf(id); err != nil {
			return err
		}
		if w.app.Current != 0 {
			r, err := tx.Release(id, w.app.Current)
			if err != nil {
				return err
			}
			w.current = &r
		}
		for _, d := range w.open {
			switch d.State {
			case slipway.DeployStarting, slipway.DeployChecking, slipway.DeployPostdeploy, slipway.DeploySwitching:
				if d.Release != w.app.Current {
					r, err := tx.Release(id, d.Release)
					if err != nil {
						return err
					}
					w.next = &r
				}
			default:
			}
			if w.app.Current == 0 && d.State != slipway.DeployQueued {
				if w.steps, err = tx.Steps(d.ID); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return w, err
}

func (w wanted) release(r *store.Release) *plan.Release {
	if r == nil {
		return nil
	}
	out := &plan.Release{N: r.N}
	for _, name := range slices.Sorted(maps.Keys(r.Procfile)) {
		n, scaled := w.replicas[name]
		if !scaled {
			n = 1
		}
		out.Processes = append(out.Processes, plan.Process{Name: name, Replicas: n})
	}
	return out
}

func (w wanted) desired(now time.Time) plan.Desired {
	d := plan.Desired{
		Scope: string(w.app.ID), Deleted: w.app.Deleting, Paused: w.app.Paused,
		Current: w.release(w.current), Next: w.release(w.next), Drain: map[int]time.Time{},
	}
	for _, o := range w.open {
		switch {
		case o.Previous == 0:
		case o.State == slipway.DeploySwitching: // the gateways may not know yet
			d.Drain[o.Previous] = now.Add(time.Minute)
		case o.State == slipway.DeployDraining:
			d.Drain[o.Previous] = o.Deadline
		}
	}
	return d
}

// converge does step after step until there is none, and returns when it must
// look again by itself. snap, if given, is used for the first step.
func (a *appLoop) converge(ctx context.Context, snap *engine.Snapshot) (again time.Time, err error) {
	a.pass.Lock()
	defer a.pass.Unlock()
	if a.finished {
		return time.Time{}, nil
	}
	w, err := a.s.wanted(ctx, a.id)
	if errs.Is(err, errs.KindNotFound) {
		a.gone()
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	v := view{current: w.app.Current, errors: map[int]error{}}
	for {
		var now engine.Snapshot
		if snap != nil {
			now, snap = *snap, nil
		} else if now, err = a.s.observe(ctx); err != nil {
			return time.Time{}, err
		}
		ready := a.sync(ctx, w, now)
		v.workloads, v.ready = a.own(now), ready
		desired := w.desired(a.s.now())
		step := plan.App(desired, engine.Snapshot{Workloads: v.workloads}, plan.Table{Targets: a.targets, Ready: ready}, a.s.now())
		stop := true
		switch step.Do {
		case plan.Publish:
			a.targets = step.Targets
			v.state = stateOf(w, desired, v.workloads, a.targets)
			err = a.publish(ctx, w, v)
			stop = err != nil
		case plan.Apply:
			err = a.s.apply(ctx, w, step)
			if stop = err != nil; stop {
				v.errors[step.Release] = err
			}
		case plan.Remove:
			a.remove(step.Ref)
			stop = false
		case plan.Wait:
			again, v.settled = step.At, true
		case plan.Nothing:
			v.settled = true
		}
		if !stop {
			continue
		}
		v.state = stateOf(w, desired, v.workloads, a.targets)
		if err == nil {
			err = a.publish(ctx, w, v)
		}
		a.show(v, err)
		if w.app.Deleting && err == nil {
			return again, a.takeApart(ctx, w, now)
		}
		return again, err
	}
}

// own are the app's workloads without those that are on their way out.
func (a *appLoop) own(s engine.Snapshot) []engine.WorkloadStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []engine.WorkloadStatus
	for _, w := range s.Workloads {
		if w.ID.Scope == string(a.id) && !a.removing[w.ID] {
			out = append(out, w)
		}
	}
	return out
}

// show lets others see what the pass saw.
func (a *appLoop) show(v view, err error) {
	v.settled = v.settled && err == nil
	a.mu.Lock()
	v.failures = map[engine.ReplicaRef]string{}
	for ref, c := range a.checks {
		v.failures[ref] = c.failure()
	}
	news := a.last.state != v.state || a.last.current != v.current
	moved := !reflect.DeepEqual(a.last, v)
	a.last = v
	a.mu.Unlock()
	if news {
		a.s.changed(a.id, "", nil)
	}
	if moved { // who waits makes passes too, and would wake itself without end
		a.s.bell.ring()
	}
}

func (a *appLoop) view() view {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// remove ends a workload in the background: that may take as long as its
// requests do.
func (a *appLoop) remove(ref engine.Ref) {
	a.mu.Lock()
	a.removing[ref] = true
	a.mu.Unlock()
	a.s.spawn("remove "+ref.String(), func(ctx context.Context) error {
		err := a.s.Engine.Remove(ctx, ref)
		a.mu.Lock()
		delete(a.removing, ref)
		a.mu.Unlock()
		a.soon()
		return err
	})
}

func (a *appLoop) busyRemoving() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.removing) > 0
}

// publish hands the route out. It waits for the gateways when the route says
// anything new about who may come in or who answers.
func (a *appLoop) publish(ctx context.Context, w wanted, v view) error {
	if w.app.Deleting {
		version := a.s.Router.RemoveRoute(w.app.Name)
		a.route = nil
		return a.acked(ctx, version)
	}
	r := link.Route{
		App: w.app.ID, Name: w.app.Name, Title: w.app.Title, Isolated: w.app.Isolated, Access: w.app.Access,
		Owners: []slipway.UserID{w.app.Owner}, State: v.state, Release: w.app.Current, Progress: progress(w),
	}
	for _, g := range w.grants {
		if g.Level == slipway.GrantCoOwner {
			r.Owners = append(r.Owners, g.User)
		} else {
			r.Viewers = append(r.Viewers, g.User)
		}
	}
	for _, t := range a.targets {
		r.Targets = append(r.Targets, link.Target{ID: t.Replica.Ref.Name + "." + strconv.Itoa(t.Replica.Index), Endpoint: t.Endpoint})
	}
	if v.state == slipway.AppCrashed {
		r.LogTail = a.s.tail(ctx, plan.Workload(string(a.id), slipway.WebProcess, w.app.Current), 20)
	}
	old := a.route
	version := a.s.Router.SetRoute(r)
	a.route = &r
	if old != nil && reflect.DeepEqual(gate(*old), gate(r)) {
		return nil
	}
	return a.acked(ctx, version)
}

// gate is the part of a route by which gateways let requests in.
func gate(r link.Route) link.Route {
	return link.Route{Isolated: r.Isolated, Access: r.Access, Viewers: r.Viewers, Owners: r.Owners, Release: r.Release, Targets: r.Targets}
}

func (a *appLoop) acked(ctx context.Context, version uint64) error {
	err := a.s.Router.Acked(ctx, version)
	if err != nil {
		a.route = nil // asked for again by the next pass
	}
	return err
}

func progress(w wanted) []string {
	var out []string
	for _, s := range w.steps {
		text := s.Name
		if s.Detail != "" {
			text += ": " + s.Detail
		}
		switch s.State {
		case slipway.StepRunning:
			text += " …"
		case slipway.StepFailed:
			text += ": failed"
		default:
			text += ", done"
		}
		out = append(out, text)
	}
	return out
}

// stateOf derives the app's state.
func stateOf(w wanted, d plan.Desired, workloads []engine.WorkloadStatus, targets []plan.Target) slipway.AppState {
	switch {
	case w.app.Paused && d.Current != nil:
		return slipway.AppPaused
	case len(targets) > 0:
		return slipway.AppRunning
	case d.Current == nil && len(w.steps) > 0:
		return slipway.AppStarting
	case d.Current == nil:
		return slipway.AppEmpty
	}
	process, replicas := mainProcess(d.Current)
	if replicas == 0 {
		return slipway.AppPaused
	}
	ref := plan.Workload(d.Scope, process, d.Current.N)
	running, crashed, n := 0, 0, 0
	for _, wl := range workloads {
		if wl.ID != ref {
			continue
		}
		for _, r := range wl.Replicas {
			n++
			switch {
			case r.Exit != nil && (r.Restarts >= 2 || r.Phase == engine.PhasePending && r.Restarts >= 1):
				crashed++
			case r.Phase == engine.PhaseRunning:
				running++
			}
		}
	}
	switch {
	case running > 0 && process != slipway.WebProcess:
		return slipway.AppRunning
	case n > 0 && crashed == n:
		return slipway.AppCrashed
	}
	return slipway.AppStarting
}

// mainProcess is web, or without one the first that should run.
func mainProcess(r *plan.Release) (name string, replicas int) {
	for _, p := range r.Processes {
		if p.Name == slipway.WebProcess {
			return p.Name, p.Replicas
		}
		if replicas == 0 {
			name, replicas = p.Name, p.Replicas
		}
	}
	return name, replicas
}

// withState adds what is not stored.
func (s *Service) withState(app store.App) slipway.App {
	s.mu.Lock()
	a := s.loops[app.ID]
	s.mu.Unlock()
	out := app.App
	if a != nil {
		out.State = a.view().state
	}
	if out.State == "" {
		out.State = slipway.AppStarting
		if app.Current == 0 {
			out.State = slipway.AppEmpty
		}
	}
	return out
}
