package apps

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// WarnAt is how full a limit is, in percent, when people are warned.
const WarnAt = 80

// Limit is one of the platform's limits and what is used of it.
type Limit struct {
	Used    int64
	Max     int64 // in force; 0 = no limit
	Default int64 // computed; 0 = no limit
	Set     int64 // by an administrator; 0 = the default is in force
}

// State is ok, near or reached.
func (l Limit) State() string {
	switch {
	case l.Max == 0:
	case l.Used >= l.Max:
		return "reached"
	case l.Used*100 >= l.Max*WarnAt:
		return "near"
	}
	return "ok"
}

// Use is what one app takes.
type Use struct {
	App      store.App
	Replicas int64
	Volumes  int64
	MemoryMB int64
	Opened   time.Time
}

// LimitReport is all limits, and what takes the most.
type LimitReport struct {
	Replicas, Volumes, MemoryMB, Seats, ProcessReplicas, ReplicaMemoryMB Limit
	Uses                                                                 []Use // the largest first
}

func limit(used, standard, set int64) Limit {
	return Limit{Used: used, Default: standard, Set: set, Max: or(set, standard)}
}

// defaultReplicas is how many replicas the machine or the cluster is good for:
// a fifth of its memory is the platform's, and most replicas use much less than
// they may.
func (s *Service) defaultReplicas(ctx context.Context) (int64, error) {
	info, err := s.Engine.Info(ctx)
	if err != nil || info.Memory.Limit == 0 {
		return 0, err
	}
	return max(50, info.Memory.Limit/5*4/(128<<20)), nil
}

// Room tells the limits and what is used of them.
func (s *Service) Room(ctx context.Context) (LimitReport, error) {
	if err := access.Check(slipway.ActorFrom(ctx), access.ReadSettings, access.Platform()); err != nil {
		return LimitReport{}, err
	}
	return s.room(ctx)
}

// roomLife is how old the report may be by which people are warned.
const roomLife = 10 * time.Second

// lastRoom is a report for warnings, which every page asks for.
type lastRoom struct {
	mu     sync.Mutex
	at     time.Time
	report LimitReport
}

func (s *Service) recentRoom(ctx context.Context) (LimitReport, error) {
	s.last.mu.Lock()
	defer s.last.mu.Unlock()
	if s.now().Sub(s.last.at) < roomLife {
		return s.last.report, nil
	}
	r, err := s.room(ctx)
	if err == nil {
		s.last.at, s.last.report = s.now(), r
	}
	return r, err
}

// seen is what limits need to know of the engine, which no transaction covers.
type seen struct {
	replicas int64                  // that the machine or the cluster is good for
	volumes  map[slipway.AppID]bool // apps that have theirs
}

func (s *Service) look(ctx context.Context) (seen, error) {
	replicas, err := s.defaultReplicas(ctx)
	if err != nil {
		return seen{}, err
	}
	snap, err := s.observe(ctx)
	if err != nil {
		return seen{}, err
	}
	out := seen{replicas: replicas, volumes: map[slipway.AppID]bool{}}
	for _, v := range snap.Volumes {
		if app := slipway.AppID(v.ID.Scope); v.ID == volume(app) {
			out.volumes[app] = true
		}
	}
	return out, nil
}

func (s *Service) room(ctx context.Context) (LimitReport, error) {
	see, err := s.look(ctx)
	if err != nil {
		return LimitReport{}, err
	}
	var out LimitReport
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		out, err = s.roomIn(tx, see)
		return err
	})
	return out, err
}

// roomIn counts what apps take in this transaction. A first deploy takes its
// place from the moment when it is asked for, so that two of them cannot take
// the last one; so does the volume of a release, made or not.
func (s *Service) roomIn(tx *store.Tx, see seen) (LimitReport, error) {
	var out LimitReport
	set, err := tx.Limits()
	if err != nil {
		return out, err
	}
	all, err := tx.Apps("")
	if err != nil {
		return out, err
	}
	opens, err := tx.OpensByApp()
	if err != nil {
		return out, err
	}
	uses := make(map[slipway.AppID]*Use, len(all))
	for _, a := range all {
		uses[a.ID] = &Use{App: a, Opened: opens[a.ID].Last}
		if see.volumes[a.ID] || a.Current != 0 && !a.Deleting {
			uses[a.ID].Volumes = 1
		}
	}
	running, err := tx.RunningProcesses()
	if err != nil {
		return out, err
	}
	most := int64(0)
	for _, a := range running {
		for name := range a.Procfile {
			n, scaled := a.Replicas[name]
			if !scaled {
				n = 1
			}
			if u := uses[a.App]; u != nil {
				u.Replicas += int64(n)
			}
			most = max(most, int64(n))
		}
	}
	open, err := tx.OpenDeploys()
	if err != nil {
		return out, err
	}
	for _, d := range open {
		if u := uses[d.App]; u != nil && u.App.Current == 0 {
			u.Replicas, u.Volumes = 1, 1
		}
	}
	seats, err := tx.Seats(slipway.RoleLicensed)
	if err != nil {
		return out, err
	}
	memory := or(set.ReplicaMemoryMB, s.Limits.MemoryMB)
	var used Use
	for _, u := range uses {
		if u.Replicas == 0 && u.Volumes == 0 {
			continue
		}
		u.MemoryMB = u.Replicas * memory
		used.Replicas += u.Replicas
		used.Volumes += u.Volumes
		out.Uses = append(out.Uses, *u)
	}
	slices.SortFunc(out.Uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(b.Replicas, a.Replicas), cmp.Compare(b.Volumes, a.Volumes), strings.Compare(a.App.Name, b.App.Name))
	})
	out.Replicas = limit(used.Replicas, see.replicas, set.Replicas)
	out.Volumes = limit(used.Volumes, 0, set.Volumes)
	out.MemoryMB = limit(used.Replicas*memory, 0, set.MemoryMB)
	out.Seats = limit(int64(seats), 0, set.Seats)
	out.ProcessReplicas = limit(most, int64(s.Limits.Replicas), set.ProcessReplicas)
	out.ReplicaMemoryMB = limit(memory, s.Limits.MemoryMB, set.ReplicaMemoryMB)
	return out, nil
}

// SetRoom changes the limits that administrators may set.
func (s *Service) SetRoom(ctx context.Context, change func(l *store.Limits)) (LimitReport, error) {
	actor := slipway.ActorFrom(ctx)
	if err := access.Check(actor, access.WriteSettings, access.Platform()); err != nil {
		return LimitReport{}, err
	}
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		l, err := tx.Limits()
		if err != nil {
			return err
		}
		change(&l)
		if l.ReplicaMemoryMB != 0 && l.ReplicaMemoryMB < 64 {
			return errs.Fields("these cannot be the limits", errs.Field{Name: "replica_memory_mb", Message: "is at least 64"})
		}
		if err := tx.SetLimits(l); err != nil {
			return err
		}
		return s.audit(tx, actor, "settings.limits", "", fmt.Sprintf("%+v", l))
	})
	if err != nil {
		return LimitReport{}, err
	}
	s.last.mu.Lock()
	s.last.at = time.Time{}
	s.last.mu.Unlock()
	s.PlatformChanged()
	return s.room(ctx)
}

// Warning is a limit that is near or reached.
type Warning struct {
	Limit     string // replicas, volumes, memory, seats
	Used, Max int64
	Text      string
	State     string // near, reached
}

// Warnings tells those who create things which limits are near or reached.
func (s *Service) Warnings(ctx context.Context) ([]Warning, error) {
	out := []Warning{}
	a := slipway.ActorFrom(ctx)
	admin := access.Check(a, access.ReadSettings, access.Platform()) == nil
	if !admin && access.Check(a, access.CreateApp, access.Platform()) != nil {
		return out, nil
	}
	r, err := s.recentRoom(ctx)
	if err != nil {
		return out, err
	}
	for _, l := range []struct {
		name, what string
		Limit
	}{{"replicas", "replicas", r.Replicas}, {"volumes", "volumes", r.Volumes}, {"memory", "MiB of memory", r.MemoryMB}, {"seats", "seats", r.Seats}} {
		if l.State() == "ok" || l.name == "seats" && !admin {
			continue
		}
		text := fmt.Sprintf("Nearing system limits: %d of %d %s are used.", l.Used, l.Max, l.what)
		if l.State() == "reached" {
			text = fmt.Sprintf("A system limit is reached: %d of %d %s are used.", l.Used, l.Max, l.what)
		}
		if admin {
			text += " Free some, or raise the limit under System Limits."
		} else {
			text += " Pause or delete what is not needed, or ask an administrator."
		}
		out = append(out, Warning{l.name, l.Used, l.Max, text, l.State()})
	}
	return out, nil
}

// makeRoom returns Exhausted when so many more replicas or volumes would be
// too many. It is asked in the transaction that takes them, so that requests at
// once do not pass a limit together. It says what the actor could free; apps
// that the actor may not manage are not named.
func (s *Service) makeRoom(tx *store.Tx, actor slipway.Actor, see seen, replicas, volumes int64) error {
	if replicas <= 0 && volumes <= 0 {
		return nil
	}
	r, err := s.roomIn(tx, see)
	if err != nil {
		return err
	}
	for _, l := range []struct {
		what string
		add  int64
		Limit
		of func(Use) int64
		do string
	}{
		{"replicas", replicas, r.Replicas, func(u Use) int64 { return u.Replicas }, "pausing"},
		{"MiB of memory", replicas * r.ReplicaMemoryMB.Max, r.MemoryMB, func(u Use) int64 { return u.MemoryMB }, "pausing"},
		{"volumes", volumes, r.Volumes, func(u Use) int64 { return u.Volumes }, "deleting"},
	} {
		if l.Max == 0 || l.add <= 0 || l.Used+l.add <= l.Max {
			continue
		}
		var frees []string
		for _, u := range r.Uses {
			if len(frees) < 3 && l.of(u) > 0 && s.check(tx, actor, access.ManageApp, u.App) == nil {
				frees = append(frees, fmt.Sprintf("%s %s frees %d", l.do, u.App.Name, l.of(u)))
			}
		}
		frees = append(frees, "an administrator can raise the limit")
		return errs.Exhausted("there is no room for %d more %s: %d of %d are used; %s", l.add, l.what, l.Used, l.Max, strings.Join(frees, ", "))
	}
	return nil
}
