package enginetest

import (
	"context"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

func applyTwice(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	h.apply(t, w)
	r := h.running(t, w.ID, 1)[0]
	h.serves(t, r.Endpoint)
	h.apply(t, w)
	again := h.running(t, w.ID, 1)[0]
	if !again.Since.Equal(r.Since) || again.Restarts != 0 || again.Endpoint != r.Endpoint {
		t.Errorf("applying twice changed the replica from %+v to %+v", r, again)
	}
	if s := h.observe(t); len(s.Workloads) != 1 {
		t.Errorf("there are %d workloads, want 1", len(s.Workloads))
	}
}

func onlyReplicas(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	h.apply(t, w)
	for _, n := range []int{3, 1, 0, 2} {
		w.Replicas = n
		h.apply(t, w)
		for i, r := range h.running(t, w.ID, n) {
			if r.ID.Index != i {
				t.Errorf("replica %d has index %d", i, r.ID.Index)
			}
			h.serves(t, r.Endpoint)
		}
	}
	for name, change := range map[string]func(*engine.Workload){
		"command": func(w *engine.Workload) { w.Command = []string{"true"} },
		"env":     func(w *engine.Workload) { w.Env = nil },
		"port":    func(w *engine.Workload) { w.Port = 9 },
		"limits":  func(w *engine.Workload) { w.Limits.MemoryBytes++ },
		"labels":  func(w *engine.Workload) { w.Labels = nil },
		"grace":   func(w *engine.Workload) { w.Grace++ },
	} {
		other := w
		change(&other)
		if err := h.Engine.Apply(t.Context(), other); !errs.Is(err, errs.KindConflict) {
			t.Errorf("changed %s: got %v, want a conflict", name, err)
		}
	}
}

func invalid(t *testing.T, h *Harness) {
	for name, change := range map[string]func(*engine.Workload){
		"no command": func(w *engine.Workload) { w.Command = nil },
		"bad scope":  func(w *engine.Workload) { w.ID.Scope = "../x" },
		"bad name":   func(w *engine.Workload) { w.ID.Name = "A b" },
	} {
		w := Workload("app", "web", ProgramSleep)
		change(&w)
		if err := h.Engine.Apply(t.Context(), w); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	w := Workload("app", "web", ProgramSleep)
	w.Layers = []engine.Layer{{Name: "none", At: "/app"}}
	if err := h.Engine.Apply(t.Context(), w); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("missing layer: got %v, want not found", err)
	}
}

func restarts(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramFail)
	h.apply(t, w)
	var r engine.Replica
	Await(t, "the replica was restarted", func() bool {
		s, _ := h.workload(t, w.ID)
		if len(s.Replicas) == 1 {
			r = s.Replicas[0]
		}
		return r.Restarts >= 1 && r.Phase == engine.PhasePending && r.Exit != nil && !r.NotBefore.IsZero()
	})
	if r.Exit.Code != 3 || r.Exit.OOM || !r.Exit.Failed() {
		t.Errorf("exit is %+v, want code 3", r.Exit)
	}
	if !r.NotBefore.After(r.Exit.At) {
		t.Errorf("not before %v, but it ended at %v", r.NotBefore, r.Exit.At)
	}
	if r.Endpoint != "" {
		if c, err := dial.Dial(t.Context(), r.Endpoint); err == nil {
			_ = c.Close()
			t.Error("a dead replica's endpoint opened")
		}
	}
}

func restart(t *testing.T, h *Harness) {
	e, ok := h.Engine.(engine.Restarter)
	if !ok {
		t.Skip("this engine restarts no single replica")
	}
	w := Workload("app", "web-v1", ProgramServe)
	w.Replicas = 2
	h.apply(t, w)
	other := h.running(t, w.ID, 2)[0]
	id := engine.ReplicaRef{Ref: w.ID, Index: 1}
	if err := e.Restart(t.Context(), id, "it was silent"); err != nil {
		t.Fatal(err)
	}
	var rs []engine.Replica
	Await(t, "it runs again", func() bool {
		s, _ := h.workload(t, w.ID)
		rs = s.Replicas
		return len(rs) == 2 && rs[1].Restarts == 1 && rs[1].Phase == engine.PhaseRunning
	})
	if rs[1].Exit == nil || rs[1].Exit.Message != "it was silent" {
		t.Errorf("its end is told as %+v", rs[1].Exit)
	}
	if rs[0].Restarts != 0 || !rs[0].Since.Equal(other.Since) {
		t.Errorf("the other replica changed from %+v to %+v", other, rs[0])
	}
	h.serves(t, rs[1].Endpoint)
	id.Index = 7
	if err := e.Restart(t.Context(), id, ""); err != nil {
		t.Errorf("a replica that is not there: %v", err)
	}
}

func removes(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	w.Egress = engine.EgressInternet
	w.Replicas = 2
	h.apply(t, w)
	ends := h.running(t, w.ID, 2)
	h.remove(t, w.ID)
	if _, ok := h.workload(t, w.ID); ok {
		t.Error("a removed workload is observed")
	}
	for _, r := range ends {
		if _, err := get(t.Context(), r.Endpoint); err == nil {
			t.Error("a removed replica answers")
		}
	}
	h.remove(t, w.ID)
	h.remove(t, engine.Ref{Kind: engine.KindTask, Scope: "app", Name: "never"})
	h.remove(t, engine.Ref{Kind: engine.KindVolume, Scope: "app", Name: "never"})
}

func removeDuringApply(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	w.Replicas = 2
	err := loop.Run(t.Context(), func(ctx context.Context) error {
		for range 5 {
			if err := h.Engine.Apply(ctx, w); err != nil && !errs.Is(err, errs.KindConflict) {
				return err
			}
		}
		return nil
	}, func(ctx context.Context) error {
		for range 5 {
			if err := h.Engine.Remove(ctx, w.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	h.remove(t, w.ID)
	h.apply(t, w)
	h.running(t, w.ID, 2)
}

func reopen(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	h.apply(t, w)
	r := h.running(t, w.ID, 1)[0]
	h.serves(t, r.Endpoint)
	done := Task("app", "done", ProgramFail)
	h.apply(t, done)
	h.ended(t, done.ID)
	h.apply(t, engine.Volume{ID: engine.Ref{Kind: engine.KindVolume, Scope: "app", Name: "data"}})
	before := h.observe(t)
	h.Engine = h.Reopen()
	diff(t, before, h.observe(t))
	h.serves(t, r.Endpoint)
	h.apply(t, w)
	h.apply(t, done)
	diff(t, before, h.observe(t))
}

// diff compares what must not change.
func diff(t *testing.T, a, b engine.Snapshot) {
	t.Helper()
	if len(a.Workloads) != len(b.Workloads) || len(a.Tasks) != len(b.Tasks) || len(a.Volumes) != len(b.Volumes) {
		t.Fatalf("observed %+v, then %+v", a, b)
	}
	same := func(x, y engine.Replica) bool {
		return x.ID == y.ID && x.Phase == y.Phase && x.Since.Equal(y.Since) && x.Restarts == y.Restarts && x.Endpoint == y.Endpoint &&
			(x.Exit == nil) == (y.Exit == nil) && (x.Exit == nil || x.Exit.Code == y.Exit.Code && x.Exit.At.Equal(y.Exit.At))
	}
	for i, w := range a.Workloads {
		o := b.Workloads[i]
		if w.ID != o.ID || w.Wanted != o.Wanted || len(w.Replicas) != len(o.Replicas) || w.Labels[LabelProgram] != o.Labels[LabelProgram] {
			t.Fatalf("observed %+v, then %+v", w, o)
		}
		for j, r := range w.Replicas {
			if !same(r, o.Replicas[j]) {
				t.Errorf("observed %+v, then %+v", r, o.Replicas[j])
			}
		}
	}
	for i, k := range a.Tasks {
		if o := b.Tasks[i]; k.ID != o.ID || !same(k.Replica, o.Replica) {
			t.Errorf("observed %+v, then %+v", k, o)
		}
	}
}

func removalSurvives(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramForever)
	w.Grace = 2 * time.Second
	h.apply(t, w)
	h.running(t, w.ID, 1)
	Await(t, "the program is ready", func() bool { return h.printed(t, w.ID) != "" })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := h.Engine.Remove(ctx, w.ID); err == nil {
		t.Fatal("a stubborn program was removed within its grace")
	}
	h.Engine = h.Reopen()
	Await(t, "the removal goes on", func() bool {
		_, ok := h.workload(t, w.ID)
		return !ok
	})
}

func usage(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	h.apply(t, w)
	r := h.running(t, w.ID, 1)[0]
	h.serves(t, r.Endpoint)
	us, err := h.Engine.Usage(t.Context())
	if err != nil || len(us) != 1 {
		t.Fatalf("usage: %+v, %v", us, err)
	}
	if u := us[0]; u.ID != r.ID || u.MemoryBytes <= 0 || u.CPU <= 0 || u.PIDs <= 0 || u.At.IsZero() {
		t.Errorf("usage is %+v", u)
	}
}

func watch(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramServe)
	seen := make(chan engine.Ref, 100)
	ctx, cancel := context.WithCancel(t.Context())
	err := loop.Run(ctx, func(ctx context.Context) error {
		_ = h.Engine.Watch(ctx, func(r engine.Ref) {
			select {
			case seen <- r:
			default:
			}
		})
		return nil
	}, func(ctx context.Context) error {
		defer cancel()
		// Again until it is heard: the first change may come before the watch.
		for n := range 50 {
			w.Replicas = 1 + n%2
			if err := h.Engine.Apply(ctx, w); err != nil {
				return err
			}
			select {
			case r := <-seen:
				if r != w.ID {
					t.Errorf("woken for %s", r)
				}
				return nil
			case <-time.After(200 * time.Millisecond):
			}
		}
		t.Error("not woken")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func many(t *testing.T, h *Harness) {
	n := h.Many
	if n == 0 {
		n = 200
	}
	if testing.Short() {
		n = min(n, 40)
	}
	var refs []engine.Ref
	for i := range n {
		w := Workload("app", "sleep-"+string(rune('a'+i/26%26))+string(rune('a'+i%26)), ProgramSleep)
		h.apply(t, w)
		refs = append(refs, w.ID)
	}
	Await(t, "all run", func() bool {
		start, up := time.Now(), 0
		s := h.observe(t)
		if d := time.Since(start); d > time.Second {
			t.Errorf("observing took %v", d)
		}
		for _, w := range s.Workloads {
			if len(w.Replicas) == 1 && w.Replicas[0].Phase == engine.PhaseRunning {
				up++
			}
		}
		return up == n
	})
	err := loop.Run(t.Context(), func(ctx context.Context) error {
		fns := make([]func(context.Context) error, 0, n)
		for _, r := range refs {
			fns = append(fns, func(ctx context.Context) error { return h.Engine.Remove(ctx, r) })
		}
		return loop.Run(ctx, fns...)
	})
	if err != nil {
		t.Error(err)
	}
}
