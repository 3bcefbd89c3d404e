package apps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// ProcessStatus is a process type of the current release, and how it runs.
type ProcessStatus struct {
	slipway.Process
	Instances []Replica
}

// The states of a replica.
const (
	ReplicaStarting = "starting"
	ReplicaRunning  = "running"
	ReplicaCrashed  = "crashed"
	ReplicaStopping = "stopping"
)

// Replica is one running copy of a process, of the current release or of one
// that comes or goes.
type Replica struct {
	Index       int
	Release     int
	State       string
	Since       time.Time
	Restarts    int
	Reason      string // what keeps it from starting, or how it ended last
	MemoryBytes int64
	MilliCPU    int64 // now, in thousandths of a core
	PIDs        int64
}

// Line is a line that an app printed.
type Line struct {
	Time    time.Time
	Process string
	Replica int
	Release int
	Stderr  bool
	Text    string
}

// LogQuery selects lines.
type LogQuery struct {
	Process string // empty = all
	Replica int    // -1 = all
	Since   time.Time
	Tail    int // last lines of each replica; 0 = all there are
	Follow  bool
}

// Scale sets how many replicas of a process are wanted. It holds for later
// releases too.
func (s *Service) Scale(ctx context.Context, name, process string, replicas int) error {
	see, err := s.lookFor(ctx, name)
	if err != nil {
		return err
	}
	actor := slipway.ActorFrom(ctx)
	_, err = s.change(ctx, access.ManageApp, name, "app.scale", fmt.Sprintf("%s=%d", process, replicas), func(tx *store.Tx, app *store.App) error {
		set, err := tx.Limits()
		if err != nil {
			return err
		}
		most := or(set.ProcessReplicas, int64(s.Limits.Replicas))
		switch {
		case replicas < 0:
			return errs.Invalid("a process cannot have %d replicas", replicas)
		case int64(replicas) > most:
			return errs.Exhausted("a process may have at most %d replicas here", most)
		case app.Current == 0:
			return errs.Conflict("the app has no release yet: push one first")
		}
		wants, err := replicasOf(tx, app)
		if err != nil {
			return err
		}
		n, ok := wants[process]
		if !ok {
			return errs.NotFound("the app has no process %q", process)
		}
		if !app.Paused {
			if err := s.makeRoom(tx, actor, see, int64(replicas-n), 0); err != nil {
				return err
			}
		}
		return tx.SetReplicas(app.ID, process, replicas)
	})
	return err
}

// lookFor looks at the engine for one who may manage an app; others learn
// first that they may not.
func (s *Service) lookFor(ctx context.Context, name string) (seen, error) {
	if err := s.view(ctx, access.ManageApp, name, nil); err != nil {
		return seen{}, err
	}
	return s.look(ctx)
}

// replicasOf tells how many replicas each process of an app's current release
// is to have while the app is not paused.
func replicasOf(tx *store.Tx, app *store.App) (map[string]int, error) {
	r, err := tx.Release(app.ID, app.Current)
	if err != nil {
		return nil, err
	}
	set, err := tx.Replicas(app.ID)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(r.Procfile))
	for process := range r.Procfile {
		n, scaled := set[process]
		if !scaled {
			n = 1
		}
		out[process] = n
	}
	return out, nil
}

// Pause stops all processes of an app; its page says so.
func (s *Service) Pause(ctx context.Context, name string) error {
	_, err := s.change(ctx, access.ManageApp, name, "app.pause", "", func(tx *store.Tx, app *store.App) error {
		app.Paused, app.Updated = true, s.now()
		return tx.SaveApp(*app, app.Updated)
	})
	return err
}

// Resume starts a paused app again.
func (s *Service) Resume(ctx context.Context, name string) error {
	see, err := s.lookFor(ctx, name)
	if err != nil {
		return err
	}
	actor := slipway.ActorFrom(ctx)
	_, err = s.change(ctx, access.ManageApp, name, "app.resume", "", func(tx *store.Tx, app *store.App) error {
		if app.Paused && app.Current != 0 {
			wants, err := replicasOf(tx, app)
			if err != nil {
				return err
			}
			more := int64(0)
			for _, n := range wants {
				more += int64(n)
			}
			if err := s.makeRoom(tx, actor, see, more, 0); err != nil {
				return err
			}
		}
		app.Paused, app.Updated = false, s.now()
		return tx.SaveApp(*app, app.Updated)
	})
	return err
}

// Processes lists the processes of an app's current release and how they run.
func (s *Service) Processes(ctx context.Context, name string) ([]ProcessStatus, error) {
	var w wanted
	var id slipway.AppID
	if err := s.view(ctx, access.ReadApp, name, func(_ *store.Tx, app store.App) error {
		id = app.ID
		return nil
	}); err != nil {
		return nil, err
	}
	w, err := s.wanted(ctx, id)
	if err != nil {
		return nil, err
	}
	snap, err := s.observe(ctx)
	if err != nil {
		return nil, err
	}
	usage, err := s.usage(ctx)
	if err != nil {
		return nil, err
	}
	out := []ProcessStatus{}
	if r := w.release(w.current); r != nil {
		for _, p := range r.Processes {
			out = append(out, ProcessStatus{Process: slipway.Process{
				Name: p.Name, Command: w.current.Procfile[p.Name], Replicas: p.Replicas, MemoryMB: s.Limits.MemoryMB,
			}, Instances: []Replica{}})
		}
	}
	current := 0
	if w.current != nil {
		current = w.current.N
	}
	ready := map[engine.ReplicaRef]bool{}
	if a := s.loopOf(id); a != nil {
		ready = a.view().ready
	}
	for _, wl := range snap.Workloads {
		process, n, ok := plan.Parse(wl.ID)
		if wl.ID.Scope != string(id) || !ok {
			continue
		}
		i := slices.IndexFunc(out, func(p ProcessStatus) bool { return p.Name == process })
		if i < 0 {
			out = append(out, ProcessStatus{Process: slipway.Process{Name: process}, Instances: []Replica{}})
			i = len(out) - 1
		}
		stay := wl.Wanted
		if n < current { // it drains, and goes
			stay = 0
		}
		for _, r := range wl.Replicas {
			out[i].Instances = append(out[i].Instances, replicaOf(r, n, stay, process != slipway.WebProcess || ready[r.ID], usage[r.ID]))
		}
	}
	return out, nil
}

func replicaOf(r engine.Replica, release, stay int, ready bool, use taken) Replica {
	out := Replica{
		Index: r.ID.Index, Release: release, Since: r.Since, Restarts: r.Restarts, State: ReplicaStarting,
		MemoryBytes: use.MemoryBytes, MilliCPU: use.milliCPU, PIDs: use.PIDs,
	}
	switch {
	case r.ID.Index >= stay:
		out.State = ReplicaStopping
	case r.Phase == engine.PhasePending && r.Exit != nil:
		out.State = ReplicaCrashed
	case r.Phase == engine.PhaseRunning && ready:
		out.State = ReplicaRunning
	}
	switch {
	case r.Waiting != "":
		out.Reason = r.Waiting
	case r.Exit != nil:
		out.Reason = exitReason(*r.Exit, 0)
	}
	return out
}

// Logs calls fn with the lines that an app printed, oldest first; with Follow
// it goes on until ctx ends, over new replicas and releases.
func (s *Service) Logs(ctx context.Context, name string, q LogQuery, fn func(Line) error) error {
	var id slipway.AppID
	if err := s.view(ctx, access.ReadApp, name, func(_ *store.Tx, app store.App) error {
		id = app.ID
		return nil
	}); err != nil {
		return err
	}
	if q.Follow {
		return s.followLogs(ctx, id, q, fn)
	}
	refs, err := s.logRefs(ctx, id, q)
	if err != nil {
		return err
	}
	var lines []Line
	for _, ref := range refs {
		if err := s.readLog(ctx, ref, q, func(l Line) error {
			lines = append(lines, l)
			return nil
		}); err != nil {
			return err
		}
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
	for _, l := range lines {
		if err := fn(l); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) logRefs(ctx context.Context, id slipway.AppID, q LogQuery) ([]engine.Ref, error) {
	snap, err := s.observe(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Ref
	for _, w := range snap.Workloads {
		if process, _, ok := plan.Parse(w.ID); ok && w.ID.Scope == string(id) && (q.Process == "" || q.Process == process) {
			out = append(out, w.ID)
		}
	}
	slices.SortFunc(out, func(a, b engine.Ref) int {
		_, m, _ := plan.Parse(a)
		_, n, _ := plan.Parse(b)
		return cmp.Or(m-n, strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// readLog reads one workload's lines; one that has just gone has none.
func (s *Service) readLog(ctx context.Context, ref engine.Ref, q LogQuery, fn func(Line) error) error {
	r, err := s.Engine.Logs(ctx, engine.LogQuery{Ref: ref, Index: q.Replica, Since: q.Since, Tail: q.Tail, Follow: q.Follow})
	if errs.Is(err, errs.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	process, release, _ := plan.Parse(ref)
	for {
		l, err := r.Next(ctx)
		if errors.Is(err, io.EOF) || errs.Is(err, errs.KindNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(Line{Time: l.Time, Process: process, Replica: l.Replica, Release: release, Stderr: l.Stderr, Text: l.Text}); err != nil {
			return err
		}
	}
}

// followLogs reads every workload of the app at once, those that come later too.
func (s *Service) followLogs(ctx context.Context, id slipway.AppID, q LogQuery, fn func(Line) error) error {
	g := loop.New(ctx, s.Log)
	lines := make(chan Line)
	followed := map[engine.Ref]bool{}
	err := func() error {
		for first := true; ; first = false {
			rung := s.bell.listen()
			refs, err := s.logRefs(ctx, id, q)
			if err != nil {
				return err
			}
			for _, ref := range refs {
				if followed[ref] {
					continue
				}
				followed[ref] = true
				q := q
				if !first {
					q.Tail = 0
				}
				g.Go(ref.String(), func(ctx context.Context) error {
					return s.readLog(ctx, ref, q, func(l Line) error {
						select {
						case lines <- l:
							return nil
						case <-ctx.Done():
							return ctx.Err()
						}
					})
				})
			}
			for waiting := true; waiting; {
				select {
				case l := <-lines:
					if err := fn(l); err != nil {
						return err
					}
				case <-rung:
					waiting = false
				case <-g.Context().Done():
					return ctx.Err()
				}
			}
		}
	}()
	return errors.Join(err, g.Stop())
}

// tail returns the last lines of a workload or task.
func (s *Service) tail(ctx context.Context, ref engine.Ref, n int) []string {
	r, err := s.Engine.Logs(ctx, engine.LogQuery{Ref: ref, Index: -1, Tail: n})
	if err != nil {
		return nil
	}
	defer r.Close()
	var out []string
	for {
		l, err := r.Next(ctx)
		if err != nil {
			return out[max(0, len(out)-n):]
		}
		out = append(out, l.Text)
	}
}
