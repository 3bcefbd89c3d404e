package plan_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
)

const scope = "app_1"

var epoch = time.Unix(1_800_000_000, 0)

// world is a small engine, a gateway that acknowledges at once, and the
// reconciler's memory. Replicas become running and ready by themselves.
type world struct {
	desired   plan.Desired
	workloads map[engine.Ref]*engine.WorkloadStatus
	table     plan.Table
	now       time.Time
	port      int
}

func (w *world) snapshot() engine.Snapshot {
	s := engine.Snapshot{Workloads: []engine.WorkloadStatus{{ID: plan.Workload("app_other", "web", 1), Wanted: 1}}}
	for _, ref := range slices.SortedFunc(maps.Keys(w.workloads), func(a, b engine.Ref) int { return compare(a.Name, b.Name) }) {
		st := *w.workloads[ref]
		st.Replicas = slices.Clone(st.Replicas)
		s.Workloads = append(s.Workloads, st)
	}
	return s
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (w *world) apply(release int, process string, n int) {
	ref := plan.Workload(scope, process, release)
	st := w.workloads[ref]
	if st == nil {
		st = &engine.WorkloadStatus{ID: ref}
		w.workloads[ref] = st
	}
	st.Wanted = n
	for i := len(st.Replicas); i < n; i++ {
		w.port++
		st.Replicas = append(st.Replicas, engine.Replica{ID: engine.ReplicaRef{Ref: ref, Index: i}, Phase: engine.PhasePending})
	}
	for _, r := range st.Replicas[n:] {
		delete(w.table.Ready, r.ID)
	}
	st.Replicas = st.Replicas[:n]
}

func (w *world) replicas(fn func(r *engine.Replica)) {
	for _, st := range w.workloads {
		for i := range st.Replicas {
			fn(&st.Replicas[i])
		}
	}
}

// serving counts replicas that have traffic and can answer.
func (w *world) serving() int {
	n := 0
	w.replicas(func(r *engine.Replica) {
		t := plan.Target{Replica: r.ID, Endpoint: r.Endpoint}
		if r.Phase == engine.PhaseRunning && w.table.Ready[r.ID] && slices.Contains(w.table.Targets, t) {
			n++
		}
	})
	return n
}

func (w *world) do(s plan.Step) {
	switch s.Do {
	case plan.Publish:
		w.table.Targets = s.Targets
	case plan.Apply:
		w.apply(s.Release, s.Process, s.Replicas)
	case plan.Remove:
		w.apply(mustRelease(s.Ref), mustProcess(s.Ref), 0)
		delete(w.workloads, s.Ref)
	case plan.Wait:
		w.now = s.At
	case plan.Nothing:
	}
}

func mustRelease(r engine.Ref) int    { _, n, _ := plan.Parse(r); return n }
func mustProcess(r engine.Ref) string { p, _, _ := plan.Parse(r); return p }

// wantsService is false while nobody expects an answer.
func (w *world) wantsService() bool {
	return !w.desired.Deleted && !w.desired.Paused && w.desired.Current != nil && w.desired.Current.Processes[0].Replicas > 0
}

// step asks for one step and does it; it fails when that step takes the last
// serving replica away.
func (w *world) step(t *rapid.T) plan.Step {
	before := w.serving()
	s := plan.App(w.desired, w.snapshot(), w.table, w.now)
	w.do(s)
	if before > 0 && w.serving() == 0 && w.wantsService() {
		t.Fatalf("step %+v leaves nobody serving; desired %+v, table %+v", s, w.desired, w.table)
	}
	return s
}

// start lets every pending replica run and pass its check.
func (w *world) start() (changed bool) {
	w.replicas(func(r *engine.Replica) {
		if r.Phase == engine.PhasePending || !w.table.Ready[r.ID] {
			w.run(r)
			changed = true
		}
	})
	return changed
}

func (w *world) run(r *engine.Replica) {
	w.port++
	r.Phase, r.Endpoint = engine.PhaseRunning, "tcp://127.0.0.1:"+string(rune('a'+w.port%26))
	w.table.Ready[r.ID] = true
}

func release(t *rapid.T, n int) *plan.Release {
	r := &plan.Release{N: n, Processes: []plan.Process{{Name: "web", Replicas: rapid.IntRange(0, 5).Draw(t, "web")}}}
	if rapid.Bool().Draw(t, "has a worker") {
		r.Processes = append(r.Processes, plan.Process{Name: "worker", Replicas: rapid.IntRange(0, 2).Draw(t, "worker")})
	}
	return r
}

// TestAnyReachableStateSettles drives an app through anything that may happen
// to it, in any order and at any moment, with the planner's steps between.
func TestAnyReachableStateSettles(t *testing.T) {
	t.Parallel()
	for range 20 { // a run of rapid is short
		rapid.Check(t, anyLife)
	}
}

func anyLife(t *rapid.T) {
	w := &world{
		desired: plan.Desired{Scope: scope, Drain: map[int]time.Time{}}, workloads: map[engine.Ref]*engine.WorkloadStatus{},
		table: plan.Table{Ready: map[engine.ReplicaRef]bool{}}, now: epoch,
	}
	last := 0
	t.Repeat(map[string]func(*rapid.T){
		"step": func(t *rapid.T) { w.step(t) },
		"some steps": func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "steps") {
				if w.step(t).Do == plan.Nothing && !w.start() {
					return
				}
			}
		},
		"release": func(t *rapid.T) { // from the push to the switch
			last++
			w.desired.Next = release(t, last)
			for range 60 {
				if w.step(t).Do == plan.Nothing {
					w.start()
				}
			}
		},
		"deploy": func(t *rapid.T) {
			last++
			w.desired.Next = release(t, last)
		},
		"switch": func(*rapid.T) {
			if n := w.desired.Next; n != nil && w.nextReady() {
				if c := w.desired.Current; c != nil {
					w.desired.Drain[c.N] = w.now.Add(5 * time.Second)
				}
				w.desired.Current, w.desired.Next = n, nil
			}
		},
		"the current release dies": func(*rapid.T) {
			w.replicas(func(r *engine.Replica) {
				if c := w.desired.Current; c != nil && mustRelease(r.ID.Ref) == c.N {
					r.Phase = engine.PhasePending
					delete(w.table.Ready, r.ID)
				}
			})
		},
		"give up": func(*rapid.T) { w.desired.Next = nil },
		"scale": func(t *rapid.T) {
			if w.desired.Current != nil {
				w.desired.Current.Processes[0].Replicas = rapid.IntRange(0, 5).Draw(t, "replicas")
			}
		},
		"pause": func(t *rapid.T) { w.desired.Paused = rapid.Bool().Draw(t, "paused") },
		"time":  func(t *rapid.T) { w.now = w.now.Add(time.Duration(rapid.IntRange(0, 6).Draw(t, "s")) * time.Second) },
		"start": func(*rapid.T) { w.start() },
		"restart of the core": func(t *rapid.T) { // readiness is found out anew; gateways keep their table
			if rapid.Bool().Draw(t, "forget") {
				clear(w.table.Ready)
			}
		},
		"one dies": func(t *rapid.T) {
			var all []*engine.Replica
			w.replicas(func(r *engine.Replica) { all = append(all, r) })
			if len(all) > 0 {
				slices.SortFunc(all, func(a, b *engine.Replica) int {
					if c := compare(a.ID.Ref.Name, b.ID.Ref.Name); c != 0 {
						return c
					}
					return a.ID.Index - b.ID.Index
				})
				r := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				r.Phase = engine.PhasePending
				delete(w.table.Ready, r.ID)
			}
		},
		"delete": func(t *rapid.T) {
			if rapid.IntRange(0, 20).Draw(t, "luck") == 0 {
				w.desired.Deleted = true
			}
		},
		"": func(t *rapid.T) {
			c := *w
			c.workloads = map[engine.Ref]*engine.WorkloadStatus{}
			for k, v := range w.workloads {
				st := *v
				st.Replicas = slices.Clone(v.Replicas)
				c.workloads[k] = &st
			}
			c.table.Ready = maps.Clone(w.table.Ready)
			c.settle(t)
		},
	})
}

func (w *world) nextReady() bool {
	for _, p := range w.desired.Next.Processes {
		if p.Name == "web" && p.Replicas > 0 {
			st := w.workloads[plan.Workload(scope, "web", w.desired.Next.N)]
			if st == nil || len(st.Replicas) < p.Replicas {
				return false
			}
			for _, r := range st.Replicas {
				if !w.table.Ready[r.ID] {
					return false
				}
			}
		}
	}
	return true
}

// settle leaves the app alone: it must come to rest, and rest as wanted.
func (w *world) settle(t *rapid.T) {
	for range 200 {
		if s := w.step(t); s.Do != plan.Nothing {
			continue
		}
		if w.start() {
			continue
		}
		w.rests(t)
		return
	}
	t.Fatalf("no fixed point: desired %+v, table %+v", w.desired, w.table)
}

func (w *world) rests(t *rapid.T) {
	want := map[engine.Ref]int{}
	for _, r := range []*plan.Release{w.desired.Current, w.desired.Next} {
		if r == nil || w.desired.Deleted {
			continue
		}
		for _, p := range r.Processes {
			n := p.Replicas
			if w.desired.Paused && r == w.desired.Current {
				n = 0
			}
			want[plan.Workload(scope, p.Name, r.N)] = n
		}
	}
	for ref, st := range w.workloads {
		if n, ok := want[ref]; !ok || st.Wanted != n {
			t.Fatalf("%s rests with %d, wanted %d (%v)", ref, st.Wanted, n, ok)
		}
		delete(want, ref)
	}
	for ref, n := range want {
		if n > 0 {
			t.Fatalf("%s is missing", ref)
		}
	}
	n := 0
	if w.wantsService() {
		n = w.desired.Current.Processes[0].Replicas
	}
	if len(w.table.Targets) != n || w.serving() != n {
		t.Fatalf("%d targets, %d of them serving, wanted %d", len(w.table.Targets), w.serving(), n)
	}
	for _, target := range w.table.Targets {
		if _, r, _ := plan.Parse(target.Replica.Ref); r != w.desired.Current.N {
			t.Fatalf("release %d has traffic, not %d", r, w.desired.Current.N)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	ref := plan.Workload(scope, "my-v2-worker", 12)
	if p, n, ok := plan.Parse(ref); p != "my-v2-worker" || n != 12 || !ok {
		t.Error(p, n, ok)
	}
	for _, name := range []string{"web", "web-v", "web-vx", "-v1", "web-v0"} {
		if _, _, ok := plan.Parse(engine.Ref{Kind: engine.KindWorkload, Scope: scope, Name: name}); ok {
			t.Errorf("%q is the name of a workload", name)
		}
	}
}
