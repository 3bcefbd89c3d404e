package kube

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"slipway.dev/slipway/internal/engine"
)

var _ engine.Restarter = (*Engine)(nil)

// endProgram makes a pod's init end its program, as the kubelet would; the
// kubelet then starts the container again. It is in every image.
var endProgram = []string{"/bin/sh", "-c", "kill -TERM 1"}

// Restart implements engine.Restarter. The pod stays, with its address and its
// node; why is noted on it first, under the life that ends, so that it is told
// of that end alone.
func (e *Engine) Restart(ctx context.Context, id engine.ReplicaRef, why string) error {
	p := e.podOf(id)
	if p == nil || id.Ref.Kind != engine.KindWorkload {
		return nil
	}
	life := status(p)
	if life.State.Running == nil || p.DeletionTimestamp != nil {
		return nil
	}
	if _, err := e.patch(ctx, types.MergePatchType, "pods", p.Name, map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		noteEnded: life.ContainerID + " " + why,
	}}}); err != nil {
		return err
	}
	over := func() bool {
		now := e.cache.pod(p.Name)
		return now == nil || now.UID != p.UID || status(now).ContainerID != life.ContainerID || status(now).State.Running == nil
	}
	if _, err := e.run(ctx, p, endProgram, false, engine.Streams{}); err != nil && !over() {
		return err
	}
	return e.await(ctx, over)
}

// whyEnded tells why a life was ended by Restart; nothing when it was not.
func whyEnded(t *corev1.ContainerStateTerminated, p *corev1.Pod) string {
	life, why, ok := strings.Cut(p.Annotations[noteEnded], " ")
	if !ok || life == "" || life != t.ContainerID {
		return ""
	}
	return why
}
