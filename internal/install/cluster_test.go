package install_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/install"
	"slipway.dev/slipway/test/cluster"
)

func client(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 200, 400
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func complete(t *testing.T, v install.Values) install.Values {
	t.Helper()
	v.Base, v.Image = "slipway.example.com", "registry.example.com/slipway:1"
	if err := v.Complete(); err != nil {
		t.Fatal(err)
	}
	return v
}

// controllers say of everything in the namespace that its pods are ready, as
// the real ones would in the end; there are none beside an API server alone.
func controllers(t *testing.T, cfg *rest.Config, v install.Values) {
	t.Helper()
	c := client(t, cfg)
	g := loop.New(context.Background(), nil)
	g.Go("controllers", func(ctx context.Context) error {
		for loop.Sleep(ctx, 20*time.Millisecond) == nil {
			makeReady(ctx, c, v)
		}
		return nil
	})
	t.Cleanup(func() { _ = g.Stop() })
}

func makeReady(ctx context.Context, c *kubernetes.Clientset, v install.Values) {
	patch := func(generation int64, status map[string]any) []byte {
		status["observedGeneration"] = generation
		b, _ := json.Marshal(map[string]any{"status": status})
		return b
	}
	if l, err := c.AppsV1().Deployments(v.Namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, d := range l.Items {
			n := *d.Spec.Replicas
			b := patch(d.Generation, map[string]any{
				"replicas": n, "updatedReplicas": n, "readyReplicas": n, "availableReplicas": n,
				"conditions": []any{map[string]any{"type": "Available", "status": "True"}, map[string]any{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}},
			})
			_, _ = c.AppsV1().Deployments(v.Namespace).Patch(ctx, d.Name, types.MergePatchType, b, metav1.PatchOptions{}, "status")
		}
	}
	if l, err := c.AppsV1().StatefulSets(v.Namespace).List(ctx, metav1.ListOptions{}); err == nil {
		for _, s := range l.Items {
			b := patch(s.Generation, map[string]any{"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "currentReplicas": 1, "availableReplicas": 1, "currentRevision": "a", "updateRevision": "a"})
			_, _ = c.AppsV1().StatefulSets(v.Namespace).Patch(ctx, s.Name, types.MergePatchType, b, metav1.PatchOptions{}, "status")
		}
	}
	if l, err := c.AppsV1().DaemonSets(v.Namespace+"-pull").List(ctx, metav1.ListOptions{}); err == nil {
		for _, d := range l.Items {
			b := patch(d.Generation, map[string]any{
				"currentNumberScheduled": 2, "desiredNumberScheduled": 2, "numberReady": 2, "numberAvailable": 2, "updatedNumberScheduled": 2, "numberMisscheduled": 0,
			})
			_, _ = c.AppsV1().DaemonSets(d.Namespace).Patch(ctx, d.Name, types.MergePatchType, b, metav1.PatchOptions{}, "status")
		}
	}
}

func installer(t *testing.T, cfg *rest.Config, out io.Writer) *install.Installer {
	t.Helper()
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 200, 400
	i, err := install.New(cfg, out, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func apply(ctx context.Context, i *install.Installer, v install.Values) error {
	p, err := i.Plan(ctx, v)
	if err != nil {
		return err
	}
	return i.Apply(ctx, p)
}

var errKilled = errors.New("killed")

// killing lets only some of the writes through.
type killing struct {
	http.RoundTripper
	left *atomic.Int64
}

func (k killing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == "" && k.left.Add(-1) < 0 {
		return nil, errKilled
	}
	return k.RoundTripper.RoundTrip(r)
}

func TestOnAnAPIServer(t *testing.T) {
	cfg := cluster.API(t)
	t.Run("install", func(t *testing.T) { testInstall(t, cfg) })
	t.Run("killed", func(t *testing.T) { testKilled(t, cfg) })
	t.Run("foreign certificate", func(t *testing.T) { testNoCertificate(t, cfg) })
}

func testInstall(t *testing.T, cfg *rest.Config) {
	ctx, v := t.Context(), complete(t, install.Values{Namespace: "a", AppsNamespace: "a-apps"})
	c := client(t, cfg)
	var out bytes.Buffer
	i := installer(t, cfg, &out)
	if _, err := i.Status(ctx, "a"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("the status of nothing: %v", err)
	}
	p, err := i.Plan(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range p.Changes {
		if change.Do != "make" {
			t.Errorf("on an empty cluster: %+v", change)
		}
	}
	if _, err := c.CoreV1().Namespaces().Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("planning has made something: %v", err)
	}
	controllers(t, cfg, v)
	if err := i.Apply(ctx, p); err != nil {
		t.Fatal(err, out.String())
	}
	if p, err = i.Plan(ctx, v); err != nil || len(p.Changes) != 0 {
		t.Fatalf("a second run would change %+v: %v", p, err)
	}
	parts, err := i.Status(ctx, "a")
	if err != nil || len(parts) != 4 {
		t.Fatal(parts, err)
	}
	for _, s := range parts {
		if s.State != install.Ready || s.Wanted == 0 || s.Image == "" {
			t.Errorf("%+v", s)
		}
	}

	// Someone scales the gateways by hand, and the next values want other things.
	v.Gateways, v.Database.URL, v.AppMemoryMB = 3, "postgres://slipway@db.example.com/slipway", 512
	p, err = i.Plan(ctx, v)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, change := range p.Changes {
		said += change.Do + " " + change.Object + "\n" + strings.Join(change.Fields, "\n") + "\n"
	}
	for _, want := range []string{
		"change Deployment a/slipway-gateway", "spec.replicas: 2 → 3", "app_memory_mb: 512", "delete StatefulSet a/slipway-postgres", "delete Service a/slipway-postgres",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("nothing is said of %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "delete Secret") || strings.Contains(said, "delete PersistentVolumeClaim") {
		t.Errorf("data would be deleted:\n%s", said)
	}
	if err := i.Apply(ctx, p); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AppsV1().StatefulSets("a").Get(ctx, "slipway-postgres", metav1.GetOptions{}); err == nil {
		// Deleted in the foreground, which no controller ends here.
		s, _ := c.AppsV1().StatefulSets("a").Get(ctx, "slipway-postgres", metav1.GetOptions{})
		if s.DeletionTimestamp == nil {
			t.Error("the database that nobody wants is still there")
		}
	}

	r, err := i.Removal(ctx, "a", install.LevelPlatform)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PersistentVolumeClaim a/slipway-core", "Secret a/slipway-ca", "Namespace a-apps"} {
		if !strings.Contains(strings.Join(r.Keep, "\n"), want) {
			t.Errorf("%s is not said to stay: %v", want, r.Keep)
		}
	}
	if r, err = i.Removal(ctx, "a", install.LevelNamespaces); err != nil || len(r.Keep) != 0 {
		t.Errorf("with the namespaces this stays: %v %v", r, err)
	}
}

// A run that is killed at any write is finished by the next one.
func testKilled(t *testing.T, cfg *rest.Config) {
	v := complete(t, install.Values{Namespace: "b", AppsNamespace: "b-apps"})
	controllers(t, cfg, v)
	var authority []byte
	for n := 0; ; n += 3 {
		left := new(atomic.Int64)
		left.Store(int64(n))
		killed := rest.CopyConfig(cfg)
		killed.Wrap(func(rt http.RoundTripper) http.RoundTripper { return killing{rt, left} })
		err := apply(t.Context(), installer(t, killed, io.Discard), v)
		s, getErr := client(t, cfg).CoreV1().Secrets("b").Get(t.Context(), "slipway-ca", metav1.GetOptions{})
		if getErr == nil {
			if authority != nil && !bytes.Equal(authority, s.Data["ca.key"]) {
				t.Fatalf("the authority was made again after %d writes", n)
			}
			authority = s.Data["ca.key"]
		}
		if err == nil {
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatalf("after %d writes: %v", n, err)
		}
	}
	p, err := installer(t, cfg, io.Discard).Plan(t.Context(), v)
	if err != nil || len(p.Changes) != 0 {
		t.Fatalf("after the last run there is still to do: %+v %v", p, err)
	}
}

func testNoCertificate(t *testing.T, cfg *rest.Config) {
	v := complete(t, install.Values{Namespace: "c", AppsNamespace: "c-apps", TLSSecret: "web"})
	_, err := installer(t, cfg, io.Discard).Plan(t.Context(), v)
	if !errs.Is(err, errs.KindNotFound) || !strings.Contains(err.Error(), "kubectl create secret tls web") {
		t.Errorf("%v", err)
	}
}
