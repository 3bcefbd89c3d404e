package server

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/store"
)

// commits asks an app's repository for what led from one commit to another.
func (c *core) commits(ctx context.Context, app, from, to string) ([]client.Commit, error) {
	list, err := c.git.History(ctx, app, from, to, 100)
	if err != nil {
		return nil, err
	}
	out := make([]client.Commit, len(list))
	for i, l := range list {
		out[i] = client.Commit(l)
	}
	return out, nil
}

// health tells how the parts are that only the core knows.
func (c *core) health(ctx context.Context) []client.Part {
	began := time.Now()
	database := client.Part{Name: "database", State: "ok"}
	if err := c.db.View(ctx, func(tx *store.Tx) error {
		_, err := tx.PeopleCount()
		return err
	}); err != nil {
		c.log.ErrorContext(ctx, "the database does not answer", "error", err)
		database.State, database.Detail = "down", "it does not answer: see the platform's log"
	} else {
		database.Detail = fmt.Sprintf("answers in %d ms", time.Since(began).Milliseconds())
	}
	gateways := client.Part{Name: "gateway", State: "ok"}
	connected, late := c.hub.Gateways()
	switch {
	case connected == 0:
		gateways.State, gateways.Detail = "down", "none is connected to the core"
	case late > 0:
		gateways.State, gateways.Detail = "warning", fmt.Sprintf("%d connected, %d behind the newest table", connected, late)
	default:
		gateways.Detail = fmt.Sprintf("%d connected", connected)
	}
	return []client.Part{database, gateways, c.disk()}
}

// disk warns before the data folder's file system is full.
func (c *core) disk() client.Part {
	p := client.Part{Name: "disk", State: "ok"}
	var fs unix.Statfs_t
	if err := unix.Statfs(string(c.data), &fs); err != nil || fs.Blocks == 0 {
		return client.Part{Name: "disk", State: "warning", Detail: "the free space of the data folder is not known"}
	}
	free, all := fs.Bavail*uint64(fs.Bsize), fs.Blocks*uint64(fs.Bsize)
	p.Detail = fmt.Sprintf("%d of %d GiB free", free>>30, all>>30)
	switch {
	case free < 256<<20:
		p.State, p.Detail = "down", p.Detail+": make room, builds and the database need it"
	case free < 2<<30 || free*20 < all:
		p.State, p.Detail = "warning", p.Detail+": make room soon"
	}
	return p
}
