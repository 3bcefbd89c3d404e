package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway.dev/slipway/internal/store/pgtest"
	"slipway.dev/slipway/test/rig"
)

const databasePassword = "s3cr3t-of-the-database"

// TestPostgreSQL tells the first stories again with the state in PostgreSQL:
// a push, sign-in, a rollback. The server then goes away: the app still
// answers who is signed in, and everything that needs the database says so.
// Once it is back a deploy works, and no process of ours was restarted.
func TestPostgreSQL(t *testing.T) {
	oneMachine(t, "the installation has a PostgreSQL of its own, which faults restart")
	server := pgtest.Start(t, pgtest.Options{Listen: "127.0.0.1", Password: databasePassword})
	_, url := server.Database(t, "")
	file := filepath.Join(t.TempDir(), "password")
	ok(t, os.WriteFile(file, []byte(databasePassword+"\n"), 0o600))
	w := newWorld(t, "--database", url, "--database-password-file", file)
	if _, err := os.Stat(filepath.Join(w.in.Data, "slipway.db")); err == nil {
		t.Error("there is an SQLite file too")
	}
	t.Run("stories", func(t *testing.T) {
		w.tell(t, testscript.Params{Files: []string{"testdata/stories/first-push.txtar", "testdata/stories/sharing.txtar", "testdata/stories/variables.txtar"}})
	})
	alice := rig.Person{Name: "alice", Password: password("alice"), Home: filepath.Join(w.home, "alice")}
	repo, err := w.in.NewRepo(t.Context(), alice, filepath.Join(w.root, "test", "apps", "probe"), filepath.Join(t.TempDir(), "stays"), "stays")
	ok(t, err)
	out, err := repo.Push(t.Context(), "first")
	ok(t, err, out)
	app := w.in.Hosts.App("stays", false)
	answers := func(patterns ...string) func() error {
		return func() error {
			text, err := w.fetch([]string{"alice", app})
			if err != nil {
				return err
			}
			return matches(text, append([]string{"^HTTP 200"}, patterns...))
		}
	}
	ok(t, answers()())
	core, err := w.in.Child("core")
	ok(t, err)
	healthy(t, w, "ok", 1)

	ok(t, server.Stop())
	ok(t, answers()())
	healthy(t, w, "the database is away", 0)
	out, err = w.in.Run(context.WithoutCancel(t.Context()), "", filepath.Join(w.home, "alice"), "", w.in.Binary, "status")
	if err == nil || !strings.Contains(out, "the database is away") {
		t.Errorf("slipway status says: %s", out)
	}
	ok(t, answers()())

	ok(t, server.Start(t.Context()))
	healthy(t, w, "ok", 1)
	out, err = repo.Push(t.Context(), "second")
	ok(t, err, out)
	w.run(t, "alice", "", "rollback", "stays", "1")
	ok(t, answers()())
	if now, err := w.in.Child("core"); err != nil || now != core {
		t.Errorf("the core was restarted: %v", err)
	}
}

// healthy waits until the core says how it is.
func healthy(t *testing.T, w *world, text string, up int) {
	t.Helper()
	ok(t, rig.Until(t.Context(), 30*time.Second, func() error {
		for path, want := range map[string]string{"/healthz/core": "^" + text + "$", "/metrics/core": fmt.Sprintf("^slipway_core_database_up %d$", up)} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.in.Metrics+path, nil)
			ok(t, err)
			res, err := http.DefaultClient.Do(req)
			ok(t, err)
			body, err := io.ReadAll(res.Body)
			ok(t, errors.Join(err, res.Body.Close()))
			if res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s answers %s", path, res.Status)
			}
			if err := matches(string(body), []string{want}); err != nil {
				return err
			}
		}
		return nil
	}))
}
