package proc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Apply implements engine.Engine.
func (e *Engine) Apply(ctx context.Context, o engine.Object) error {
	if err := engine.Check(o); err != nil {
		return err
	}
	switch o := o.(type) {
	case engine.Volume:
		return e.applyVolume(o)
	case engine.Workload:
		o.ID.Kind = engine.KindWorkload
		return e.apply(ctx, newRecord(o))
	case engine.Task:
		o.ID.Kind = engine.KindTask
		return e.apply(ctx, taskRecord(o))
	}
	return errs.Invalid("the engine knows no object like %s", o.Ref())
}

func (e *Engine) apply(ctx context.Context, rec record) error {
	ref := rec.ref()
	e.mu.Lock()
	defer e.mu.Unlock()
	if ob := e.objects[ref]; ob != nil {
		switch {
		case ob.rec.Removing:
			return errs.Conflict("%s is being removed: try again when it is gone", ref)
		case !ob.rec.same(rec):
			return errs.Conflict("%s exists and is different: only the number of replicas can change", ref)
		case ob.rec.Replicas == rec.Replicas:
			return nil
		}
		next := ob.rec
		next.Replicas = rec.Replicas
		if err := inside.Write(filepath.Join(ob.dir, objectFile), next); err != nil {
			return err
		}
		ob.rec = next
		ob.wake()
		return nil
	}
	if err := e.resolve(rec); err != nil {
		return err
	}
	uid, err := e.uid(rec.Scope)
	if err != nil {
		return err
	}
	rec.UID = uid
	dir := e.objectDir(ref)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := inside.Write(filepath.Join(dir, objectFile), rec); err != nil {
		return err
	}
	ob := newObject(dir, rec)
	e.objects[ref] = ob
	e.group.Spawn("object", func(ctx context.Context) error { return e.work(ctx, ob) })
	return ctx.Err()
}

// resolve finds what the object names.
func (e *Engine) resolve(rec record) error {
	for _, l := range rec.Layers {
		if !e.layers.has(l.Name) {
			return errs.NotFound("%s needs layer %q, which is not there", rec.ref(), l.Name)
		}
	}
	for _, m := range rec.Mounts {
		if e.volumes[m.Volume] == nil {
			return errs.NotFound("%s needs volume %s, which is not there", rec.ref(), m.Volume)
		}
	}
	for _, l := range rec.Links {
		if e.opt.Links[l.Target] == "" {
			return errs.NotFound("%s needs platform endpoint %q, which the engine was not given", rec.ref(), l.Target)
		}
	}
	return nil
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, ref engine.Ref) error {
	if ref.Kind == engine.KindVolume {
		return e.removeVolume(ref)
	}
	e.mu.Lock()
	ob := e.objects[ref]
	if ob != nil && !ob.rec.Removing {
		next := ob.rec
		next.Removing = true
		if err := inside.Write(filepath.Join(ob.dir, objectFile), next); err != nil {
			e.mu.Unlock()
			return err
		}
		ob.rec = next
		ob.wake()
	}
	e.mu.Unlock()
	if ob == nil {
		return nil
	}
	select {
	case <-ob.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.group.Context().Done():
		return errs.Unavailable("the engine stops: the removal goes on when it is back")
	}
}

// Observe implements engine.Engine.
func (e *Engine) Observe(context.Context) (engine.Snapshot, error) {
	var s engine.Snapshot
	e.mu.Lock()
	defer e.mu.Unlock()
	for ref, ob := range e.objects {
		if ref.Kind == engine.KindTask {
			t := engine.TaskStatus{ID: ref, Labels: ob.rec.Labels, Replica: engine.Replica{
				ID: engine.ReplicaRef{Ref: ref}, Phase: engine.PhasePending,
			}}
			if r := ob.replicas[0]; r != nil {
				r.refresh()
				t.Replica = r.observed(e.host)
			}
			s.Tasks = append(s.Tasks, t)
			continue
		}
		w := engine.WorkloadStatus{ID: ref, Labels: ob.rec.Labels, Wanted: ob.rec.Replicas}
		for i := range ob.rec.Replicas {
			if ob.replicas[i] == nil {
				w.Replicas = append(w.Replicas, engine.Replica{
					ID: engine.ReplicaRef{Ref: ref, Index: i}, Phase: engine.PhasePending, Node: e.host,
				})
			}
		}
		for _, r := range ob.replicas {
			r.refresh()
			w.Replicas = append(w.Replicas, r.observed(e.host))
		}
		slices.SortFunc(w.Replicas, func(a, b engine.Replica) int { return a.ID.Index - b.ID.Index })
		s.Workloads = append(s.Workloads, w)
	}
	for ref, v := range e.volumes {
		s.Volumes = append(s.Volumes, engine.VolumeStatus{ID: ref, Used: e.size(v)})
	}
	slices.SortFunc(s.Workloads, func(a, b engine.WorkloadStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Tasks, func(a, b engine.TaskStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Volumes, func(a, b engine.VolumeStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return s, nil
}

// uid returns the user number of a scope: apps must not read each other.
func (e *Engine) uid(scope string) (int, error) {
	if u, ok := e.uids[scope]; ok {
		return u, nil
	}
	next := e.opt.FirstUID
	for _, u := range e.uids {
		next = max(next, u+1)
	}
	if e.rootless != nil && next > subIDs {
		return 0, errs.Unsupported("there are more apps than subordinate ids")
	}
	e.uids[scope] = next
	if err := inside.Write(filepath.Join(e.opt.Root, "uids.json"), e.uids); err != nil {
		delete(e.uids, scope)
		return 0, err
	}
	return next, nil
}

func (e *Engine) loadUIDs() error {
	e.uids = map[string]int{}
	_, err := inside.Read(filepath.Join(e.opt.Root, "uids.json"), &e.uids)
	return err
}
