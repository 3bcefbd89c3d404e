package storetest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/store"
)

var errEnough = errors.New("enough")

// watch: every change comes, in the order of its transactions, also from
// another process, and none of one that failed.
func (s *suite) watch() {
	other := s.open()
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
	}
	started := make(chan struct{}, 1)
	var got []string
	err := loop.Run(s.Context(),
		func(ctx context.Context) error {
			return s.db.Watch(ctx, func(c store.Change) error {
				switch c.Topic {
				case "start":
					select {
					case started <- struct{}{}:
					default:
					}
				case "app":
					got = append(got, c.Key)
				}
				if len(got) == len(want) {
					return errEnough
				}
				return nil
			})
		},
		func(ctx context.Context) error {
			for { // until it watches
				s.update(func(tx *store.Tx) error { return tx.Notify(store.Change{Topic: "start"}, now) })
				select {
				case <-started:
				case <-time.After(10 * time.Millisecond):
					continue
				case <-ctx.Done():
					return nil
				}
				break
			}
			for _, key := range want {
				failed := s.db.Update(ctx, func(tx *store.Tx) error {
					return errors.Join(tx.Notify(store.Change{Topic: "app", Key: "never"}, now), errEnough)
				})
				if !errors.Is(failed, errEnough) {
					return failed
				}
				if err := other.Update(ctx, func(tx *store.Tx) error { return tx.Notify(store.Change{Topic: "app", Key: key}, now) }); err != nil {
					return err
				}
			}
			return nil
		})
	if !errors.Is(err, errEnough) || !slices.Equal(got, want) {
		s.Errorf("%v; got %q", err, got)
	}
}

func lease(holder string, ttl time.Duration) store.Lease {
	return store.Lease{Name: "core", Holder: holder, TTL: ttl, Log: slog.New(slog.DiscardHandler)}
}

// oneLeads: of several who want to lead one does, and when it ends the next.
func (s *suite) oneLeads() {
	const sides = 3
	var leading, turns atomic.Int64
	fns := make([]func(context.Context) error, sides)
	for i := range fns {
		db := s.open()
		fns[i] = func(ctx context.Context) error {
			return db.Lead(ctx, lease(fmt.Sprint(i), time.Minute), func(ctx context.Context) error {
				if n := leading.Add(1); n != 1 {
					s.Errorf("%d lead at once", n)
				}
				defer leading.Add(-1)
				turns.Add(1)
				// Whoever leads may write.
				return db.Update(ctx, func(tx *store.Tx) error {
					return tx.SetEnvVar("", store.EnvVar{Key: "LEADER", Sealed: []byte{byte(i)}})
				})
			})
		}
	}
	if err := loop.Run(s.Context(), fns...); err != nil || turns.Load() != sides {
		s.Errorf("%d turns: %v", turns.Load(), err)
	}
}

// leaseEnds: what the function returns is returned, and its context ends with
// the one of the caller.
func (s *suite) leaseEnds() {
	if err := s.db.Lead(s.Context(), lease("a", time.Minute), func(context.Context) error { return errEnough }); !errors.Is(err, errEnough) {
		s.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	err := s.db.Lead(ctx, lease("b", time.Minute), func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) {
		s.Errorf("got %v", err)
	}
}

// handOver: a holder that was started anew takes its own lease over at once;
// the context of the one before ends, and its writes are refused.
func (s *suite) handOver() {
	old, follower := s.open(), s.open()
	write := func(ctx context.Context, db *store.DB) error {
		return db.Update(ctx, func(tx *store.Tx) error { return tx.SetEnvVar("", store.EnvVar{Key: "A", Sealed: []byte{1}}) })
	}
	leads, followed, over, finished := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	runs := 0
	err := loop.Run(s.Context(),
		func(ctx context.Context) error {
			return old.Lead(ctx, lease("one", 4*time.Second), func(ctx context.Context) error {
				if runs++; runs > 1 {
					return nil
				}
				if err := write(ctx, old); err != nil {
					return err
				}
				close(leads)
				<-ctx.Done()
				if !errors.Is(context.Cause(ctx), store.ErrLeaseLost) {
					s.Errorf("its context ended with %v", context.Cause(ctx))
				}
				<-followed
				s.kind(write(context.WithoutCancel(ctx), old), errs.KindUnavailable)
				close(over)
				<-finished
				return ctx.Err()
			})
		},
		func(ctx context.Context) error {
			<-leads
			defer close(finished)
			return follower.Lead(ctx, lease("one", time.Minute), func(ctx context.Context) error {
				close(followed)
				<-over
				return write(ctx, follower)
			})
		})
	if err != nil || runs != 2 {
		s.Errorf("it led %d times: %v", runs, err)
	}
}
