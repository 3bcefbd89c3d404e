package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

func (r *run) detect(ctx context.Context) error {
	var vars map[string]string
	if err := r.s.DB.View(ctx, func(tx *store.Tx) (err error) {
		vars, err = r.s.appVars(tx, r.d.App)
		return err
	}); err != nil {
		return err
	}
	p, err := r.s.Build.Detect(ctx, r.d.Source, vars)
	if err != nil {
		return err
	}
	p.Source, p.Cache = r.d.Source, string(r.d.App)
	for _, text := range p.Detected {
		r.line("%s", text)
	}
	for _, text := range p.Warnings {
		r.line("warning: %s", text)
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	detail := strings.Join(slices.Sorted(maps.Keys(p.Procfile)), ", ")
	if p.Python != "" {
		detail = "Python " + p.Python + "; " + detail
	}
	return r.to(ctx, slipway.DeployEnv, detail, func(_ *store.Tx, d *store.Deploy) error {
		d.Plan = string(b)
		return nil
	})
}

func (r *run) env(ctx context.Context) error {
	p, err := r.plan()
	if err != nil {
		return err
	}
	cached, err := r.s.Build.EnvReady(ctx, p)
	if err != nil {
		return err
	}
	detail := p.Dependencies
	if cached {
		detail += ", cached"
	} else if err := r.buildEnv(ctx, p); err != nil {
		return err
	}
	detail = strings.TrimPrefix(detail, ", ")
	if p.Predeploy != "" {
		return r.to(ctx, slipway.DeployPredeploy, detail, nil)
	}
	return r.to(ctx, slipway.DeployPacking, detail, nil)
}

func (r *run) predeploy(ctx context.Context) error {
	p, err := r.plan()
	if err != nil {
		return err
	}
	kept := "src-" + string(r.id)
	err = r.runTask(ctx, StepPredeploy, p.EnvKey, p.Source, p.Predeploy, p, []engine.Layer{{Name: kept, At: appAt}})
	if err != nil {
		return err
	}
	err = r.to(ctx, slipway.DeployPacking, p.Predeploy, func(_ *store.Tx, d *store.Deploy) error {
		d.Source = kept
		return nil
	})
	if err == nil {
		r.dropTasks(ctx)
	}
	return err
}

func (r *run) pack(ctx context.Context) error {
	ok, err := r.s.Engine.Layers().Has(ctx, r.d.Source)
	if err != nil {
		return err
	}
	if !ok {
		return failed("the files of this deploy are gone: push them again")
	}
	return r.to(ctx, slipway.DeployReleasing, "", nil)
}

// release makes the release and allows its start in one transaction; the
// release's deploy is unique, so that there is never a second one.
func (r *run) release(ctx context.Context) error {
	p, mounts, err := r.mounts(ctx)
	if err != nil {
		return err
	}
	var sp spec
	err = r.to(ctx, slipway.DeployStarting, "", func(tx *store.Tx, d *store.Deploy) error {
		app, err := tx.App(d.App)
		if err != nil {
			return err
		}
		rel := store.Release{Deploy: d.ID, Plan: d.Plan, Release: slipway.Release{
			App: d.App, Commit: d.Commit, Message: d.Message, Source: d.Source, Created: r.s.now(), CreatedBy: d.By, Cause: d.Cause,
		}}
		if d.Origin != 0 {
			old, err := tx.Release(d.App, d.Origin)
			if err != nil {
				return err
			}
			rel.Source, rel.Env, rel.Plan = old.Source, old.Env, old.Plan
		}
		rel.Env = or(rel.Env, p.EnvKey)
		if rel.N, err = tx.NextRelease(d.App); err != nil {
			return err
		}
		if sp, err = r.s.spec(tx, app, p); err != nil {
			return err
		}
		sp = sp.withMount(mounts, p)
		if rel.Sealed, err = r.s.sealSpec(sp, d.App, rel.N); err != nil {
			return err
		}
		d.Release, d.Source, d.Plan = rel.N, rel.Source, rel.Plan
		return tx.AddRelease(rel)
	})
	if err == nil && sp.NoMount && p.Mount == "" {
		r.line("~/mount is not there: no file or variable of the app names it, and it would hold all replicas on one node; mount = true below [slipway] in project.toml asks for it")
	}
	return err
}

// mounts reads the plan of the release to be, and decides whether it has ~/mount.
func (r *run) mounts(ctx context.Context) (p build.Plan, mounts bool, err error) {
	text := r.d.Plan
	if r.d.Origin != 0 {
		if err := r.s.DB.View(ctx, func(tx *store.Tx) error {
			old, err := tx.Release(r.d.App, r.d.Origin)
			text = old.Plan
			return err
		}); err != nil {
			return p, false, err
		}
	}
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return p, false, err
	}
	mounts, err = r.s.mounts(ctx, r.d.App, p)
	return p, mounts, err
}

// start waits until the engine has recorded the first of the new replicas.
func (r *run) start(ctx context.Context) error {
	n := r.d.Release
	for {
		rung := r.s.bell.listen()
		v, want, err := r.look(ctx)
		if err != nil {
			return err
		}
		if err := v.errors[n]; err != nil {
			return err
		}
		all := true
		for _, p := range want.Processes {
			if p.Replicas > 0 && v.workload(plan.Workload(string(r.d.App), p.Name, n)) == nil {
				all = false
			}
		}
		if all {
			return r.to(ctx, slipway.DeployChecking, fmt.Sprintf("release %d", n), func(_ *store.Tx, d *store.Deploy) error {
				d.Deadline = r.s.now().Add(r.s.Limits.Start)
				return nil
			})
		}
		if err := wait(ctx, rung, time.Second); err != nil {
			return err
		}
	}
}

// look runs a pass of the app's loop and returns what it saw, with the
// processes of this deploy's release.
func (r *run) look(ctx context.Context) (view, *plan.Release, error) {
	a := r.s.loopOf(r.d.App)
	if a == nil {
		return view{}, nil, errs.Unavailable("the loop does not run")
	}
	_, err := a.converge(ctx, nil)
	v := a.view()
	if err != nil && v.errors[r.d.Release] == nil {
		return v, nil, err
	}
	var want *plan.Release
	err = r.s.DB.View(ctx, func(tx *store.Tx) error {
		rel, err := tx.Release(r.d.App, r.d.Release)
		if err != nil {
			return err
		}
		w := wanted{}
		if w.replicas, err = tx.Replicas(r.d.App); err != nil {
			return err
		}
		want = w.release(&rel)
		return nil
	})
	return v, want, err
}

func (v view) workload(ref engine.Ref) *engine.WorkloadStatus {
	for i := range v.workloads {
		if v.workloads[i].ID == ref {
			return &v.workloads[i]
		}
	}
	return nil
}

// check waits until every web replica of the new release has answered.
func (r *run) check(ctx context.Context) error {
	told, waiting := "", ""
	for {
		rung := r.s.bell.listen()
		v, want, err := r.look(ctx)
		if err != nil {
			return err
		}
		if err := v.errors[r.d.Release]; err != nil {
			return err
		}
		verdict := r.health(v, want)
		r.tellWaiting(&waiting, verdict.waiting)
		if verdict.dead != nil {
			return r.explain(ctx, *verdict.dead)
		}
		if verdict.well {
			for _, w := range verdict.warnings {
				r.line("warning: %s", w)
			}
			p, err := r.plan()
			if err != nil {
				return err
			}
			if p.Postdeploy != "" && r.d.Origin == 0 {
				return r.to(ctx, slipway.DeployPostdeploy, verdict.detail, nil)
			}
			return r.to(ctx, slipway.DeploySwitching, verdict.detail, nil)
		}
		if !r.s.now().Before(r.d.Deadline) {
			return r.late(ctx, v, verdict.waiting)
		}
		// An app that has not opened its port yet is starting; one that answers
		// wrongly may do so until the end.
		if why := v.failure(r.d.Release); why != "" && why != notBound && why != told {
			told = why
			r.line("not well yet: %s", why)
		}
		if err := wait(ctx, rung, time.Second); err != nil {
			return err
		}
	}
}

// failure is what is wrong with a replica of web of the release, if any.
func (v view) failure(release int) (why string) {
	for ref, f := range v.failures {
		if _, n, _ := plan.Parse(ref.Ref); n == release && f > why { // one of several, the same each time
			why = f
		}
	}
	return why
}

// verdict is what the replicas of the new release look like.
type verdict struct {
	well     bool
	detail   string
	dead     *engine.Replica // it died before it was ready
	waiting  string          // what keeps a replica from starting
	warnings []string
}

const (
	steady     = 2 * time.Second // a release without web must stay up so long
	workerDies = 3               // times, and the release is bad
)

func (r *run) health(v view, want *plan.Release) verdict {
	out := verdict{well: true}
	web, hasWeb := 0, false
	for _, p := range want.Processes {
		isWeb := p.Name == slipway.WebProcess && p.Replicas > 0
		hasWeb = hasWeb || isWeb
		wl := v.workload(plan.Workload(string(r.d.App), p.Name, want.N))
		if wl == nil || isWeb && len(wl.Replicas) < p.Replicas {
			out.well = out.well && p.Replicas == 0
		}
		if wl == nil {
			continue
		}
		for i := range wl.Replicas {
			rep := &wl.Replicas[i]
			if rep.Waiting != "" {
				out.waiting = fmt.Sprintf("%s cannot start yet: %s", p.Name, rep.Waiting)
			}
			switch {
			case isWeb && rep.Exit != nil, rep.Restarts >= workerDies:
				out.dead = rep
			case isWeb && v.ready[rep.ID]:
				web++
			case isWeb:
				out.well = false
			case rep.Exit != nil:
				out.warnings = append(out.warnings, fmt.Sprintf("the process %s ended: %s", p.Name, exitReason(*rep.Exit, r.s.Limits.MemoryMB)))
			}
		}
	}
	if !hasWeb {
		out.well = out.well && r.steady(v, want)
		out.detail = "no web process to ask"
	} else {
		out.detail = fmt.Sprintf("%d of web answered", web)
	}
	return out
}

// steady reports whether all replicas of the release have run for a while.
func (r *run) steady(v view, want *plan.Release) bool {
	for _, p := range want.Processes {
		wl := v.workload(plan.Workload(string(r.d.App), p.Name, want.N))
		if p.Replicas == 0 {
			continue
		}
		if wl == nil || len(wl.Replicas) < p.Replicas {
			return false
		}
		for _, rep := range wl.Replicas {
			if rep.Phase != engine.PhaseRunning || r.s.now().Sub(rep.Since) < steady {
				return false
			}
		}
	}
	return true
}

func (r *run) postdeploy(ctx context.Context) error {
	p, err := r.plan()
	if err != nil {
		return err
	}
	if err := r.runTask(ctx, StepPostdeploy, p.EnvKey, r.d.Source, p.Postdeploy, p, nil); err != nil {
		return err
	}
	err = r.to(ctx, slipway.DeploySwitching, p.Postdeploy, nil)
	if err == nil {
		r.dropTasks(ctx)
	}
	return err
}

// change makes the release the current one: the point of no return. Then it
// waits until the gateways know.
func (r *run) change(ctx context.Context) error {
	n := r.d.Release
	var d store.Deploy
	err := r.s.DB.Update(ctx, func(tx *store.Tx) error {
		var err error
		if d, err = tx.Deploy(r.id); err != nil {
			return err
		}
		app, err := tx.App(d.App)
		if err != nil || app.Current == n {
			return err
		}
		d.Previous = app.Current
		app.Current, app.Updated = n, r.s.now()
		if err := tx.SaveApp(app, app.Updated); err != nil {
			return err
		}
		return tx.SaveDeploy(d)
	})
	if err != nil {
		return err
	}
	r.s.index.changed()
	r.written(d, nil)
	for {
		rung := r.s.bell.listen()
		v, _, err := r.look(ctx)
		if err != nil {
			return err
		}
		if v.current == n && v.settled {
			break
		}
		if err := wait(ctx, rung, time.Second); err != nil {
			return err
		}
	}
	return r.to(ctx, slipway.DeployDraining, fmt.Sprintf("release %d has the traffic", n), func(_ *store.Tx, d *store.Deploy) error {
		d.Deadline = r.s.now()
		if d.Previous != 0 {
			d.Deadline = d.Deadline.Add(r.s.Limits.Drain)
		}
		return nil
	})
}

// drain tells those who follow that the release is live, and ends the deploy
// when nothing of the old one is left.
func (r *run) drain(ctx context.Context) error {
	if !r.s.events.ended(r.id) {
		isolated := false
		if err := r.s.DB.View(ctx, func(tx *store.Tx) error {
			app, err := tx.App(r.d.App)
			isolated = app.Isolated
			return err
		}); err != nil {
			return err
		}
		r.line("%s", r.s.Hosts.App(r.d.AppName, isolated))
		r.s.events.close(r.id, slipway.DeployLive)
	}
	for r.d.Previous != 0 {
		rung := r.s.bell.listen()
		if r.s.now().Before(r.d.Deadline) {
			if err := loop.Sleep(ctx, r.d.Deadline.Sub(r.s.now())); err != nil {
				return err
			}
			continue
		}
		a := r.s.loopOf(r.d.App)
		if a == nil || !r.lingers(ctx, a) {
			break
		}
		if err := wait(ctx, rung, time.Second); err != nil {
			return err
		}
	}
	err := r.to(ctx, slipway.DeployLive, "", nil)
	r.s.events.close(r.id, slipway.DeployLive)
	return err
}

// lingers reports whether anything of the old release is left.
func (r *run) lingers(ctx context.Context, a *appLoop) bool {
	if _, err := a.converge(ctx, nil); err != nil {
		return true
	}
	snap, err := r.s.observe(ctx)
	if err != nil {
		return true
	}
	return slices.ContainsFunc(snap.Workloads, func(w engine.WorkloadStatus) bool {
		_, n, ok := plan.Parse(w.ID)
		return ok && n == r.d.Previous && w.ID.Scope == string(r.d.App)
	})
}
