package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Observe implements engine.Engine. It reads the cache alone.
func (e *Engine) Observe(context.Context) (engine.Snapshot, error) {
	var s engine.Snapshot
	seen := map[string]bool{}
	for _, o := range e.cache.secrets.GetStore().List() {
		m := o.(metav1.Object)
		if k, ok := parseKnown(m); ok {
			seen[m.GetName()] = true
			e.observe(&s, m.GetName(), k)
		}
	}
	// What ends has no record any more.
	for _, list := range [][]any{e.cache.deployments.GetStore().List(), e.cache.jobs.GetStore().List(), e.cache.pods.GetStore().List()} {
		for _, o := range list {
			m := o.(metav1.Object)
			name := m.GetLabels()[LabelObject]
			if ref, ok := parseRef(m.GetAnnotations()[NoteRef]); ok && !seen[name] {
				seen[name] = true
				e.observe(&s, name, known{ref: ref})
			}
		}
	}
	for _, o := range e.cache.claims.GetStore().List() {
		if ref, ok := parseRef(o.(metav1.Object).GetAnnotations()[NoteRef]); ok {
			s.Volumes = append(s.Volumes, engine.VolumeStatus{ID: ref})
		}
	}
	slices.SortFunc(s.Workloads, func(a, b engine.WorkloadStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Tasks, func(a, b engine.TaskStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Volumes, func(a, b engine.VolumeStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return s, nil
}

func (e *Engine) observe(s *engine.Snapshot, name string, k known) {
	if k.ref.Kind == engine.KindTask {
		s.Tasks = append(s.Tasks, engine.TaskStatus{ID: k.ref, Labels: k.about.Labels, Replica: e.taskReplica(name, k)})
		return
	}
	w := engine.WorkloadStatus{ID: k.ref, Labels: k.about.Labels, Wanted: k.replicas}
	if e.ended(name) {
		w.Wanted = 0
	}
	pods := e.indexed(name, w.Wanted)
	for i := range w.Wanted {
		if pods[i] == nil {
			w.Replicas = append(w.Replicas, engine.Replica{
				ID: engine.ReplicaRef{Ref: k.ref, Index: i}, Phase: engine.PhasePending, Waiting: unmade(e.cache.deployment(name)),
			})
		}
	}
	for i, p := range pods {
		w.Replicas = append(w.Replicas, e.replica(engine.ReplicaRef{Ref: k.ref, Index: i}, p, k.about.Port))
	}
	slices.SortFunc(w.Replicas, func(a, b engine.Replica) int { return a.ID.Index - b.ID.Index })
	s.Workloads = append(s.Workloads, w)
}

// live reports whether a pod is one of those that the Deployment wants.
func live(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
}

// indexed gives every pod of a workload an index that stays its own, the lowest
// that is free, and returns the pods by index. A pod that ends is not shown
// beside the one that took its index.
func (e *Engine) indexed(name string, wanted int) map[int]*corev1.Pod {
	pods := e.cache.podsOf(name)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	out, alive := map[int]*corev1.Pod{}, 0
	for _, p := range pods {
		if live(p) {
			alive++
		}
	}
	var fresh []*corev1.Pod
	for _, p := range pods {
		if !live(p) {
			continue
		}
		i, ok := e.indexOf(p)
		// With fewer pods than numbers, a pod with a high one moves down.
		if !ok || out[i] != nil || i >= wanted && alive <= wanted {
			fresh = append(fresh, p)
			continue
		}
		out[i] = p
	}
	for _, p := range fresh {
		i := 0
		for out[i] != nil {
			i++
		}
		out[i] = p
		e.indices[string(p.UID)] = i
	}
	for _, p := range pods {
		if i, ok := e.indexOf(p); ok && out[i] == nil && p.DeletionTimestamp != nil {
			out[i] = p
		}
	}
	return out
}

// indexOf is called with the lock.
func (e *Engine) indexOf(p *corev1.Pod) (int, bool) {
	if i, ok := e.indices[string(p.UID)]; ok {
		return i, true
	}
	i, err := strconv.Atoi(p.Annotations[noteIndex])
	return i, err == nil
}

// status finds a container's.
func status(p *corev1.Pod) corev1.ContainerStatus {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

func (e *Engine) replica(id engine.ReplicaRef, p *corev1.Pod, port int) engine.Replica {
	c := status(p)
	r := engine.Replica{
		ID: id, Phase: engine.PhasePending, Since: p.CreationTimestamp.UTC(), Restarts: int(c.RestartCount), Node: p.Spec.NodeName,
	}
	if n := e.cache.nodeOf(p.Spec.NodeName); n != nil {
		r.Zone = n.Labels[corev1.LabelTopologyZone]
	}
	if t := c.LastTerminationState.Terminated; t != nil {
		r.Exit = exitOf(t, p)
	}
	switch {
	case c.State.Running != nil:
		r.Phase, r.Since = engine.PhaseRunning, c.State.Running.StartedAt.UTC()
	case c.State.Terminated != nil:
		r.Exit = exitOf(c.State.Terminated, p)
		r.Since = r.Exit.At
	case c.State.Waiting != nil && r.Exit != nil:
		r.Since = r.Exit.At
		if d := delay(c.State.Waiting.Message); d > 0 {
			r.NotBefore = r.Exit.At.Add(d)
		}
	}
	if r.Phase == engine.PhasePending {
		r.Waiting = waiting(p)
	}
	if port != 0 && p.Status.PodIP != "" {
		r.Endpoint = "tcp://" + net.JoinHostPort(p.Status.PodIP, strconv.Itoa(port))
	}
	return r
}

var backOff = regexp.MustCompile(`back-off ([0-9a-z.]+) restarting`)

// delay reads how long the kubelet waits, which it says only in words.
func delay(message string) time.Duration {
	m := backOff.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	d, err := time.ParseDuration(m[1])
	if err != nil {
		return 0
	}
	return d
}

// exitOf reads the init's record; without one, what the kubelet saw.
func exitOf(t *corev1.ContainerStateTerminated, p *corev1.Pod) *engine.Exit {
	x := recordOf(t, p)
	if why := whyEnded(t, p); why != "" {
		x.Message = why
	}
	return x
}

func recordOf(t *corev1.ContainerStateTerminated, p *corev1.Pod) *engine.Exit {
	var in inside.Exit
	if json.Unmarshal([]byte(t.Message), &in) == nil && !in.At.IsZero() {
		return &engine.Exit{Code: in.Code, Signal: in.Signal, OOM: in.OOM, Message: in.Message, At: in.At.UTC()}
	}
	x := &engine.Exit{Code: int(t.ExitCode), Signal: int(t.Signal), At: t.FinishedAt.UTC()}
	if x.Signal == 0 && x.Code > 128 && x.Code < 160 {
		x.Signal = x.Code - 128
	}
	switch {
	case t.Reason == "OOMKilled":
		x.OOM, x.Message = true, "it needed more memory than its limit"
	case p.Status.Message != "":
		x.Message = p.Status.Message
	case x.Code != 0:
		x.Message = "its pod was killed: " + cmp.Or(t.Message, t.Reason, "nobody said why")
	}
	return x
}

// taskReplica tells how a task is. Its end is told only when it is recorded.
func (e *Engine) taskReplica(name string, k known) engine.Replica {
	r := engine.Replica{ID: engine.ReplicaRef{Ref: k.ref}, Phase: engine.PhasePending}
	if res := k.result; res != nil {
		r.Phase, r.Since, r.Exit, r.Node = engine.PhaseExited, res.At, res.Exit, res.Node
		if res.Lost {
			r.Phase = engine.PhaseLost
		}
		return r
	}
	p := e.taskPod(name, k)
	if p == nil {
		return r
	}
	o := e.replica(r.ID, p, 0)
	r.Since, r.Node, r.Zone, r.Waiting = o.Since, o.Node, o.Zone, o.Waiting
	if k.began != "" {
		r.Phase = engine.PhaseRunning
	}
	return r
}

// taskPod is the pod that was let go; before that, the first one. There may be
// more, which are refused: a Job promises less than a Task.
func (e *Engine) taskPod(name string, k known) *corev1.Pod {
	pods := e.cache.podsOf(name)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, p := range pods {
		if k.began == "" || strings.HasPrefix(k.began, string(p.UID)+"/") {
			return p
		}
	}
	return nil
}

func finished(j *batchv1.Job) bool {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobFailed || c.Type == batchv1.JobComplete) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func jobMessage(j *batchv1.Job) string {
	for _, c := range j.Status.Conditions {
		if c.Type == batchv1.JobFailed || c.Type == batchv1.JobFailureTarget {
			return cmp.Or(c.Message, c.Reason)
		}
	}
	return ""
}
