// Package plan turns the difference between what is wanted of an app and what
// is observed into one step. It is pure: the caller does the step, observes
// again and asks for the next, until there is none. Wherever it is stopped,
// it goes on from what is there.
package plan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/engine"
)

// Process is a process type and how many replicas are wanted of it.
type Process struct {
	Name     string
	Replicas int
}

// Release is a release and its processes.
type Release struct {
	N         int
	Processes []Process
}

// Desired is what is wanted of an app.
type Desired struct {
	Scope   string // of its objects in the engine
	Deleted bool
	Paused  bool
	Current *Release          // has the traffic; nil = none yet
	Next    *Release          // is being started beside it; nil = none
	Drain   map[int]time.Time // releases that lost the traffic run until then
}

// Target is a replica that takes requests.
type Target struct {
	Replica  engine.ReplicaRef
	Endpoint string
}

// Table is what the reconciler knows beside the snapshot.
type Table struct {
	Targets []Target                   // published and acknowledged
	Ready   map[engine.ReplicaRef]bool // replicas that passed their check in their present life
}

// Action is what a step does.
type Action string

// The actions.
const (
	Nothing Action = "nothing" // all is as wanted, or something must happen by itself first
	Wait    Action = "wait"    // nothing to do before At
	Publish Action = "publish" // hand out Targets, and wait until they are acknowledged
	Apply   Action = "apply"   // Process of Release with Replicas
	Remove  Action = "remove"  // Ref
)

// Step is one step.
type Step struct {
	Do       Action
	Targets  []Target
	Release  int
	Process  string
	Replicas int
	Ref      engine.Ref
	At       time.Time
}

// Workload names a process of a release in the engine.
func Workload(scope, process string, release int) engine.Ref {
	return engine.Ref{Kind: engine.KindWorkload, Scope: scope, Name: process + "-v" + strconv.Itoa(release)}
}

// Parse is the inverse of Workload.
func Parse(r engine.Ref) (process string, release int, ok bool) {
	i := strings.LastIndex(r.Name, "-v")
	if i <= 0 || r.Kind != engine.KindWorkload {
		return "", 0, false
	}
	n, err := strconv.Atoi(r.Name[i+2:])
	return r.Name[:i], n, err == nil && n > 0
}

// Surge is how many replicas that are not ready yet a release may have at a
// time while it starts.
func Surge(replicas int) int { return max(1, (replicas+3)/4) }

// App returns the one step that comes next. The snapshot may hold more than
// this app. The order in which it looks is what keeps an app served: targets
// are taken out before their replicas go, replicas come before their targets,
// and as long as the current release has no ready replica those that have the
// traffic keep it.
func App(d Desired, s engine.Snapshot, t Table, now time.Time) Step {
	p := planner{d: d, table: t, now: now}
	for _, w := range s.Workloads {
		if w.ID.Scope == d.Scope {
			p.workloads = append(p.workloads, w)
		}
	}
	if d.Deleted {
		return p.deleted()
	}
	if targets := p.targets(); !slices.Equal(targets, t.Targets) {
		return Step{Do: Publish, Targets: targets}
	}
	if step := p.current(); step.Do != Nothing {
		return step
	}
	if step := p.next(); step.Do != Nothing {
		return step
	}
	return p.old()
}

type planner struct {
	d         Desired
	workloads []engine.WorkloadStatus
	table     Table
	now       time.Time
}

func (p *planner) deleted() Step {
	if len(p.table.Targets) > 0 {
		return Step{Do: Publish}
	}
	for _, w := range p.workloads {
		return Step{Do: Remove, Ref: w.ID}
	}
	return Step{Do: Nothing}
}

func (p *planner) find(ref engine.Ref) *engine.WorkloadStatus {
	for i := range p.workloads {
		if p.workloads[i].ID == ref {
			return &p.workloads[i]
		}
	}
	return nil
}

// wanted is how many web replicas of the current release should run.
func (p *planner) wanted() int {
	if p.d.Current == nil || p.d.Paused {
		return 0
	}
	for _, proc := range p.d.Current.Processes {
		if proc.Name == slipway.WebProcess {
			return proc.Replicas
		}
	}
	return 0
}

func (p *planner) serves(r engine.Replica) bool {
	return r.Phase == engine.PhaseRunning && r.Endpoint != "" && p.table.Ready[r.ID]
}

// targets are the replicas that should take requests now.
func (p *planner) targets() []Target {
	n := p.wanted()
	if n == 0 {
		return nil
	}
	var out []Target
	if w := p.find(Workload(p.d.Scope, slipway.WebProcess, p.d.Current.N)); w != nil {
		for _, r := range w.Replicas {
			if r.ID.Index < n && p.serves(r) {
				out = append(out, Target{r.ID, r.Endpoint})
			}
		}
	}
	if len(out) == 0 { // those that serve go on serving
		for _, w := range p.workloads {
			for _, r := range w.Replicas {
				if t := (Target{r.ID, r.Endpoint}); p.serves(r) && slices.Contains(p.table.Targets, t) {
					out = append(out, t)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Target) int {
		return cmp.Or(strings.Compare(a.Replica.Ref.Name, b.Replica.Ref.Name), a.Replica.Index-b.Replica.Index)
	})
	return out
}

// busy reports whether a replica with at least this index has traffic.
func (p *planner) busy(ref engine.Ref, from int) bool {
	return slices.ContainsFunc(p.table.Targets, func(t Target) bool { return t.Replica.Ref == ref && t.Replica.Index >= from })
}

// current brings the processes of the current release to their numbers.
func (p *planner) current() Step {
	if p.d.Current == nil {
		return Step{Do: Nothing}
	}
	for _, proc := range p.d.Current.Processes {
		n := proc.Replicas
		if p.d.Paused {
			n = 0
		}
		ref := Workload(p.d.Scope, proc.Name, p.d.Current.N)
		w := p.find(ref)
		switch {
		case w == nil && n == 0, w != nil && w.Wanted == n:
		case w != nil && n < w.Wanted && p.busy(ref, n):
			// The replicas that stay are not ready yet.
		default:
			return Step{Do: Apply, Release: p.d.Current.N, Process: proc.Name, Replicas: n}
		}
	}
	return Step{Do: Nothing}
}

// next starts the coming release, web in steps of the surge.
func (p *planner) next() Step {
	if p.d.Next == nil {
		return Step{Do: Nothing}
	}
	for _, proc := range p.d.Next.Processes {
		n := proc.Replicas
		w := p.find(Workload(p.d.Scope, proc.Name, p.d.Next.N))
		if proc.Name == slipway.WebProcess {
			ready, wanted := 0, 0
			if w != nil {
				wanted = w.Wanted
				for _, r := range w.Replicas {
					if p.serves(r) {
						ready++
					}
				}
			}
			n = min(n, max(wanted, ready+Surge(n)))
		}
		if w == nil && n > 0 || w != nil && w.Wanted != n {
			return Step{Do: Apply, Release: p.d.Next.N, Process: proc.Name, Replicas: n}
		}
	}
	return Step{Do: Nothing}
}

// old removes what belongs to neither, once it has no traffic and had its time.
func (p *planner) old() Step {
	var at time.Time
	for _, w := range p.workloads {
		_, release, ok := Parse(w.ID)
		if ok && (p.d.Current != nil && release == p.d.Current.N || p.d.Next != nil && release == p.d.Next.N) {
			continue
		}
		until := p.d.Drain[release]
		switch {
		case p.busy(w.ID, 0):
		case until.After(p.now):
			if at.IsZero() || until.Before(at) {
				at = until
			}
		default:
			return Step{Do: Remove, Ref: w.ID}
		}
	}
	if !at.IsZero() {
		return Step{Do: Wait, At: at}
	}
	return Step{Do: Nothing}
}
