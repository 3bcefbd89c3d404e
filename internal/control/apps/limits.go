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

func (s *Service) room(ctx context.Context) (LimitReport, error) {
	var out LimitReport
	replicas, err := s.defaultReplicas(ctx)
	if err != nil {
		return out, err
	}
	all, byID, err := s.all(ctx)
	if err != nil {
		return out, err
	}
	snap, err := s.observe(ctx)
	if err != nil {
		return out, err
	}
	var set store.Limits
	var running []store.AppProcesses
	var opens map[slipway.AppID]store.Opens
	seats := 0
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if set, err = tx.Limits(); err != nil {
			return err
		}
		if running, err = tx.RunningProcesses(); err != nil {
			return err
		}
		if seats, err = tx.Seats(slipway.RoleLicensed); err != nil {
			return err
		}
		opens, err = tx.OpensByApp()
		return err
	}); err != nil {
		return out, err
	}
	memory := or(set.ReplicaMemoryMB, s.Limits.MemoryMB)
	uses := map[slipway.AppID]*Use{}
	use := func(id slipway.AppID) *Use {
		i, ok := byID[id]
		if !ok {
			return &Use{}
		}
		if uses[id] == nil {
			uses[id] = &Use{App: all[i], Opened: opens[id].Last}
		}
		return uses[id]
	}
	most := int64(0)
	for _, a := range running {
		for name := range a.Procfile {
			n, scaled := a.Replicas[name]
			if !scaled {
				n = 1
			}
			use(a.App).Replicas += int64(n)
			most = max(most, int64(n))
		}
	}
	for _, v := range snap.Volumes {
		if v.ID == volume(slipway.AppID(v.ID.Scope)) {
			use(slipway.AppID(v.ID.Scope)).Volumes++
		}
	}
	var used Use
	for _, u := range uses {
		u.MemoryMB = u.Replicas * memory
		used.Replicas += u.Replicas
		used.Volumes += u.Volumes
		out.Uses = append(out.Uses, *u)
	}
	slices.SortFunc(out.Uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(b.Replicas, a.Replicas), cmp.Compare(b.Volumes, a.Volumes), strings.Compare(a.App.Name, b.App.Name))
	})
	out.Replicas = limit(used.Replicas, replicas, set.Replicas)
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
// too many. It says what the actor could free; apps that the actor may not
// manage are not named.
func (s *Service) makeRoom(ctx context.Context, replicas, volumes int64) error {
	if replicas <= 0 && volumes <= 0 {
		return nil
	}
	r, err := s.room(ctx)
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
		err := s.DB.View(ctx, func(tx *store.Tx) error {
			frees = nil
			for _, u := range r.Uses {
				if len(frees) < 3 && l.of(u) > 0 && s.check(tx, slipway.ActorFrom(ctx), access.ManageApp, u.App) == nil {
					frees = append(frees, fmt.Sprintf("%s %s frees %d", l.do, u.App.Name, l.of(u)))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		frees = append(frees, "an administrator can raise the limit")
		return errs.Exhausted("there is no room for %d more %s: %d of %d are used; %s", l.add, l.what, l.Used, l.Max, strings.Join(frees, ", "))
	}
	return nil
}
