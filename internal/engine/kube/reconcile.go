package kube

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// work takes names from the queue and makes each object what its record says.
func (e *Engine) work(ctx context.Context) error {
	for {
		name, stop := e.queue.Get()
		if stop {
			return nil
		}
		again, err := e.reconcile(ctx, name)
		switch {
		case err != nil && ctx.Err() == nil:
			if !errs.Is(err, errs.KindConflict) {
				e.log.Error("an object is not as it should be; trying again", "object", name, "error", err)
			}
			e.queue.AddRateLimited(name)
		case again > 0:
			e.queue.Forget(name)
			e.queue.AddAfter(name, again)
		default:
			e.queue.Forget(name)
		}
		e.queue.Done(name)
	}
}

// reconcile does what can be done now and tells when to look again, if ever
// without an event.
func (e *Engine) reconcile(ctx context.Context, name string) (again time.Duration, err error) {
	for _, p := range e.cache.podsOf(name) {
		e.logs.follow(p)
	}
	s := e.cache.secret(name)
	switch {
	case s == nil && e.cache.gone(name):
		if e.cache.claim(name) == nil {
			e.forget(name)
		}
		return 0, nil
	case s == nil:
		return 0, e.orphan(ctx, name)
	case e.ended(name):
		return 0, nil
	}
	k, ok := parseKnown(s)
	if !ok {
		return 0, nil
	}
	if k.ref.Kind == engine.KindTask {
		return e.reconcileTask(ctx, name, k)
	}
	e.giveIndices(ctx, name)
	if d := e.cache.deployment(name); d != nil && d.DeletionTimestamp == nil && d.Spec.Replicas != nil &&
		int(*d.Spec.Replicas) == k.replicas && e.untouched(name, d.Generation) {
		return 0, nil
	}
	return 0, e.repair(ctx, name)
}

// repair makes an object again as its record says, when there is one.
func (e *Engine) repair(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer e.locks.lock(name)()
	if e.ended(name) {
		return nil
	}
	if d := e.cache.deployment(name); d != nil && d.DeletionTimestamp != nil {
		return nil // somebody deletes it: the event of its end brings us back
	}
	s, err := e.read(ctx, name)
	if err != nil || s == nil {
		return err
	}
	return e.restore(ctx, name, s)
}

// orphan deletes what has no record: a removal was cut short.
func (e *Engine) orphan(ctx context.Context, name string) error {
	s, err := e.read(ctx, name)
	if err != nil || s != nil { // the cache is late
		return err
	}
	if d := e.cache.deployment(name); d != nil {
		ref, ok := parseRef(d.Annotations[NoteRef])
		if ok && d.DeletionTimestamp == nil {
			return e.drops(ctx, name, ref)
		}
	}
	if j := e.cache.job(name); j != nil {
		ref, ok := parseRef(j.Annotations[NoteRef])
		if ok && j.DeletionTimestamp == nil {
			return e.drops(ctx, name, ref)
		}
	}
	return nil
}

// giveIndices writes the pods' indices down, and that those with high ones are
// to go first when there are too many. What fails is tried at the next event.
func (e *Engine) giveIndices(ctx context.Context, name string) {
	s := e.cache.secret(name)
	if s == nil {
		return
	}
	k, _ := parseKnown(s)
	for i, p := range e.indexed(name, k.replicas) {
		want := strconv.Itoa(i)
		if p.DeletionTimestamp != nil || p.Annotations[noteIndex] == want {
			continue
		}
		_, err := e.patch(ctx, types.MergePatchType, "pods", p.Name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
			noteIndex: want, "controller.kubernetes.io/pod-deletion-cost": strconv.Itoa(-i),
		}}})
		if err != nil && ctx.Err() == nil {
			e.log.Debug("a pod's index is not written down", "pod", p.Name, "error", err)
		}
	}
}
