package kube_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/kube"
)

func apply(t *testing.T, e engine.Engine, o engine.Object) {
	t.Helper()
	if err := e.Apply(t.Context(), o); err != nil {
		t.Fatalf("apply %s: %v", o.Ref(), err)
	}
}

func observe(t *testing.T, e engine.Engine) engine.Snapshot {
	t.Helper()
	s, err := e.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running waits until a workload has n replicas, all running.
func running(t *testing.T, e engine.Engine, ref engine.Ref, n int) (rs []engine.Replica) {
	t.Helper()
	enginetest.Await(t, ref.String()+" runs", func() bool {
		for _, w := range observe(t, e).Workloads {
			if w.ID == ref {
				rs = w.Replicas
			}
		}
		return len(rs) == n && !slices.ContainsFunc(rs, func(r engine.Replica) bool { return r.Phase != engine.PhaseRunning })
	})
	return rs
}

func phaseOf(t *testing.T, e engine.Engine, ref engine.Ref) engine.Phase {
	t.Helper()
	for _, k := range observe(t, e).Tasks {
		if k.ID == ref {
			return k.Replica.Phase
		}
	}
	return ""
}

// pods lists an object's.
func (l *lab) pods(t *testing.T, ref engine.Ref) []corev1.Pod {
	t.Helper()
	list, err := l.client.CoreV1().Pods(l.ns).List(t.Context(), metav1.ListOptions{LabelSelector: kube.LabelScope + "=" + ref.Scope + "," + kube.LabelName + "=" + ref.Name})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestDriftIsRepaired edits and deletes by hand.
func TestDriftIsRepaired(t *testing.T) {
	l := useLab(t)
	h := l.harness(t, l.config)
	w := enginetest.Workload("drift", "web", enginetest.ProgramServe)
	apply(t, h.Engine, w)
	running(t, h.Engine, w.ID, 1)
	name := l.pods(t, w.ID)[0].Labels[kube.LabelObject]
	all := l.client.AppsV1().Deployments(l.ns)
	made, err := all.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Patch(t.Context(), name, types.StrategicMergePatchType, []byte(`{"spec":{"replicas":0,"template":{"spec":{
		"terminationGracePeriodSeconds":1,"containers":[{"name":"app","command":["/bin/sleep","1"]}]}}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "an edit is undone", func() bool {
		d, err := all.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s := d.Spec.Template.Spec
		return *d.Spec.Replicas == 1 && slices.Equal(s.Containers[0].Command, made.Spec.Template.Spec.Containers[0].Command) &&
			*s.TerminationGracePeriodSeconds == *made.Spec.Template.Spec.TerminationGracePeriodSeconds
	})
	foreground := metav1.DeletePropagationForeground
	if err := all.Delete(t.Context(), name, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "what was deleted is made again", func() bool {
		d, err := all.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && d.UID != made.UID && d.DeletionTimestamp == nil
	})
	running(t, h.Engine, w.ID, 1)
}

// TestTakenTaskIsLost takes a running task's pod away: nobody knows how far it
// came, and it never runs again.
func TestTakenTaskIsLost(t *testing.T) {
	l := useLab(t)
	h := l.harness(t, l.config)
	ways := map[string]func(ctx context.Context, pod string) error{
		"deleted": func(ctx context.Context, pod string) error {
			return l.client.CoreV1().Pods(l.ns).Delete(ctx, pod, metav1.DeleteOptions{})
		},
		"evicted": func(ctx context.Context, pod string) error {
			return l.client.PolicyV1().Evictions(l.ns).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: l.ns}})
		},
		"forced": func(ctx context.Context, pod string) error {
			now := int64(0)
			return l.client.CoreV1().Pods(l.ns).Delete(ctx, pod, metav1.DeleteOptions{GracePeriodSeconds: &now})
		},
	}
	tasks := map[string]engine.Task{}
	for name, take := range ways {
		k := enginetest.Task("taken", name, enginetest.ProgramSleep)
		k.Command[2] = "echo ran; " + k.Command[2]
		tasks[name] = k
		apply(t, h.Engine, k)
		enginetest.Await(t, name+" runs", func() bool { return enginetest.Printed(t, h.Engine, k.ID) == "ran" })
		if err := take(t.Context(), l.pods(t, k.ID)[0].Name); err != nil {
			t.Fatal(err)
		}
	}
	for name, k := range tasks {
		enginetest.Await(t, name+" is lost", func() bool { return phaseOf(t, h.Engine, k.ID) == engine.PhaseLost })
	}
	h.Engine = h.Reopen()
	for name, k := range tasks {
		apply(t, h.Engine, k)
		if got := phaseOf(t, h.Engine, k.ID); got != engine.PhaseLost {
			t.Errorf("%s: after a restart it is %s", name, got)
		}
		enginetest.Await(t, name+" has no pod that goes on", func() bool {
			return !slices.ContainsFunc(l.pods(t, k.ID), func(p corev1.Pod) bool {
				return p.Status.Phase == corev1.PodPending || p.Status.Phase == corev1.PodRunning
			})
		})
		if got := enginetest.Printed(t, h.Engine, k.ID); got != "ran" {
			t.Errorf("%s: it printed %q", name, got)
		}
	}
}

// mortal passes on a number of writes, then nothing, as if the process had been
// killed between two of them.
type mortal struct {
	next http.RoundTripper
	left *atomic.Int64
}

var errKilled = errors.New("the process was killed")

func (m mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		m.left.Add(-1)
	}
	if m.left.Load() < 0 {
		return nil, errKilled
	}
	return m.next.RoundTrip(r)
}

// TestKilledBetweenAnyTwoWrites kills an engine before each of its writes: the
// next one goes on, and nobody has to ask again.
func TestKilledBetweenAnyTwoWrites(t *testing.T) {
	l := useLab(t)
	var left atomic.Int64
	left.Store(1 << 30)
	config := rest.CopyConfig(l.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return mortal{next, &left} })
	h := l.harness(t, config)
	// during kills the engine before write n of fn, or of its own work beside it,
	// and opens it again.
	during := func(n int, fn func() error) (killed bool) {
		left.Store(int64(n))
		err := fn()
		killed = left.Load() < 0
		if err != nil && !killed {
			t.Fatal(err)
		}
		left.Store(-1)
		if err := h.Engine.(*kube.Engine).Close(); err != nil {
			t.Error(err)
		}
		left.Store(1 << 30)
		h.Engine = h.Reopen()
		return killed
	}
	w := enginetest.Workload("killed", "web", enginetest.ProgramSleep)
	w.Replicas = 0
	whole := func() bool { n := l.parts(t, w.ID); return n == 0 || n == 4 }
	for n := range 6 {
		during(n, func() (err error) {
			enginetest.Await(t, "what the last turn removed is gone", func() bool {
				err = h.Engine.Apply(t.Context(), w)
				return !errs.Is(err, errs.KindConflict)
			})
			return err
		})
		enginetest.Await(t, "the workload is whole or not there", whole)
		apply(t, h.Engine, w)
		during(n, func() error { return h.Engine.Remove(t.Context(), w.ID) })
		enginetest.Await(t, "the workload is whole or gone", whole)
	}
	for n := range 3 {
		k := enginetest.Task("killed", "task-"+string(rune('a'+n)), enginetest.ProgramPass)
		if during(n, func() error { return h.Engine.Apply(t.Context(), k) }) {
			apply(t, h.Engine, k) // as whoever got no answer does
		}
		enginetest.Await(t, "the task ended", func() bool { return phaseOf(t, h.Engine, k.ID) == engine.PhaseExited })
		if got := enginetest.Printed(t, h.Engine, k.ID); got != "ran" {
			t.Errorf("killed before write %d, it printed %q", n, got)
		}
	}
}

// parts counts what there is of a workload, but for its pods.
func (l *lab) parts(t *testing.T, ref engine.Ref) int {
	t.Helper()
	o := metav1.ListOptions{LabelSelector: kube.LabelScope + "=" + ref.Scope + "," + kube.LabelName + "=" + ref.Name}
	secrets, err1 := l.client.CoreV1().Secrets(l.ns).List(t.Context(), o)
	services, err2 := l.client.CoreV1().Services(l.ns).List(t.Context(), o)
	budgets, err3 := l.client.PolicyV1().PodDisruptionBudgets(l.ns).List(t.Context(), o)
	deployments, err4 := l.client.AppsV1().Deployments(l.ns).List(t.Context(), o)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return len(secrets.Items) + len(services.Items) + len(budgets.Items) + len(deployments.Items)
}

// TestWhatKeepsFromStartingIsTold does not wait for a deadline.
func TestWhatKeepsFromStartingIsTold(t *testing.T) {
	l := useLab(t)
	h := l.harness(t, l.config, func(o *kube.Options) { o.Images = missing{o.Images} })
	tell := func(o engine.Object, want string) {
		t.Helper()
		apply(t, h.Engine, o)
		var got string
		enginetest.Await(t, want, func() bool {
			for _, w := range observe(t, h.Engine).Workloads {
				if w.ID == o.Ref() && len(w.Replicas) == 1 {
					got = w.Replicas[0].Waiting
				}
			}
			for _, k := range observe(t, h.Engine).Tasks {
				if k.ID == o.Ref() {
					got = k.Replica.Waiting
				}
			}
			return strings.HasPrefix(got, want)
		})
		t.Log(got)
	}
	w := enginetest.Workload("waits", "web", enginetest.ProgramSleep)
	tell(w, "its image cannot be pulled: ")
	w.ID.Name, w.Limits.MemoryBytes = "big", 1<<50
	tell(w, "no node has room for its 1073741824 MiB of memory: ")
	k := enginetest.Task("waits", "task", enginetest.ProgramPass)
	k.Limits.MemoryBytes = 1 << 50
	tell(k, "no node has room ")
}

// missing are images that no node can pull.
type missing struct{ kube.Images }

func (missing) Image(context.Context, string, []engine.Layer) (string, error) {
	return "127.0.0.1:1/apps/none:1", nil
}
