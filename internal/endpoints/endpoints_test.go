package endpoints_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/endpoints"
	"slipway.dev/slipway/internal/engine/kube"
	"slipway.dev/slipway/test/cluster"
)

const ns = "reader"

// asking notes what is asked of Kubernetes, and cuts it off.
type asking struct {
	http.RoundTripper
	away *atomic.Bool
	mu   *sync.Mutex
	done map[string]bool // verb and resource
}

func (a asking) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.away.Load() {
		return nil, context.DeadlineExceeded
	}
	if r.URL.Query().Get("sendInitialEvents") != "" { // an older API server, which must be listed first
		const refusal = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}`
		return &http.Response{
			StatusCode: http.StatusUnprocessableEntity, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(refusal)), Request: r,
		}, nil
	}
	verb := "list"
	if r.URL.Query().Get("watch") != "" {
		verb = "watch"
	}
	a.mu.Lock()
	a.done[verb+" "+r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]] = true
	a.mu.Unlock()
	return a.RoundTripper.RoundTrip(r)
}

func slice(name string, addresses ...string) *discoveryv1.EndpointSlice {
	yes, port := true, int32(8050)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns, Labels: map[string]string{
			kube.LabelOwner: "slipway", kube.LabelScope: "app_1", kube.LabelName: "web-v1",
		}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
	}
	for _, a := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}})
	}
	return s
}

// A gateway's account, with nothing but Rules, finds replicas, uses each of its
// rights, and keeps what it knows while the API server is away.
func TestReader(t *testing.T) {
	cfg := cluster.API(t)
	admin, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	_, err = admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	must(err)
	_, err = admin.RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}, Rules: endpoints.Rules()}, metav1.CreateOptions{})
	must(err)
	_, err = admin.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "gateway"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "gateway"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "gateway"}},
	}, metav1.CreateOptions{})
	must(err)

	a := asking{away: new(atomic.Bool), mu: new(sync.Mutex), done: map[string]bool{}}
	own := rest.CopyConfig(cfg)
	own.Impersonate.UserName = "gateway"
	own.Wrap(func(rt http.RoundTripper) http.RoundTripper { a.RoundTripper = rt; return a })
	r, err := endpoints.New(own, ns, "", slog.New(slog.DiscardHandler))
	must(err)
	g := loop.New(context.Background(), slog.New(slog.DiscardHandler))
	g.Go("reader", r.Run)
	t.Cleanup(func() { _ = g.Stop() })

	until := func(what string, want ...string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; {
			got, known := r.Endpoints("app_1", "web-v1")
			if known == (want != nil) && slices.Equal(got, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v, not %v", what, got, want)
			}
			must(loop.Sleep(ctx, 5*time.Millisecond))
		}
	}
	if !r.Synced(ctx) {
		t.Fatal("it does not hear what is there: is a right missing?")
	}
	until("nothing")
	_, err = admin.DiscoveryV1().EndpointSlices(ns).Create(ctx, slice("one", "10.0.0.1"), metav1.CreateOptions{})
	must(err)
	_, err = admin.DiscoveryV1().EndpointSlices(ns).Create(ctx, slice("two", "10.0.0.2"), metav1.CreateOptions{})
	must(err)
	until("two replicas", "tcp://10.0.0.1:8050", "tcp://10.0.0.2:8050")

	foreign := slice("foreign", "10.0.0.9")
	foreign.Labels[kube.LabelOwner] = "another"
	_, err = admin.DiscoveryV1().EndpointSlices(ns).Create(ctx, foreign, metav1.CreateOptions{})
	must(err)
	gone := slice("one", "10.0.0.3")
	no := false
	gone.Endpoints[0].Conditions.Ready = &no
	_, err = admin.DiscoveryV1().EndpointSlices(ns).Update(ctx, gone, metav1.UpdateOptions{})
	must(err)
	until("one is not ready", "tcp://10.0.0.2:8050")

	a.away.Store(true)
	if got, known := r.Endpoints("app_1", "web-v1"); !known || len(got) != 1 {
		t.Errorf("while the API server is away: %v", got)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, rule := range endpoints.Rules() {
		for _, verb := range rule.Verbs {
			if !a.done[verb+" "+rule.Resources[0]] {
				t.Errorf("the right to %s %s is not used", verb, rule.Resources[0])
			}
		}
	}
}
