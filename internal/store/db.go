// Package store keeps the platform's state in SQL: an SQLite file on one
// machine, or a PostgreSQL database that several processes share. View and
// Update run closures that are free of side effects, because they may be run
// again. All queries are methods of Tx, so that nothing can reach around a
// transaction. Times are integer microseconds, ids text, JSON text, and text
// sorts by its bytes.
//
// Queries are written once, with ? for parameters, in the SQL that both
// databases take; what they differ in is in the files sqlite.go and
// postgres.go.
//
// A migration is a new file of the same name in both folders below migrations;
// one that was released is never changed. SQLite's tables are STRICT, with
// INTEGER also for times and booleans. PostgreSQL's have BIGINT, BOOLEAN,
// BYTEA and TEXT COLLATE "C"; a column user is quoted there, in migrations only.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

//go:embed migrations
var migrations embed.FS

// DB is the store, safe for use at once. Updates are as if one ran after the
// other.
type DB struct {
	dialect
	read, write *sql.DB
	bell        *bell
}

// Tx is a transaction. It is good until the closure returns.
type Tx struct {
	ctx      context.Context //nolint:containedctx // a transaction lives inside one call
	db       *DB
	tx       *sql.Tx
	violated bool // a row stood in the way of another
	notified bool // there is a change in the outbox
}

// dialect is what databases differ in.
type dialect struct {
	goose   goose.Dialect
	options []goose.ProviderOption
	dir     string // of the migrations
	view    sql.TxOptions
	update  sql.TxOptions

	query   func(q string) string // in the database's own words
	again   func(err error) bool  // another transaction was in the way
	away    func(err error) bool  // there is no connection
	unique  func(err error) bool  // a second row with the same key
	refused func(err error) error // what an administrator has to do, or nil
	wake    func(tx *Tx) error    // wakes the watchers of other processes when tx is committed
	listen  func(ctx context.Context) error

	now     string // expression: the database's clock in microseconds
	fence   string // ends a query whose row must not change until the transaction's end
	settled string // condition: no change can still come before this one
	newest  string // query: the place in the outbox after which new changes come
}

// Option changes how Open connects.
type Option func(*options)

type options struct{ passwordFile string }

// PasswordFile names a file that holds the password for PostgreSQL. It is read
// for each new connection, so that a password can be changed.
func PasswordFile(path string) Option { return func(o *options) { o.passwordFile = path } }

// Open opens a database, making and migrating its tables as needed: the
// SQLite file at a path, or the PostgreSQL database of a postgres:// URL.
// Unavailable when PostgreSQL cannot be reached.
func Open(ctx context.Context, database string, opts ...Option) (*DB, error) {
	db, err := connect(database, opts)
	if err != nil {
		return nil, err
	}
	if err := db.migrate(ctx); err != nil {
		return nil, errors.Join(db.explain(fmt.Errorf("migrate the database: %w", err)), db.Close())
	}
	return db, nil
}

func connect(database string, opts []Option) (*DB, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if isURL(database) {
		return openPostgres(database, o)
	}
	return openSQLite(database, o)
}

// Check tells how Open would fare, and changes nothing: Invalid when the
// database lets nobody in, Unavailable when it is away.
func Check(ctx context.Context, database string, opts ...Option) error {
	db, err := connect(database, opts)
	if err != nil {
		return err
	}
	return errors.Join(db.Ping(ctx), db.Close())
}

// isURL reports whether a database's name is a PostgreSQL URL, and no path.
func isURL(database string) bool {
	return strings.HasPrefix(database, "postgres://") || strings.HasPrefix(database, "postgresql://")
}

func (db *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations/"+db.dir)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(db.goose, db.write, dir, db.options...)
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database.
func (db *DB) Close() error { return errors.Join(db.read.Close(), db.write.Close()) }

// Ping returns Unavailable when the database does not answer.
func (db *DB) Ping(ctx context.Context) error {
	return db.explain(db.read.PingContext(ctx))
}

// View runs fn on one consistent state. fn may be run more than once.
func (db *DB) View(ctx context.Context, fn func(tx *Tx) error) error {
	return db.repeat(ctx, db.read, &db.view, fn)
}

// Update runs fn as if it were alone, and commits what it did when it returns
// nil. fn may be run more than once: it must touch nothing but tx and its own
// results. In a context of Lead it fails once another holds the lease.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	return db.repeat(ctx, db.write, &db.update, func(tx *Tx) error {
		if err := holds(ctx, tx, db.fence); err != nil {
			return err
		}
		return fn(tx)
	})
}

// How long a transaction makes way for others, and how long it waits for a
// database that starts again.
const (
	makesWay = 20 * time.Second
	waits    = 5 * time.Second
)

// ErrAway is in the chain of errors that say that the database is away.
var ErrAway = errors.New("no connection to the database")

// repeat runs a transaction until nothing was in its way. When the connection
// breaks while it commits, nobody knows what happened, and it is not repeated.
func (db *DB) repeat(ctx context.Context, on *sql.DB, o *sql.TxOptions, fn func(tx *Tx) error) error {
	wait := loop.Backoff{Min: 5 * time.Millisecond, Max: 500 * time.Millisecond}
	began := time.Now()
	violated := false
	for {
		tx := &Tx{ctx: ctx, db: db}
		committing, err := db.run(on, o, tx, fn)
		if err == nil {
			if tx.notified {
				db.bell.ring()
			}
			return nil
		}
		again := db.again(err) && time.Since(began) < makesWay || db.away(err) && !committing && time.Since(began) < waits
		if tx.violated && !violated {
			// The row may be of a transaction that this one cannot see yet:
			// look with fresh eyes, once.
			again, violated = true, true
		}
		if !again || wait.Wait(ctx) != nil {
			return db.explain(err)
		}
	}
}

func (db *DB) run(on *sql.DB, o *sql.TxOptions, tx *Tx, fn func(tx *Tx) error) (committing bool, err error) {
	if tx.tx, err = on.BeginTx(tx.ctx, o); err != nil {
		return false, err
	}
	defer tx.tx.Rollback()
	if err := fn(tx); err != nil {
		return false, err
	}
	return !o.ReadOnly, tx.tx.Commit()
}

// explain says in words for people why the database cannot be used now.
func (db *DB) explain(err error) error {
	switch {
	case err == nil, errs.KindOf(err) != errs.KindInternal:
		return err
	case db.away(err):
		err = errors.Join(ErrAway, err)
		return errs.Wrap(err, errs.KindUnavailable, "the database is away: try again when it is back; apps go on meanwhile")
	case db.again(err):
		return errs.Wrap(err, errs.KindUnavailable, "too many changes at once: try again")
	}
	if why := db.refused(err); why != nil {
		return why
	}
	return err
}

func (tx *Tx) exec(query string, args ...any) (int64, error) {
	r, err := tx.tx.ExecContext(tx.ctx, tx.db.query(query), clean(args)...)
	if err != nil {
		tx.violated = tx.violated || tx.db.unique(err)
		return 0, err
	}
	return r.RowsAffected()
}

func (tx *Tx) row(query string, args ...any) *sql.Row {
	return tx.tx.QueryRowContext(tx.ctx, tx.db.query(query), clean(args)...)
}

// rows calls scan for each row of the result.
func (tx *Tx) rows(scan func(*sql.Rows) error, query string, args ...any) error {
	rows, err := tx.tx.QueryContext(tx.ctx, tx.db.query(query), clean(args)...)
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

// clean makes text what every database takes: UTF-8 without zero bytes. Some
// comes from outside as it is, such as the message of a commit.
func clean(args []any) []any {
	for i, a := range args {
		v := reflect.ValueOf(a)
		if v.Kind() == reflect.String {
			args[i] = strings.ReplaceAll(strings.ToValidUTF8(v.String(), "\uFFFD"), "\x00", "\uFFFD")
		}
	}
	return args
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
