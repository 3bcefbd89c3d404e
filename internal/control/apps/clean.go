package apps

import (
	"context"
	"errors"
	"slices"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// ours reports whether a layer belongs to apps; others are tools.
func ours(layer string) bool {
	for _, p := range []string{"src-", "env-", "deps-", "photo"} {
		if strings.HasPrefix(layer, p) {
			return true
		}
	}
	return false
}

// dropLayer removes a layer unless something runs with it.
func (s *Service) dropLayer(ctx context.Context, name string) error {
	err := s.Engine.Layers().Remove(ctx, name)
	if errs.Is(err, errs.KindConflict) {
		return nil
	}
	return err
}

// dropOrphans removes tasks that no deploy waits for: a core that was killed
// between the record of their end and their removal left them.
func (s *Service) dropOrphans(ctx context.Context, snap engine.Snapshot) error {
	if len(snap.Tasks) == 0 {
		return nil
	}
	var open []store.Deploy
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		open, err = tx.OpenDeploys()
		return err
	}); err != nil {
		return err
	}
	var all []error
	for _, t := range snap.Tasks {
		orphan := !slices.ContainsFunc(open, func(d store.Deploy) bool {
			switch d.State {
			case slipway.DeployPredeploy, slipway.DeployPostdeploy:
				return strings.HasSuffix(t.ID.Name, "-"+string(d.ID))
			default:
				return false
			}
		})
		if t.ID.Scope == build.Scope {
			orphan = !s.isBuilding(t.ID) && !slices.ContainsFunc(open, building)
		}
		if orphan && !s.studio.is(t.ID) {
			all = append(all, s.Engine.Remove(ctx, t.ID))
		}
	}
	return errors.Join(all...)
}

// takeApart removes what is left of an app once its replicas are gone, its
// rows last: until then the next pass goes on.
func (a *appLoop) takeApart(ctx context.Context, w wanted, snap engine.Snapshot) error {
	s := a.s
	if a.busyRemoving() || s.hasRuns(a.id) {
		return nil // both wake the loop when they end
	}
	if len(w.open) > 0 {
		s.dispatchSoon() // it is canceled by its own run
		return nil
	}
	for _, t := range snap.Tasks {
		if t.ID.Scope == string(a.id) {
			if err := s.Engine.Remove(ctx, t.ID); err != nil {
				return err
			}
		}
	}
	for _, v := range snap.Volumes {
		if v.ID.Scope == string(a.id) || v.ID == build.CacheVolume(string(a.id)).ID {
			if err := s.Engine.Remove(ctx, v.ID); err != nil {
				return err
			}
		}
	}
	if s.Removed != nil {
		if err := s.Removed(ctx, w.app.App); err != nil {
			return err
		}
	}
	layers, deploys, err := s.left(ctx, a.id)
	if err != nil {
		return err
	}
	for _, id := range deploys {
		if err := s.events.remove(id); err != nil {
			return err
		}
	}
	if err := s.DB.Update(ctx, func(tx *store.Tx) error { return tx.DeleteApp(a.id) }); err != nil {
		return err
	}
	s.index.changed()
	a.gone()
	return s.dropUnused(ctx, layers)
}

// Exists reports whether there is an app of that id, be it one that is being deleted.
func (s *Service) Exists(ctx context.Context, id slipway.AppID) (bool, error) {
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		_, err := tx.App(id)
		return err
	})
	if errs.Is(err, errs.KindNotFound) {
		return false, nil
	}
	return err == nil, err
}

// gone ends the loop. It is called by a pass.
func (a *appLoop) gone() {
	a.finished = true
	a.s.mu.Lock()
	delete(a.s.loops, a.id)
	a.s.mu.Unlock()
	a.mu.Lock()
	for _, c := range a.checks {
		c.cancel()
	}
	a.mu.Unlock()
	a.soon() // so that its goroutine ends
	a.s.bell.ring()
}

// left lists the layers and deploys of an app.
func (s *Service) left(ctx context.Context, id slipway.AppID) (layers []string, deploys []slipway.DeployID, err error) {
	err = s.DB.View(ctx, func(tx *store.Tx) error {
		layers, deploys = nil, nil
		for from := 0; ; {
			ds, err := tx.DeploysOf(id, from, 500)
			if err != nil {
				return err
			}
			for _, d := range ds {
				deploys = append(deploys, d.ID)
				layers = append(layers, d.Source)
				from = d.Seq
			}
			if len(ds) < 500 {
				break
			}
		}
		rs, err := tx.ReleasesOf(id, 0, 1_000_000)
		for _, r := range rs {
			layers = append(layers, r.Source, r.Env)
		}
		return err
	})
	return layers, deploys, err
}

// dropUnused removes those of the layers that no other app keeps.
func (s *Service) dropUnused(ctx context.Context, layers []string) error {
	var kept map[string]bool
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		kept, err = tx.KeptLayers(s.Limits.Releases)
		return err
	}); err != nil {
		return err
	}
	var all []error
	seen := map[string]bool{}
	for _, l := range layers {
		if l == "" || kept[l] || seen[l] {
			continue
		}
		seen[l] = true
		all = append(all, s.dropLayer(ctx, l))
		if strings.HasPrefix(l, "env-") {
			all = append(all, s.dropLayer(ctx, build.DepsLayer(l)))
		}
	}
	return errors.Join(all...)
}

// firstTargets are the replicas of the current release that may have traffic
// when a core starts.
func (a *appLoop) firstTargets(w wanted, v view) []plan.Target {
	step := plan.App(w.desired(a.s.now()), engine.Snapshot{Workloads: v.workloads}, plan.Table{Ready: v.ready}, a.s.now())
	if step.Do == plan.Publish {
		return step.Targets
	}
	return nil
}
