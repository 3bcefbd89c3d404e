// Package store keeps the platform's state in SQL: SQLite on one machine. View
// and Update run closures that are free of side effects, because they may be
// run again. All queries are methods of Tx, so that nothing can reach around a
// transaction. Times are integer microseconds, ids text, JSON text.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is the store. One writer at a time, any number of readers.
type DB struct {
	read, write *sql.DB
}

// Tx is a transaction. It is good until the closure returns.
type Tx struct {
	ctx context.Context //nolint:containedctx // a transaction lives inside one call
	tx  *sql.Tx
}

// Open opens the database file at path, making and migrating it as needed.
func Open(ctx context.Context, path string) (*DB, error) {
	write, err := open(path, "immediate", 1)
	if err != nil {
		return nil, err
	}
	read, err := open(path, "deferred", 8)
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	db := &DB{read: read, write: write}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate %s: %w", path, err), db.Close())
	}
	return db, nil
}

func open(path, lock string, conns int) (*sql.DB, error) {
	q := url.Values{"_txlock": {lock}, "_pragma": {
		"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "trusted_schema(0)",
	}}
	db, err := sql.Open("sqlite", "file:"+path+"?"+q.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	return db, nil
}

func (db *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db.write, dir)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// View runs fn on one consistent state.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	return run(ctx, db.read, fn)
}

// Update runs fn alone and commits what it did when it returns nil. fn may be
// run more than once: it must touch nothing but tx and its own results.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	wait := loop.Backoff{Min: 5 * time.Millisecond, Max: 500 * time.Millisecond}
	for try := 0; ; try++ {
		err := run(ctx, db.write, fn)
		if err == nil || !busy(err) || try == 20 {
			return err
		}
		if wait.Wait(ctx) != nil {
			return err
		}
	}
}

func run(ctx context.Context, db *sql.DB, fn func(tx *Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(&Tx{ctx, tx}); err != nil {
		return err
	}
	return tx.Commit()
}

// SQLite's result codes that concern us (sqlite.org/rescode.html).
const (
	sqliteBusy       = 5
	sqliteLocked     = 6
	sqliteUnique     = 2067
	sqlitePrimaryKey = 1555
)

func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

func busy(err error) bool {
	c := code(err) & 0xff
	return c == sqliteBusy || c == sqliteLocked
}

// unique reports whether err is a second row with the same key.
func unique(err error) bool {
	c := code(err)
	return c == sqliteUnique || c == sqlitePrimaryKey
}

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	r, err := tx.tx.ExecContext(tx.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (tx *Tx) row(query string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(tx.ctx, query, args...)
}

// rows calls scan for each row of the result.
func (tx *Tx) rows(scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.tx.QueryContext(tx.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// found turns "no rows" into NotFound.
func found(err error, format string, args ...any) error {
	if errors.Is(err, sql.ErrNoRows) {
		return errs.NotFound(format, args...)
	}
	return err
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func timeOf(us int64) time.Time { return time.UnixMicro(us).UTC() }
