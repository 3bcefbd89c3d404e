package apps

import (
	"context"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

// How long measurements are kept.
const (
	keepMinutes = 48 * time.Hour
	keepHours   = 400 * 24 * time.Hour
	keepViewers = 400 * 24 * time.Hour
	maxLate     = time.Hour // what a gateway measured longer ago, or will, is not believed
)

// Record keeps what gateways measured.
func (s *Service) Record(ctx context.Context, list []link.Used) error {
	now := s.now()
	_, byID, err := s.all(ctx)
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		total := map[time.Time]store.Measurement{}
		people := map[time.Time]map[slipway.UserID]bool{}
		for _, u := range list {
			at := u.At.Truncate(time.Minute)
			if _, there := byID[u.App]; !there || now.Sub(at) > maxLate || at.Sub(now) > time.Minute || len(u.Latency) > len(slipway.LatencyBuckets)+1 {
				continue
			}
			m := store.Measurement{Requests: u.Requests, Errors: u.Errors, Refused: u.Refused, Latency: u.Latency, Viewers: len(u.Viewers)}
			if err := tx.AddMeasurement(u.App, at, m); err != nil {
				return err
			}
			sum := total[at]
			sum.Merge(m)
			if people[at] == nil {
				people[at] = map[slipway.UserID]bool{}
			}
			for _, id := range u.Viewers {
				people[at][id] = true
				if err := tx.AddViewer(u.App, at, id); err != nil {
					return err
				}
			}
			sum.Viewers = len(people[at])
			total[at] = sum
			for id, n := range u.Opens {
				if err := tx.AddOpens(id, u.App, n, at); err != nil {
					return err
				}
			}
		}
		for at, m := range total {
			if err := tx.AddMeasurement("", at, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// measureLoop samples what replicas use, and forgets what is old.
func (s *Service) measureLoop(ctx context.Context) error {
	last := map[engine.ReplicaRef]engine.Usage{}
	var swept time.Time
	for loop.Sleep(ctx, s.Limits.Sample) == nil {
		if err := s.sample(ctx, last); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "what apps use could not be measured", "error", err)
		}
		if now := s.now(); now.Sub(swept) > time.Hour {
			swept = now
			if err := s.DB.Update(ctx, func(tx *store.Tx) error {
				return tx.ForgetMeasurements(now.Add(-keepMinutes), now.Add(-keepHours), now.Add(-keepViewers))
			}); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "old measurements could not be removed", "error", err)
			}
		}
	}
	return nil
}

// sample measures every replica once; last has what each had used before.
func (s *Service) sample(ctx context.Context, last map[engine.ReplicaRef]engine.Usage) error {
	usage, err := s.Engine.Usage(ctx)
	if err != nil {
		return err
	}
	_, byID, err := s.all(ctx)
	if err != nil {
		return err
	}
	sums := map[slipway.AppID]store.Measurement{}
	seen := map[engine.ReplicaRef]bool{}
	for _, u := range usage {
		app := slipway.AppID(u.ID.Ref.Scope)
		if _, ours := byID[app]; !ours || u.ID.Ref.Kind != engine.KindWorkload {
			continue
		}
		seen[u.ID] = true
		before, known := last[u.ID]
		last[u.ID] = u
		var cpu time.Duration
		if known && u.CPU >= before.CPU { // less: it began anew
			cpu = u.CPU - before.CPU
		}
		for _, id := range []slipway.AppID{app, ""} {
			m := sums[id]
			m.CPU += cpu.Microseconds()
			m.Memory += u.MemoryBytes
			m.Replica = max(m.Replica, u.MemoryBytes)
			m.Replicas++
			sums[id] = m
		}
	}
	for id := range last {
		if !seen[id] {
			delete(last, id)
		}
	}
	now := s.now()
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		for app, m := range sums {
			if err := tx.AddMeasurement(app, now, m); err != nil {
				return err
			}
		}
		return nil
	})
}
