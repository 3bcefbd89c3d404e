package kube

import (
	"context"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata/metadatainformer"
	toolscache "k8s.io/client-go/tools/cache"

	"slipway.dev/slipway/internal/base/errs"
)

// cache is what the cluster has of ours, as told by watches. Of Secrets it has
// the metadata alone.
type cache struct {
	typed, nodes informers.SharedInformerFactory
	meta         metadatainformer.SharedInformerFactory

	secrets, deployments, jobs, pods, claims, node toolscache.SharedIndexInformer
	ns                                             string
}

const byObject = "object"

func newCache(e *Engine) *cache {
	selector := labels.Set{LabelOwner: e.opt.Owner}.String()
	tweak := func(o *metav1.ListOptions) { o.LabelSelector = selector }
	slim := func(o any) (any, error) {
		if m, ok := o.(metav1.Object); ok {
			m.SetManagedFields(nil)
		}
		return o, nil
	}
	c := &cache{
		typed: informers.NewSharedInformerFactoryWithOptions(e.client, 0,
			informers.WithNamespace(e.opt.Namespace), informers.WithTweakListOptions(tweak), informers.WithTransform(slim)),
		nodes: informers.NewSharedInformerFactoryWithOptions(e.client, 0, informers.WithTransform(slimNode)),
		meta:  metadatainformer.NewFilteredSharedInformerFactory(e.meta1, 0, e.opt.Namespace, tweak),
		ns:    e.opt.Namespace,
	}
	c.secrets = c.meta.ForResource(corev1.SchemeGroupVersion.WithResource("secrets")).Informer()
	c.deployments = c.typed.Apps().V1().Deployments().Informer()
	c.jobs = c.typed.Batch().V1().Jobs().Informer()
	c.pods = c.typed.Core().V1().Pods().Informer()
	c.claims = c.typed.Core().V1().PersistentVolumeClaims().Informer()
	c.node = c.nodes.Core().V1().Nodes().Informer()
	_ = c.pods.AddIndexers(toolscache.Indexers{byObject: func(o any) ([]string, error) { // fails only after the start
		return []string{o.(*corev1.Pod).Labels[LabelObject]}, nil
	}})
	tell := func(o any) {
		if m, ok := o.(metav1.Object); ok {
			e.on(m)
		}
	}
	end := func(o any) {
		if d, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
			o = d.Obj
		}
		if p, ok := o.(*corev1.Pod); ok {
			e.mu.Lock()
			delete(e.indices, string(p.UID))
			e.mu.Unlock()
		}
		tell(o)
	}
	for _, i := range []toolscache.SharedIndexInformer{c.secrets, c.deployments, c.jobs, c.pods, c.claims} {
		_, _ = i.AddEventHandler(toolscache.ResourceEventHandlerFuncs{ // fails only after the stop
			AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: end,
		})
	}
	return c
}

// slimNode keeps what the engine reads of a node.
func slimNode(o any) (any, error) {
	if n, ok := o.(*corev1.Node); ok {
		n.ManagedFields, n.Annotations, n.Status.Images = nil, nil, nil
	}
	return o, nil
}

// start runs the watches until life ends and waits until each has told all.
func (c *cache) start(ctx, life context.Context) error {
	c.typed.Start(life.Done())
	c.nodes.Start(life.Done())
	c.meta.Start(life.Done())
	for _, i := range []toolscache.SharedIndexInformer{c.secrets, c.deployments, c.jobs, c.pods, c.claims, c.node} {
		if !toolscache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
			return errs.Unavailable("Kubernetes did not tell within a minute what namespace %s has: is its API reachable, and may this account list and watch there?", c.ns)
		}
	}
	return nil
}

func (c *cache) stop() {
	c.typed.Shutdown()
	c.nodes.Shutdown()
	c.meta.Shutdown()
}

func get[T any](c *cache, i toolscache.SharedIndexInformer, name string) T {
	var zero T
	o, ok, err := i.GetStore().GetByKey(c.ns + "/" + name)
	if err != nil || !ok {
		return zero
	}
	return o.(T)
}

func (c *cache) secret(name string) *metav1.PartialObjectMetadata {
	return get[*metav1.PartialObjectMetadata](c, c.secrets, name)
}

func (c *cache) deployment(name string) *appsv1.Deployment {
	return get[*appsv1.Deployment](c, c.deployments, name)
}
func (c *cache) job(name string) *batchv1.Job { return get[*batchv1.Job](c, c.jobs, name) }

func (c *cache) claim(name string) *corev1.PersistentVolumeClaim {
	return get[*corev1.PersistentVolumeClaim](c, c.claims, name)
}
func (c *cache) pod(name string) *corev1.Pod { return get[*corev1.Pod](c, c.pods, name) }

// podsOf lists an object's pods.
func (c *cache) podsOf(name string) []*corev1.Pod {
	found, err := c.pods.GetIndexer().ByIndex(byObject, name)
	if err != nil {
		return nil
	}
	all := make([]*corev1.Pod, 0, len(found))
	for _, o := range found {
		all = append(all, o.(*corev1.Pod))
	}
	return all
}

func (c *cache) nodeOf(name string) *corev1.Node {
	o, ok, err := c.node.GetStore().GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return o.(*corev1.Node)
}

// gone reports whether nothing of an object is left.
func (c *cache) gone(name string) bool {
	return c.secret(name) == nil && c.deployment(name) == nil && c.job(name) == nil && len(c.podsOf(name)) == 0
}

// callTimeout bounds calls that must not be cut short by who asked.
const callTimeout = 30 * time.Second
