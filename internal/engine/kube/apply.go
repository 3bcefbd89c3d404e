package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// Apply implements engine.Engine.
func (e *Engine) Apply(ctx context.Context, o engine.Object) error {
	if err := engine.Check(o); err != nil {
		return err
	}
	switch o := o.(type) {
	case engine.Volume:
		return e.applyVolume(ctx, o)
	case engine.Workload:
		return e.apply(ctx, newRecord(o), o.Replicas)
	case engine.Task:
		return e.apply(ctx, taskRecord(o), 1)
	}
	return errs.Invalid("the engine knows no object like %s", o.Ref())
}

func (e *Engine) apply(ctx context.Context, r record, replicas int) error {
	name := e.name(r.Ref)
	var image string
	if e.cache.secret(name) == nil {
		// Made before the lock is held: it takes a while, and twice is once.
		if err := e.resolve(ctx, r); err != nil {
			return err
		}
		var err error
		if image, err = e.opt.Images.Image(ctx, r.Ref.Scope, r.Layers); err != nil {
			return err
		}
	}
	defer e.locks.lock(name)()
	if e.ending(name) {
		return errs.Conflict("%s is being removed: try again when it is gone", r.Ref)
	}
	s, err := e.read(ctx, name)
	if err != nil {
		return err
	}
	if s == nil {
		if image == "" {
			return errs.Conflict("%s was being removed: try again", r.Ref)
		}
		return e.make(ctx, r, replicas, image)
	}
	if !same(s, r) {
		return errs.Conflict("%s exists and is different: only the number of replicas can change", r.Ref)
	}
	if s.Annotations[noteReplicas] != strconv.Itoa(replicas) {
		e.giveIndices(ctx, name) // the last ones go first
		if err := e.annotate(ctx, name, map[string]any{noteReplicas: strconv.Itoa(replicas)}); err != nil {
			return err
		}
		s.Annotations[noteReplicas] = strconv.Itoa(replicas)
	}
	return e.restore(ctx, name, s)
}

// resolve finds what the object names.
func (e *Engine) resolve(ctx context.Context, r record) error {
	for _, l := range r.Layers {
		ok, err := e.opt.Images.Has(ctx, l.Name)
		if err != nil {
			return err
		}
		if !ok {
			return errs.NotFound("%s needs layer %q, which is not there", r.Ref, l.Name)
		}
	}
	for _, m := range r.Mounts {
		if c := e.cache.claim(e.name(m.Volume)); c == nil || c.DeletionTimestamp != nil {
			return errs.NotFound("%s needs volume %s, which is not there", r.Ref, m.Volume)
		}
	}
	for _, l := range r.Links {
		if e.opt.Links[l.Target] == "" {
			return errs.NotFound("%s needs platform endpoint %q, which the engine was not given", r.Ref, l.Target)
		}
	}
	return nil
}

// make records a new object and creates it. From the first call on, a crash
// changes nothing: the reconciler goes on with the record.
func (e *Engine) make(ctx context.Context, r record, replicas int, image string) error {
	objects, err := e.render(r, image, e.held(r))
	if err != nil {
		return err
	}
	s, err := e.secret(r, replicas, objects)
	if err != nil {
		return err
	}
	_, err = e.client.CoreV1().Secrets(e.opt.Namespace).Create(ctx, s, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return errs.Conflict("%s was made by somebody else just now: try again", r.Ref)
	}
	if err != nil {
		return failed(err)
	}
	return e.restore(ctx, s.Name, s)
}

// restore makes an object's parts as its Secret says, and waits until the
// cache knows. It is called with the object's lock.
func (e *Engine) restore(ctx context.Context, name string, s *corev1.Secret) error {
	k, ok := parseKnown(s)
	var objects []manifest
	if err := json.Unmarshal(s.Data[keyObjects], &objects); err != nil || !ok {
		return fmt.Errorf("the Secret %s is no record of the engine: %w", name, err)
	}
	if k.ref.Kind == engine.KindTask {
		return e.restoreTask(ctx, name, k, objects)
	}
	if d := e.cache.deployment(name); d != nil && d.Spec.Replicas != nil && int(*d.Spec.Replicas) == k.replicas && e.untouched(name, d.Generation) {
		return e.await(ctx, func() bool { return e.knows(name, k.replicas) })
	}
	var generation int64
	for _, m := range objects {
		if m.Resource == "deployments" {
			setReplicas(m.Object, k.replicas)
		}
		meta, err := e.put(ctx, m)
		if err != nil {
			return err
		}
		generation = meta.Generation
	}
	e.mu.Lock()
	e.applied[name] = generation
	e.mu.Unlock()
	return e.await(ctx, func() bool {
		d := e.cache.deployment(name)
		return e.knows(name, k.replicas) && d != nil && d.Generation >= generation || e.ended(name)
	})
}

func (e *Engine) untouched(name string, generation int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.applied[name] == generation
}

// knows reports whether the cache has the record with so many replicas.
func (e *Engine) knows(name string, replicas int) bool {
	s := e.cache.secret(name)
	return s != nil && s.Annotations[noteReplicas] == strconv.Itoa(replicas)
}

func (e *Engine) annotate(ctx context.Context, name string, notes map[string]any) error {
	_, err := e.patch(ctx, types.MergePatchType, "secrets", name, map[string]any{"metadata": map[string]any{"annotations": notes}})
	return err
}

// ended reports whether a removal was asked for here.
func (e *Engine) ended(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok := e.removing[name]
	return ok
}

// ending reports whether an object goes, by whoever asked.
func (e *Engine) ending(name string) bool {
	if e.ended(name) {
		return true
	}
	if d := e.cache.deployment(name); d != nil && d.DeletionTimestamp != nil {
		return true
	}
	if j := e.cache.job(name); j != nil && j.DeletionTimestamp != nil {
		return true
	}
	return e.cache.secret(name) == nil && !e.cache.gone(name)
}

// Remove implements engine.Engine. The record goes first: what has none is
// deleted, whatever becomes of this call.
func (e *Engine) Remove(ctx context.Context, ref engine.Ref) error {
	if ref.Kind == engine.KindVolume {
		return e.removeVolume(ctx, ref)
	}
	name := e.name(ref)
	if err := e.drops(ctx, name, ref); err != nil {
		return err
	}
	if err := e.await(ctx, func() bool { return e.cache.gone(name) }); err != nil {
		return err
	}
	if ref.Kind == engine.KindWorkload {
		if err := e.awaitService(ctx, name); err != nil {
			return err
		}
	}
	e.forget(name)
	return nil
}

// awaitService waits for the end of a Service, which takes its slices with it.
func (e *Engine) awaitService(ctx context.Context, name string) error {
	wait := loop.Backoff{Min: 10 * time.Millisecond, Max: time.Second}
	for {
		_, err := e.client.CoreV1().Services(e.opt.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return failed(err)
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// drops deletes all parts of an object.
func (e *Engine) drops(ctx context.Context, name string, ref engine.Ref) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	defer e.locks.lock(name)()
	e.mu.Lock()
	e.removing[name] = ref
	e.mu.Unlock()
	// The Deployment is last: while it is there, a crash here is noticed.
	resources := []string{"secrets", "services", "poddisruptionbudgets", "deployments"}
	if ref.Kind == engine.KindTask {
		resources = []string{"secrets", "jobs"}
	}
	for _, r := range resources {
		if err := e.drop(ctx, r, name); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what the engine itself keeps of an object that is gone.
func (e *Engine) forget(name string) {
	defer e.locks.lock(name)()
	if !e.cache.gone(name) {
		return
	}
	e.mu.Lock()
	ref, ours := e.removing[name]
	delete(e.removing, name)
	delete(e.applied, name)
	fns := make([]func(engine.Ref), 0, len(e.wakes))
	for _, fn := range e.wakes {
		fns = append(fns, fn)
	}
	e.mu.Unlock()
	e.logs.remove(name)
	if ours {
		for _, fn := range fns {
			fn(ref)
		}
	}
}

// applyVolume makes a claim. Its size and kind cannot change.
func (e *Engine) applyVolume(ctx context.Context, v engine.Volume) error {
	v.ID.Kind = engine.KindVolume
	name := e.name(v.ID)
	defer e.locks.lock(name)()
	c := e.claim(v)
	m, err := newManifest("persistentvolumeclaims", c)
	if err != nil {
		return err
	}
	if old := e.cache.claim(name); old != nil {
		switch {
		case old.DeletionTimestamp != nil:
			return errs.Conflict("%s is being removed: try again when it is gone", v.ID)
		case old.Annotations[noteAbout] != c.Annotations[noteAbout]:
			return errs.Conflict("%s exists and is different", v.ID)
		}
		return nil
	}
	if err := e.create(ctx, m); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return e.await(ctx, func() bool { return e.cache.claim(name) != nil })
}

// removeVolume deletes a claim and waits until its data are gone too.
func (e *Engine) removeVolume(ctx context.Context, ref engine.Ref) error {
	if by := e.mounted(ref); by != "" {
		return errs.Conflict("%s is used by %s", ref, by)
	}
	name := e.name(ref)
	unlock := e.locks.lock(name)
	c := e.cache.claim(name)
	err := e.drop(context.WithoutCancel(ctx), "persistentvolumeclaims", name)
	unlock()
	if err != nil || c == nil {
		return err
	}
	if err := e.await(ctx, func() bool { return e.cache.claim(name) == nil }); err != nil || c.Spec.VolumeName == "" {
		return err
	}
	return e.awaitRelease(ctx, c.Spec.VolumeName)
}

// awaitRelease waits until a volume is deleted, unless its class says that it stays.
func (e *Engine) awaitRelease(ctx context.Context, volume string) error {
	wait := loop.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	for {
		v, err := e.client.CoreV1().PersistentVolumes().Get(ctx, volume, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return failed(err)
		case v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRetain:
			e.log.Warn("a removed volume's data stay, because its storage class retains them", "volume", volume)
			return nil
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// mounted tells which object uses a volume.
func (e *Engine) mounted(ref engine.Ref) string {
	for _, k := range e.all() {
		for _, m := range k.about.Mounts {
			if m == ref {
				return k.ref.String()
			}
		}
	}
	return ""
}

// all lists the records in the cache.
func (e *Engine) all() []known {
	var all []known
	for _, o := range e.cache.secrets.GetStore().List() {
		if k, ok := parseKnown(o.(metav1.Object)); ok {
			all = append(all, k)
		}
	}
	return all
}
