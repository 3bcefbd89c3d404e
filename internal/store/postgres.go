package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// openPostgres connects when it is first used.
func openPostgres(database string, o options) (*DB, error) {
	cfg, err := pgx.ParseConfig(database)
	if err != nil {
		// Its text repeats the URL; the cause is all that may be said.
		return nil, errs.Invalid("the URL of the database cannot be read: it looks like postgres://user@host:5432/slipway?sslmode=verify-full")
	}
	cfg.ConnectTimeout = 10 * time.Second
	cfg.DialFunc = dial
	if _, set := cfg.RuntimeParams["application_name"]; !set {
		cfg.RuntimeParams["application_name"] = "slipway"
	}
	// What a transaction of ours may keep waiting, should we vanish inside it.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = "15s"
	cfg.RuntimeParams["lock_timeout"] = "10s"
	connect := func(_ context.Context, c *pgx.ConnConfig) error {
		if o.passwordFile == "" {
			return nil
		}
		text, err := os.ReadFile(o.passwordFile)
		if err != nil {
			return errs.Wrap(err, errs.KindInvalid, "database_password_file cannot be read: %v", err)
		}
		c.Password = strings.TrimRight(string(text), "\r\n")
		return nil
	}
	// Two cores that start at once: the second waits until the first has migrated.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return nil, err
	}
	pool := func() *sql.DB {
		db := stdlib.OpenDB(*cfg, stdlib.OptionBeforeConnect(connect))
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
		db.SetConnMaxIdleTime(5 * time.Minute)
		return db
	}
	db := &DB{read: pool(), write: pool(), bell: newBell(), dialect: dialect{
		goose: goose.DialectPostgres, dir: "postgres", options: []goose.ProviderOption{goose.WithSessionLocker(locker)},
		view:   sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true},
		update: sql.TxOptions{Isolation: sql.LevelSerializable},
		query:  newTranslator(), again: again, away: away, unique: pgUnique, refused: refused,
		wake: func(tx *Tx) error {
			_, err := tx.exec(`NOTIFY ` + channel)
			return err
		},
		now:     `CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)`,
		fence:   ` FOR KEY SHARE`,
		settled: `xid < CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)`,
		newest:  `SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT) - 1, 9223372036854775807`,
	}}
	db.listen = func(ctx context.Context) error { return listen(ctx, cfg, connect, db.bell) }
	return db, nil
}

// channel is where sessions of PostgreSQL wake each other.
const channel = "slipway"

// listen rings when another session has notified, until ctx ends. It needs a
// connection of its own, and makes it again when it breaks.
func listen(ctx context.Context, cfg *pgx.ConnConfig, before func(context.Context, *pgx.ConnConfig) error, b *bell) error {
	again := loop.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		own := cfg.Copy()
		if before(ctx, own) == nil {
			_ = listenOnce(ctx, own, func() { // watchers look now and then all the same
				again.Reset()
				b.ring()
			})
		}
		if err := again.Wait(ctx); err != nil {
			return err
		}
	}
}

func listenOnce(ctx context.Context, cfg *pgx.ConnConfig, woken func()) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	for {
		woken() // also at first: something may have come before
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}

// dial notices within half a minute that the other side is gone.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control: func(network, _ string, c syscall.RawConn) error {
			if !strings.HasPrefix(network, "tcp") {
				return nil
			}
			var err error
			return errors.Join(c.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 25_000)
			}), err)
		},
	}
	return d.DialContext(ctx, network, addr)
}

var foreign = regexp.MustCompile(`\?|\buser\b`)

// newTranslator numbers the parameters, and quotes the name user, which
// PostgreSQL would take for the session's own user.
func newTranslator() func(string) string {
	var known sync.Map
	return func(q string) string {
		if t, ok := known.Load(q); ok {
			return t.(string)
		}
		n := 0
		t := foreign.ReplaceAllStringFunc(q, func(s string) string {
			if s != "?" {
				return `"` + s + `"`
			}
			n++
			return "$" + strconv.Itoa(n)
		})
		known.Store(q, t)
		return t
	}
}

// PostgreSQL's codes that concern us (appendix A of its manual).
const (
	pgUniqueViolation      = "23505"
	pgSerializationFailure = "40001"
	pgDeadlock             = "40P01"
	pgLockNotAvailable     = "55P03"
)

func pgCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func pgUnique(err error) bool { return pgCode(err) == pgUniqueViolation }

func again(err error) bool {
	return slices.Contains([]string{pgSerializationFailure, pgDeadlock, pgLockNotAvailable}, pgCode(err))
}

// away reports whether there is no connection, or it broke.
func away(err error) bool {
	if code := pgCode(err); code != "" {
		// Broken connections; a server that stops, starts, or is full.
		return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P0") || code == "53300" || code == "25P03"
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, sql.ErrConnDone) || pgconn.SafeToRetry(err)
}

// refused says what has to be done when PostgreSQL is there but lets nobody in.
func refused(err error) error {
	switch code := pgCode(err); {
	case strings.HasPrefix(code, "28"):
		return errs.Wrap(err, errs.KindInvalid, "PostgreSQL refuses the user of `database`: check the user, the password in database_password_file, and pg_hba.conf")
	case code == "3D000":
		return errs.Wrap(err, errs.KindInvalid, "PostgreSQL has no such database: make it first, with CREATE DATABASE")
	case code == "42501":
		return errs.Wrap(err, errs.KindInvalid, "PostgreSQL does not let the user of `database` do this: make the user the owner of the database")
	}
	return nil
}
