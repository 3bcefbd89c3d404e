package store

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/loop"
)

// Change says that something changed: what it is now is read from the tables.
type Change struct {
	Topic string
	Key   string
}

// Notify tells watchers, in every process, once the transaction is committed.
func (tx *Tx) Notify(c Change, now time.Time) error {
	if _, err := tx.exec(`INSERT INTO outbox(topic, key, at) VALUES (?,?,?)`, c.Topic, c.Key, micros(now)); err != nil {
		return err
	}
	tx.notified = true
	return tx.db.wake(tx)
}

// lookAgain is how often watchers look without being woken: a wake may be
// lost, and a change is held back by an older transaction that still runs.
const lookAgain = time.Second

// Watch calls fn for each change that is committed from now on, in order,
// until ctx ends or fn fails; a change of just before may come too. Changes
// that came while the database was away are not lost.
func (db *DB) Watch(ctx context.Context, fn func(c Change) error) error {
	var at cursor
	err := db.View(ctx, func(tx *Tx) error { return tx.row(db.newest).Scan(&at.xid, &at.seq) })
	if err != nil {
		return err
	}
	return loop.Run(ctx, db.listen, func(ctx context.Context) error {
		for {
			rung := db.bell.listen()
			changes, next, err := db.changes(ctx, at)
			if err == nil {
				at = next
			}
			for _, c := range changes {
				if err := fn(c); err != nil {
					return err
				}
			}
			if len(changes) > 0 {
				continue
			}
			select {
			case <-rung:
			case <-time.After(lookAgain):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// cursor is a place in the outbox.
type cursor struct{ xid, seq int64 }

// changes reads some of those after a place, and returns the place after them.
func (db *DB) changes(ctx context.Context, after cursor) (out []Change, next cursor, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		out, next = nil, after
		return tx.rows(func(r *sql.Rows) error {
			var c Change
			err := r.Scan(&next.xid, &next.seq, &c.Topic, &c.Key)
			out = append(out, c)
			return err
		}, `SELECT xid, seq, topic, key FROM outbox WHERE (xid, seq) > (?, ?) AND `+db.settled+` ORDER BY xid, seq LIMIT 1000`, after.xid, after.seq)
	})
	if err != nil {
		return nil, after, err
	}
	return out, next, nil
}

// bell wakes the watchers of this process.
type bell struct {
	mu sync.Mutex
	c  chan struct{}
}

func newBell() *bell { return &bell{c: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
}

// listen returns what the next ring closes.
func (b *bell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}
