package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/store"
)

// leaseTTL is how long a core that vanished keeps another from leading.
const leaseTTL = 10 * time.Second

func databaseOf(cfg platform.Config) (string, store.Option) {
	name := cfg.Database
	if name == "" {
		name = platform.Folder(cfg.Data).SQLite()
	}
	return name, store.PasswordFile(cfg.DatabasePasswordFile)
}

// checkDatabase fails when the database will never let us in. One that is away
// is waited for.
func checkDatabase(ctx context.Context, cfg platform.Config) error {
	if cfg.Database == "" {
		return nil
	}
	name, password := databaseOf(cfg)
	if err := store.Check(ctx, name, password); errs.Is(err, errs.KindInvalid) {
		return err
	}
	return nil
}

// openStore waits for a database that is away.
func openStore(ctx context.Context, cfg platform.Config, log *slog.Logger) (*store.DB, error) {
	again := loop.Backoff{Min: 200 * time.Millisecond, Max: 3 * time.Second}
	name, password := databaseOf(cfg)
	for {
		db, err := store.Open(ctx, name, password)
		if !errors.Is(err, store.ErrAway) {
			return db, err
		}
		log.WarnContext(ctx, "the database is away; waiting for it", "error", err)
		if err := again.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// load tells the hub everything as it is now.
func (c *core) load(ctx context.Context) error {
	brand, err := c.settings.Branding(ctx)
	c.hub.SetBrand(brand)
	return errors.Join(err, c.people.Load(ctx), c.apps.Load(ctx))
}

// lead runs the loops. Only one core may: the lock of the data folder sees to
// that for a file in it, a lease for a database that others reach too.
func (c *core) lead(ctx context.Context) error {
	work := func(ctx context.Context) error { return loop.Run(ctx, c.people.Run, c.apps.Run) }
	if c.cfg.Database == "" {
		return work(ctx)
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	// A core that is started again need not wait for the one before it: there
	// is no more than one on a data folder.
	lease := store.Lease{Name: "core", Holder: host + ":" + c.cfg.Data, TTL: leaseTTL, Log: c.log}
	loaded := true
	return c.db.Lead(ctx, lease, func(ctx context.Context) error {
		if !loaded { // much may have changed
			if err := c.load(ctx); err != nil {
				return err
			}
		}
		loaded = false
		return work(ctx)
	})
}
