package apps

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"sync"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/store"
)

// index keeps all apps in memory: lists of thousands are searched, sorted and
// counted without asking the database for each. Every change of an app throws
// it away, after the change is committed; who asks next reads it anew.
type index struct {
	mu    sync.Mutex
	gen   uint64 // grows with every change
	read  uint64 // gen that is in apps, when valid
	valid bool
	apps  []store.App // by name; never changed in place
	byID  map[slipway.AppID]int
}

func (x *index) changed() {
	x.mu.Lock()
	x.gen++
	x.mu.Unlock()
}

// all returns every app, by name, those that are being deleted too. The slice
// is shared: do not change it.
func (s *Service) all(ctx context.Context) ([]store.App, map[slipway.AppID]int, error) {
	x := &s.index
	x.mu.Lock()
	gen := x.gen
	if x.valid && x.read == gen {
		defer x.mu.Unlock()
		return x.apps, x.byID, nil
	}
	x.mu.Unlock()
	var apps []store.App
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		apps, err = tx.Apps("")
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	byID := make(map[slipway.AppID]int, len(apps))
	for i := range apps {
		byID[apps[i].ID] = i
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.valid || gen > x.read {
		x.apps, x.byID, x.read, x.valid = apps, byID, gen, true
	}
	return apps, byID, nil
}

// paged sorts items by key, then by name, and returns those behind the cursor.
func paged[T any](items []T, key func(T) (key, name string), desc bool, cursor string, limit int) (Page[T], error) {
	type at struct{ key, name string }
	order := func(a, b at) int {
		c := strings.Compare(a.key, b.key)
		if desc {
			c = -c
		}
		return cmp.Or(c, strings.Compare(a.name, b.name))
	}
	type row struct {
		at
		n int // of the item: items are large, and sorting moves rows often
	}
	rows := make([]row, len(items))
	for i, it := range items {
		k, n := key(it)
		rows[i] = row{at{k, n}, i}
	}
	slices.SortFunc(rows, func(a, b row) int { return order(a.at, b.at) })
	page := Page[T]{Items: []T{}, Total: len(items)}
	from := 0
	if cursor != "" {
		text, err := base64.RawURLEncoding.DecodeString(cursor)
		k, n, ok := strings.Cut(string(text), "\x00")
		if err != nil || !ok {
			return page, errs.Invalid("the cursor %q is not one that a list returned", cursor)
		}
		last := at{k, n}
		from, _ = slices.BinarySearchFunc(rows, last, func(r row, l at) int {
			if order(r.at, l) <= 0 {
				return -1
			}
			return 1
		})
	}
	limit = limitOf(limit)
	for _, r := range rows[from:] {
		if len(page.Items) == limit {
			k, n := key(page.Items[limit-1])
			page.Next = base64.RawURLEncoding.EncodeToString([]byte(k + "\x00" + n))
			break
		}
		page.Items = append(page.Items, items[r.n])
	}
	return page, nil
}
