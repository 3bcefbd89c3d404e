package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/pgtest"
)

func set(key string) func(tx *store.Tx) error {
	return func(tx *store.Tx) error { return tx.SetEnvVar("", store.EnvVar{Key: key, Sealed: []byte{1}}) }
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestPostgreSQLStartsAgain: while the server is away there are clear words,
// and afterwards everything works with the same DB, a listener too.
func TestPostgreSQLStartsAgain(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	_, url := server.Database(t, "")
	db := open(t, url)
	t.Cleanup(func() { ok(t, db.Close()) })
	ok(t, db.Update(t.Context(), set("BEFORE")))
	for name, end := range map[string]func() error{"stopped": server.Stop, "killed": server.Kill} {
		ok(t, end())
		is := func(do func(ctx context.Context) error) func(context.Context) error {
			return func(ctx context.Context) error {
				err := do(ctx)
				if !errs.Is(err, errs.KindUnavailable) || !errors.Is(err, store.ErrAway) || !strings.HasPrefix(errs.Message(err), "the database is away") {
					t.Errorf("%s: %v", name, err)
				}
				return nil
			}
		}
		ok(t, loop.Run(t.Context(), is(db.Ping),
			is(func(ctx context.Context) error { return db.Update(ctx, set("AWAY")) }),
			is(func(ctx context.Context) error { return db.View(ctx, set("AWAY")) }),
			is(func(ctx context.Context) error {
				_, err := store.Open(ctx, url)
				return err
			})))
		ok(t, server.Start(t.Context()))
		ok(t, db.Update(t.Context(), set("AFTER")))
		ok(t, db.Ping(t.Context()))
	}
	// What is asked for while it starts waits a little.
	heard := errors.New("heard")
	err := loop.Run(t.Context(),
		func(ctx context.Context) error {
			return db.Watch(ctx, func(c store.Change) error { return heard })
		},
		func(ctx context.Context) error {
			if err := errors.Join(server.Stop(), server.Start(ctx)); err != nil {
				return err
			}
			for ctx.Err() == nil {
				if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Notify(store.Change{Topic: "app"}, time.Unix(0, 0)) }); err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	if !errors.Is(err, heard) {
		t.Error(err)
	}
}

// TestPostgreSQLRepeats: a transaction that another was in the way of is run
// again, on the state that the other left.
func TestPostgreSQLRepeats(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	_, url := server.Database(t, "")
	db := open(t, url)
	t.Cleanup(func() { ok(t, db.Close()) })
	var seen []int
	ok(t, db.Update(t.Context(), func(tx *store.Tx) error {
		vars, err := tx.EnvVars("")
		if err != nil {
			return err
		}
		if seen = append(seen, len(vars)); len(seen) == 1 {
			if err := db.Update(t.Context(), func(tx *store.Tx) error {
				_, err := tx.EnvVars("")
				return errors.Join(err, set("OTHER")(tx))
			}); err != nil {
				return err
			}
		}
		return set("OURS")(tx)
	}))
	if len(seen) != 2 || seen[0] != 0 || seen[1] != 1 {
		t.Errorf("runs saw %v", seen)
	}
}

// TestPostgreSQLStartsAtOnce: several that find an empty database migrate it
// once.
func TestPostgreSQLStartsAtOnce(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	_, url := server.Database(t, "")
	fns := make([]func(context.Context) error, 3)
	for i := range fns {
		fns[i] = func(ctx context.Context) error {
			db, err := store.Open(ctx, url)
			if err != nil {
				return err
			}
			return errors.Join(db.Update(ctx, set("A")), db.Close())
		}
	}
	ok(t, loop.Run(t.Context(), fns...))
}

// TestPostgreSQLPassword: it comes from a file, read anew for each connection,
// and stands in no error.
func TestPostgreSQLPassword(t *testing.T) {
	t.Parallel()
	const password = "s3cr3t-of-the-database"
	server := pgtest.Start(t, pgtest.Options{Listen: "127.0.0.1", Password: password})
	_, url := server.Database(t, "")
	file := filepath.Join(t.TempDir(), "password")
	refused := func(url, words string, opts ...store.Option) {
		t.Helper()
		_, err := store.Open(t.Context(), url, opts...)
		if !errs.Is(err, errs.KindInvalid) || !strings.Contains(errs.Message(err), words) || strings.Contains(err.Error(), password) {
			t.Errorf("got %v", err)
		}
	}
	refused(url, "database_password_file", store.PasswordFile(file)) // no such file
	ok(t, os.WriteFile(file, []byte("wrong"), 0o600))
	refused(url, "refuses the user", store.PasswordFile(file))
	ok(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	refused(server.URL("none"), "CREATE DATABASE", store.PasswordFile(file))
	refused("postgres://u:"+password+"@host:port/db", "URL of the database")

	db := open(t, url, store.PasswordFile(file))
	t.Cleanup(func() { ok(t, db.Close()) })
	ok(t, os.WriteFile(file, []byte("another"), 0o600))
	server.Exec(t, "postgres", "ALTER USER postgres PASSWORD 'another'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slipway'")
	ok(t, db.Update(t.Context(), set("A")))
}

// TestPostgreSQLSortsByBytes: every text column does, whatever the database's
// own collation is, as SQLite does.
func TestPostgreSQLSortsByBytes(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	name, url := server.Database(t, "")
	ok(t, open(t, url).Close())
	for _, column := range server.Query(t, name, `SELECT attrelid::regclass || '.' || attname FROM pg_attribute
		JOIN pg_class ON attrelid = pg_class.oid JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = 'public' AND relkind = 'r' AND relname <> 'goose_db_version' AND attcollation NOT IN (0, 'pg_catalog."C"'::regcollation)`) {
		t.Errorf("%s lacks COLLATE \"C\"", column)
	}
}

// leaderOf makes this program a core that leads until it is killed.
const leaderOf = "SLIPWAY_TEST_LEADER_OF"

// leads says which holder writes now.
const leads = "LEADS"

func beat(ctx context.Context, db *store.DB, holder string, ttl time.Duration) error {
	l := store.Lease{Name: "core", Holder: holder, TTL: ttl, Log: slog.New(slog.DiscardHandler)}
	return db.Lead(ctx, l, func(ctx context.Context) error {
		for ctx.Err() == nil {
			err := db.Update(ctx, func(tx *store.Tx) error { return tx.SetEnvVar("", store.EnvVar{Key: leads, Sealed: []byte(holder)}) })
			if err != nil {
				return err
			}
			if err := loop.Sleep(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func TestMain(m *testing.M) {
	if url := os.Getenv(leaderOf); url != "" {
		db, err := store.Open(context.Background(), url)
		if err == nil {
			err = beat(context.Background(), db, "child", 2*time.Second)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestPostgreSQLLeaderDies: a leader that is killed, or frozen, is followed by
// another; the frozen one changes nothing when it comes back.
func TestPostgreSQLLeaderDies(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	for name, sig := range map[string]syscall.Signal{"killed": syscall.SIGKILL, "frozen": syscall.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := server.Database(t, "")
			db := open(t, url)
			t.Cleanup(func() { ok(t, db.Close()) })
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), leaderOf+"="+url)
			child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			ok(t, child.Start())
			t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
			until(t, db, "child")
			ok(t, child.Process.Signal(sig))
			done := errors.New("done")
			err := loop.Run(t.Context(),
				func(ctx context.Context) error { return beat(ctx, db, "test", time.Minute) },
				func(ctx context.Context) error {
					until(t, db, "test")
					if sig == syscall.SIGSTOP {
						if err := child.Process.Signal(syscall.SIGCONT); err != nil {
							return err
						}
						// It asks for the lease again, and does not get it.
						for range 50 {
							if got := leader(t, db); got != "test" {
								t.Errorf("%s has written while another leads", got)
							}
							if err := loop.Sleep(ctx, 10*time.Millisecond); err != nil {
								return err
							}
						}
					}
					return done
				})
			if !errors.Is(err, done) {
				t.Error(err)
			}
		})
	}
}

func leader(t *testing.T, db *store.DB) (holder string) {
	t.Helper()
	err := db.View(t.Context(), func(tx *store.Tx) error {
		vars, err := tx.EnvVars("")
		for _, v := range vars {
			holder = string(v.Sealed)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return holder
}

func until(t *testing.T, db *store.DB, holder string) {
	t.Helper()
	for leader(t, db) != holder {
		if err := loop.Sleep(t.Context(), 10*time.Millisecond); err != nil {
			t.Error(err)
			return
		}
	}
}
