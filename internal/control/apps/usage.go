package apps

import (
	"context"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// UsageNow is what an app takes of the machine now, of all its releases.
type UsageNow struct {
	App         string
	At          time.Time
	MilliCPU    int64 // thousandths of a core
	MemoryBytes int64
	Replicas    []ReplicaUsage
}

// ReplicaUsage is what one replica takes.
type ReplicaUsage struct {
	Process     string
	Index       int
	Release     int
	State       string
	MilliCPU    int64
	MemoryBytes int64
	MemoryLimit int64
	PIDs        int64
}

// taken is what one replica takes at a moment.
type taken struct {
	engine.Usage
	milliCPU int64
}

const (
	meterMin = 300 * time.Millisecond // a rate over less says little
	meterMax = time.Minute            // over more it is not now
)

// meter makes rates of the engine's counters.
type meter struct {
	mu   sync.Mutex // one reading at a time
	last map[engine.ReplicaRef]engine.Usage
	rate map[engine.ReplicaRef]int64
}

// usage returns what every replica takes now. When it was not asked lately it
// looks twice.
func (s *Service) usage(ctx context.Context) (map[engine.ReplicaRef]taken, error) {
	m := &s.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		all, err := s.Engine.Usage(ctx)
		if err != nil {
			return nil, err
		}
		if !m.read(all) {
			if err := loop.Sleep(ctx, meterMin); err != nil {
				return nil, err
			}
			continue
		}
		out := make(map[engine.ReplicaRef]taken, len(all))
		for _, u := range all {
			out[u.ID] = taken{u, m.rate[u.ID]}
		}
		return out, nil
	}
}

// read takes counters in; ok is false while a rate is missing.
func (m *meter) read(all []engine.Usage) (ok bool) {
	last, rate := map[engine.ReplicaRef]engine.Usage{}, map[engine.ReplicaRef]int64{}
	ok = true
	for _, u := range all {
		old, had := m.last[u.ID]
		d := u.At.Sub(old.At)
		switch {
		case !had || d > meterMax || u.CPU < old.CPU: // another life counts anew
			last[u.ID], ok = u, false
		case d < meterMin:
			r, known := m.rate[u.ID]
			last[u.ID], rate[u.ID] = old, r
			ok = ok && known
		default:
			last[u.ID], rate[u.ID] = u, int64(float64(u.CPU-old.CPU)/float64(d)*1000)
		}
	}
	m.last, m.rate = last, rate
	return ok
}

// UsageNow tells what an app takes of the machine now.
func (s *Service) UsageNow(ctx context.Context, name string) (UsageNow, error) {
	list, err := s.Processes(ctx, name)
	if err != nil {
		return UsageNow{}, err
	}
	out := UsageNow{App: name, At: s.now(), Replicas: []ReplicaUsage{}}
	for _, p := range list {
		for _, r := range p.Instances {
			out.Replicas = append(out.Replicas, ReplicaUsage{
				Process: p.Name, Index: r.Index, Release: r.Release, State: r.State,
				MilliCPU: r.MilliCPU, MemoryBytes: r.MemoryBytes, MemoryLimit: s.Limits.MemoryMB << 20, PIDs: r.PIDs,
			})
			out.MilliCPU += r.MilliCPU
			out.MemoryBytes += r.MemoryBytes
		}
	}
	return out, nil
}

// busy reports whether a replica computes: then it is slow, not stuck.
func (s *Service) busy(ctx context.Context, ref engine.ReplicaRef, id slipway.AppID) bool {
	all, err := s.usage(ctx)
	if err != nil {
		s.Log.WarnContext(ctx, "what an app takes cannot be read", "app", id, "error", err)
	}
	return all[ref].milliCPU >= busyMilliCPU
}
