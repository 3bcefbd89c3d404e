package store_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/pgtest"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) string {
		t.Helper()
		return filepath.Join(t.TempDir(), "db")
	})
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	template, url := server.Database(t, "")
	if err := open(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T) string {
		t.Helper()
		_, url := server.Database(t, template)
		return url
	})
}

// TestMigrationsAgree: whoever changes one database's tables changes the other's.
func TestMigrationsAgree(t *testing.T) {
	t.Parallel()
	var names [2][]string
	for i, dialect := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob(filepath.Join("migrations", dialect, "*.sql"))
		ok(t, err)
		for _, f := range files {
			names[i] = append(names[i], filepath.Base(f))
		}
	}
	if len(names[0]) == 0 || !slices.Equal(names[0], names[1]) {
		t.Errorf("SQLite has %q, PostgreSQL %q", names[0], names[1])
	}
	for i, name := range names[0] {
		if want := fmt.Sprintf("%05d_", i+1); !strings.HasPrefix(name, want) {
			t.Errorf("the migration %s should be %s: each has the next number, and none has another's", name, want)
		}
	}
}

func open(t *testing.T, database string, opts ...store.Option) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), database, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return db
}
