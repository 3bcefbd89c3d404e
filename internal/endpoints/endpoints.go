// Package endpoints tells a gateway on Kubernetes where replicas are, from
// EndpointSlices that it reads itself: so a pod that is replaced while the core
// is away is found, and while the API server is away the last that was heard
// counts.
package endpoints

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/internal/base/errs"
)

// Rules are what a reader needs to be let do in the apps' namespace.
func Rules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{
		APIGroups: []string{discoveryv1.GroupName}, Resources: []string{"endpointslices"}, Verbs: []string{"list", "watch"},
	}}
}

// Reader follows the EndpointSlices of one engine's workloads.
type Reader struct {
	factory informers.SharedInformerFactory
	slices  cache.SharedIndexInformer
}

const byWorkload = "workload"

// Labels of the engine's Services, which Kubernetes copies to their slices.
const (
	labelOwner = "slipway.dev/owner"
	labelScope = "slipway.dev/scope"
	labelName  = "slipway.dev/name"
)

// New returns a reader for the namespace of apps. A nil cfg is the pod's own
// account, or $KUBECONFIG; an empty owner is the engine's default. Run starts it.
func New(cfg *rest.Config, namespace, owner string, log *slog.Logger) (*Reader, error) {
	if cfg == nil {
		own, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		if err != nil {
			return nil, errs.Wrap(err, errs.KindInvalid, "this is no pod of a cluster, and $KUBECONFIG names none: %v", err)
		}
		cfg = own
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "Kubernetes cannot be reached as configured: %v", err)
	}
	if owner == "" {
		owner = "slipway"
	}
	only := labels.Set{labelOwner: owner}.String()
	f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = only }),
		informers.WithTransform(func(o any) (any, error) {
			if m, ok := o.(metav1.Object); ok {
				m.SetManagedFields(nil)
			}
			return o, nil
		}))
	r := &Reader{f, f.Discovery().V1().EndpointSlices().Informer()}
	err = r.slices.AddIndexers(cache.Indexers{byWorkload: func(o any) ([]string, error) {
		l := o.(*discoveryv1.EndpointSlice).Labels
		return []string{l[labelScope] + "/" + l[labelName]}, nil
	}})
	if err != nil {
		return nil, err
	}
	err = r.slices.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		log.WarnContext(ctx, "Kubernetes does not tell where replicas are: the last known places count", "error", err)
	})
	return r, err
}

// Run follows until ctx ends, through every absence of the API server.
func (r *Reader) Run(ctx context.Context) error {
	r.factory.Start(ctx.Done())
	<-ctx.Done()
	r.factory.Shutdown()
	return nil
}

// Endpoints returns where the ready replicas of a workload are, in the words of
// package dial; known is false when nothing has been heard of the workload.
func (r *Reader) Endpoints(scope, name string) (ready []string, known bool) {
	found, err := r.slices.GetIndexer().ByIndex(byWorkload, scope+"/"+name)
	if err != nil {
		return nil, false
	}
	for _, o := range found {
		s := o.(*discoveryv1.EndpointSlice)
		if len(s.Ports) == 0 || s.Ports[0].Port == nil {
			continue
		}
		port := strconv.Itoa(int(*s.Ports[0].Port))
		for _, e := range s.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, a := range e.Addresses {
					ready = append(ready, "tcp://"+net.JoinHostPort(a, port))
				}
			}
		}
	}
	slices.Sort(ready)
	return slices.Compact(ready), len(found) > 0
}

// Synced waits until everything that is there has been heard, or ctx ends.
func (r *Reader) Synced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), r.slices.HasSynced)
}
