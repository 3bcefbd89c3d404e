package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// Lease is a right that one holder has at a time.
type Lease struct {
	Name   string
	Holder string        // who asks; the same holder takes its own lease over at once
	TTL    time.Duration // after which another may take it, unless it is renewed
	Log    *slog.Logger
}

// ErrLeaseLost is the cause of the end of Lead's context, and what updates in
// it then get.
var ErrLeaseLost = errs.Unavailable("another core has taken over: try again")

// Lead runs fn while it holds the lease: it waits for the lease, and after
// losing it waits again and runs fn anew. fn's context ends a quarter of TTL
// before another can take the lease, by a clock that nobody can set; and
// however late fn is in noticing, Update refuses what it writes with that
// context once there is another holder. Lead returns when fn does, with its
// error, or with ctx.
func (db *DB) Lead(ctx context.Context, l Lease, fn func(ctx context.Context) error) error {
	ask := min(l.TTL/4, time.Second)
	told := false
	for {
		sent := time.Now()
		fence, err := db.take(ctx, l)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && fence != 0:
			err := db.lead(ctx, l, fence, sent, fn)
			if !errors.Is(err, ErrLeaseLost) || ctx.Err() != nil {
				return err
			}
			told = false
			l.Log.WarnContext(ctx, "the lease is lost", "lease", l.Name)
		case err != nil:
			l.Log.WarnContext(ctx, "the lease cannot be asked for", "lease", l.Name, "error", err)
		case !told:
			told = true
			l.Log.InfoContext(ctx, "another holds the lease; waiting for it", "lease", l.Name)
		}
		if err := loop.Sleep(ctx, ask); err != nil {
			return err
		}
	}
}

// take returns 0 while another holds the lease. It is one statement, so that
// it needs no transaction's isolation: a row is changed by one at a time.
func (db *DB) take(ctx context.Context, l Lease) (fence int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.TTL)
	defer cancel()
	err = db.write.QueryRowContext(ctx, db.query(`INSERT INTO leases(name, holder, until, fence) VALUES (?, ?, `+db.now+` + ?, 1)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until, fence = leases.fence + 1
		WHERE leases.until < `+db.now+` OR leases.holder = excluded.holder RETURNING fence`),
		l.Name, l.Holder, l.TTL.Microseconds()).Scan(&fence)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return fence, db.explain(err)
}

// keep makes the lease last, from the moment it is asked; false when there is
// another holder.
func (db *DB) keep(ctx context.Context, l Lease, fence int64, ttl time.Duration) (bool, error) {
	r, err := db.write.ExecContext(ctx, db.query(`UPDATE leases SET until = `+db.now+` + ? WHERE name = ? AND fence = ?`), ttl.Microseconds(), l.Name, fence)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	return n == 1, err
}

type leaseKey struct{}

// held is a lease in the context of the one who leads.
type held struct {
	name  string
	fence int64
}

func (db *DB) lead(ctx context.Context, l Lease, fence int64, sent time.Time, fn func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lost := func() { cancel(ErrLeaseLost) }
	safe := l.TTL * 3 / 4
	end := time.AfterFunc(safe-time.Since(sent), lost)
	defer end.Stop()
	l.Log.InfoContext(ctx, "holding the lease", "lease", l.Name, "fence", fence)

	var result error
	done := errors.New("done")
	err := loop.Run(ctx,
		func(ctx context.Context) error {
			result = fn(context.WithValue(ctx, leaseKey{}, held{l.Name, fence}))
			return done // ends the renewals
		},
		func(ctx context.Context) error {
			for loop.Sleep(ctx, l.TTL/4) == nil {
				sent := time.Now()
				call, cancel := context.WithTimeout(ctx, l.TTL/4)
				ok, err := db.keep(call, l, fence, l.TTL)
				cancel()
				switch {
				case err != nil: // the timer decides
				case !ok:
					lost()
				case end.Stop():
					end.Reset(safe - time.Since(sent))
				}
			}
			return nil
		})
	if errors.Is(context.Cause(ctx), ErrLeaseLost) {
		return ErrLeaseLost
	}
	// Whoever waits need not wait for its end.
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), l.TTL/4)
	defer stop()
	_, _ = db.keep(ctx, l, fence, -time.Second)
	if errors.Is(err, done) {
		return result
	}
	return errors.Join(err, result)
}

// holds fails in the context of one who led and may lead no longer. What it
// reads does not change before the transaction has ended.
func holds(ctx context.Context, tx *Tx, fence string) error {
	h, leads := ctx.Value(leaseKey{}).(held)
	if !leads {
		return nil
	}
	var one int
	err := tx.row(`SELECT 1 FROM leases WHERE name = ? AND fence = ?`+fence, h.name, h.fence).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrLeaseLost
	}
	return err
}
