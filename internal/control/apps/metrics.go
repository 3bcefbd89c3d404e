package apps

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

const (
	maxPoints   = 1500
	likedPoints = 120
)

// Span is a span of time in steps; zero fields are an hour until now, in as
// many steps as a plot needs.
type Span struct {
	From, To time.Time
	Step     time.Duration
}

// Point is what was measured in one step.
type Point struct {
	At time.Time
	store.Measurement
	P50, P95, P99 float64 // milliseconds
	Cores         float64 // processor cores in use, the mean
}

// Metrics are measurements over a span.
type Metrics struct {
	Span
	Points      []Point
	Viewers     int // different ones, in the whole span
	Sum         store.Measurement
	MemoryLimit int64 // of a replica, bytes
	Deploys     []slipway.Deploy
}

// AppUsage is how one app was used.
type AppUsage struct {
	App     slipway.App
	Sum     store.Measurement
	Viewers int
	Cores   float64
	Opened  time.Time
}

// PlatformUsage is how everything was used.
type PlatformUsage struct {
	Metrics
	Apps   []AppUsage // the most requested first
	People int
	Total  int // apps
}

// complete fills what is not given, and chooses between minutes and hours.
func (sp Span) complete(now time.Time) (Span, time.Duration, error) {
	if sp.To.IsZero() || sp.To.After(now) {
		sp.To = now
	}
	if sp.From.IsZero() {
		sp.From = sp.To.Add(-time.Hour)
	}
	sp.From, sp.To = sp.From.UTC(), sp.To.UTC()
	if !sp.From.Before(sp.To) {
		return sp, 0, errs.Invalid("from must be before to, and not in the future")
	}
	if sp.To.Sub(sp.From) > keepHours {
		return sp, 0, errs.Invalid("the span is too long: measurements are kept for %d days", int(keepHours.Hours()/24))
	}
	length := sp.To.Sub(sp.From)
	base := store.Minute
	step := or(sp.Step, length/likedPoints)
	if now.Sub(sp.From) > keepMinutes || step >= store.Hour {
		base = store.Hour
	}
	step = max(step, length/maxPoints, base)
	sp.Step = (step + base - 1) / base * base
	sp.From = sp.From.Truncate(sp.Step)
	return sp, base, nil
}

// Metrics returns what was measured of an app.
func (s *Service) Metrics(ctx context.Context, name string, span Span) (Metrics, error) {
	var out Metrics
	span, base, err := span.complete(s.now())
	if err != nil {
		return out, err
	}
	err = s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) error {
		if out, err = s.measured(tx, app.ID, span, base); err != nil {
			return err
		}
		set, err := tx.Limits()
		if err != nil {
			return err
		}
		out.MemoryLimit = or(set.ReplicaMemoryMB, s.Limits.MemoryMB) << 20
		deploys, err := tx.DeploysOf(app.ID, 0, 500)
		for _, d := range deploys {
			if !d.Started.Before(span.From) && d.Started.Before(span.To) {
				out.Deploys = append(out.Deploys, d.Deploy)
			}
		}
		slices.Reverse(out.Deploys)
		return err
	})
	return out, err
}

func (s *Service) measured(tx *store.Tx, app slipway.AppID, span Span, base time.Duration) (Metrics, error) {
	out := Metrics{Span: span}
	all, byHour, err := tx.Viewers(app, span.From, span.To)
	if err != nil {
		return out, err
	}
	out.Viewers = all
	err = tx.Measurements(app, base, span.From, span.To, func(at time.Time, m store.Measurement) {
		if base == store.Hour {
			m.Viewers = byHour[at]
		}
		begin := at.Truncate(span.Step)
		if n := len(out.Points); n == 0 || !out.Points[n-1].At.Equal(begin) {
			out.Points = append(out.Points, Point{At: begin})
		}
		out.Points[len(out.Points)-1].Merge(m)
		out.Sum.Merge(m)
	})
	now := s.now()
	for i := range out.Points {
		p := &out.Points[i]
		p.P50, p.P95, p.P99 = percentile(p.Latency, .5), percentile(p.Latency, .95), percentile(p.Latency, .99)
		p.Cores = cores(p.CPU, min(span.Step, max(now.Sub(p.At), time.Second)))
	}
	return out, err
}

func cores(us int64, over time.Duration) float64 {
	return float64(us) / float64(max(over.Microseconds(), 1))
}

// percentile estimates, from counts by bucket, the time that the given part of
// the answers did not exceed, in milliseconds.
func percentile(counts []int64, part float64) float64 {
	var all int64
	for _, n := range counts {
		all += n
	}
	if all == 0 {
		return 0
	}
	want, below := part*float64(all), 0.0
	for i, n := range counts {
		if n == 0 || below+float64(n) < want {
			below += float64(n)
			continue
		}
		low := 0.0
		if i > 0 {
			low = slipway.LatencyBuckets[i-1]
		}
		if i >= len(slipway.LatencyBuckets) {
			return low // and more
		}
		return low + (slipway.LatencyBuckets[i]-low)*(want-below)/float64(n)
	}
	return slipway.LatencyBuckets[len(slipway.LatencyBuckets)-1]
}

// Usage returns how the whole platform was used, for administrators.
func (s *Service) Usage(ctx context.Context, span Span) (PlatformUsage, error) {
	out := PlatformUsage{Apps: []AppUsage{}}
	if err := access.Check(slipway.ActorFrom(ctx), access.ReadSettings, access.Platform()); err != nil {
		return out, err
	}
	span, base, err := span.complete(s.now())
	if err != nil {
		return out, err
	}
	all, byID, err := s.all(ctx)
	if err != nil {
		return out, err
	}
	var sums map[slipway.AppID]store.Measurement
	var viewers map[slipway.AppID]int
	var opens map[slipway.AppID]store.Opens
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if out.Metrics, err = s.measured(tx, "", span, base); err != nil {
			return err
		}
		if sums, err = tx.MeasurementsByApp(base, span.From, span.To); err != nil {
			return err
		}
		if viewers, err = tx.ViewersByApp(span.From, span.To); err != nil {
			return err
		}
		if opens, err = tx.OpensByApp(); err != nil {
			return err
		}
		out.People, err = tx.PeopleCount()
		return err
	})
	if err != nil {
		return out, err
	}
	for _, app := range all {
		if !app.Deleting {
			out.Total++
		}
	}
	for id, sum := range sums {
		if i, ok := byID[id]; ok {
			out.Apps = append(out.Apps, AppUsage{all[i].App, sum, viewers[id], cores(sum.CPU, span.To.Sub(span.From)), opens[id].Last})
		}
	}
	slices.SortFunc(out.Apps, func(a, b AppUsage) int {
		return cmp.Or(cmp.Compare(b.Sum.Requests, a.Sum.Requests), cmp.Compare(b.Sum.CPU, a.Sum.CPU), strings.Compare(a.App.Name, b.App.Name))
	})
	out.Apps = out.Apps[:min(len(out.Apps), 50)]
	return out, nil
}
