package apps

import (
	"context"
	"strconv"
	"strings"
	"sync"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// Change says that something is no longer as it was.
type Change struct {
	Kind string // app, deploy, platform, reset
	App  string // name
	ID   slipway.DeployID
	Gone bool // the app is deleted, or the one who follows may see it no more
}

// The kinds of a change.
const (
	ChangeApp      = "app"
	ChangeDeploy   = "deploy"
	ChangePlatform = "platform"
	ChangeReset    = "reset" // some were missed
)

const keptChanges = 2048

// feed has the latest changes. It lives in memory: whoever comes with an id of
// an earlier life is told to look at everything again.
type feed struct {
	epoch string

	mu   sync.Mutex
	seq  uint64 // of the last one
	last []entry
	more chan struct{}
}

type entry struct {
	kind   string
	app    slipway.AppID
	deploy slipway.DeployID
	before *audience // who saw the app before the change
}

// audience is who stands how to an app at one time.
type audience struct {
	name   string
	facts  access.AppFacts
	grants []slipway.Grant
}

func newFeed() *feed {
	return &feed{epoch: secret.Random(6).Reveal(), more: make(chan struct{})}
}

func (f *feed) add(e entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	f.last = append(f.last, e)
	if len(f.last) > keptChanges {
		f.last = append([]entry(nil), f.last[keptChanges/4:]...)
	}
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) end() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seq
}

// after returns the entries behind seq, the last one's seq, and what tells of
// more; missed when some are no longer kept.
func (f *feed) after(seq uint64) (entries []entry, last uint64, more <-chan struct{}, missed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.seq - seq
	if seq > f.seq || n > uint64(len(f.last)) {
		return nil, f.seq, f.more, true
	}
	return append(entries, f.last[uint64(len(f.last))-n:]...), f.seq, f.more, false
}

// changed is called after every committed change of an app or of its rights,
// of its state, or of a deploy of it.
func (s *Service) changed(app slipway.AppID, deploy slipway.DeployID, before *audience) {
	if before != nil { // state and deploys are not in the index
		s.index.changed()
	}
	e := entry{kind: ChangeApp, app: app, before: before}
	if deploy != "" {
		e.kind, e.deploy = ChangeDeploy, deploy
	}
	s.feed.add(e)
}

// PlatformChanged tells those who follow that branding, announcements or
// settings are new.
func (s *Service) PlatformChanged() { s.feed.add(entry{kind: ChangePlatform}) }

// Changes calls fn with what changes of that which the person may see, and an
// id by which to go on; last is such an id, or empty. who is asked anew for
// each, because rights change.
func (s *Service) Changes(ctx context.Context, last string, who func() slipway.Actor, fn func(id string, c Change) error) error {
	seq := s.feed.end()
	id := func(n uint64) string { return s.feed.epoch + "-" + strconv.FormatUint(n, 10) }
	if last == "" {
		// An event at once, so that the browser knows where to go on.
		if err := fn(id(seq), Change{Kind: ChangePlatform}); err != nil {
			return err
		}
	} else {
		i := strings.LastIndexByte(last, '-') // an epoch may have some
		at, err := strconv.ParseUint(last[i+1:], 10, 64)
		if epoch := last[:max(i, 0)]; err != nil || epoch != s.feed.epoch || at > seq {
			if err := fn(id(seq), Change{Kind: ChangeReset}); err != nil {
				return err
			}
		} else {
			seq = at
		}
	}
	for {
		entries, end, more, missed := s.feed.after(seq)
		if missed {
			if err := fn(id(end), Change{Kind: ChangeReset}); err != nil {
				return err
			}
		}
		seen := map[Change]bool{} // of one burst each is told once
		for _, e := range entries {
			c, ok, err := s.changeFor(ctx, who(), e)
			if err != nil {
				return err
			}
			if !ok || seen[c] {
				continue
			}
			seen[c] = true
			if err := fn(id(end), c); err != nil {
				return err
			}
		}
		seq = end
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changeFor is what a person is told of an entry; false for nothing.
func (s *Service) changeFor(ctx context.Context, a slipway.Actor, e entry) (Change, bool, error) {
	if e.kind == ChangePlatform {
		return Change{Kind: ChangePlatform}, true, nil
	}
	verb := access.SeeApp
	if e.kind == ChangeDeploy {
		verb = access.ReadApp
	}
	all, byID, err := s.all(ctx)
	if err != nil {
		return Change{}, false, err
	}
	if i, ok := byID[e.app]; ok && !all[i].Deleting {
		err := s.DB.View(ctx, func(tx *store.Tx) error { return s.check(tx, a, verb, all[i]) })
		switch {
		case err == nil:
			return Change{Kind: e.kind, App: all[i].Name, ID: e.deploy}, true, nil
		case errs.KindOf(err) == errs.KindInternal:
			return Change{}, false, err
		}
	}
	if b := e.before; b != nil && a.User != nil && e.kind == ChangeApp {
		f := b.facts
		for _, g := range b.grants {
			if g.User == a.User.ID {
				f.Grant = g.Level
			}
		}
		if access.Check(a, access.SeeApp, access.App(&f)) == nil {
			return Change{Kind: ChangeApp, App: b.name, Gone: true}, true, nil
		}
	}
	return Change{}, false, nil
}

func audienceOf(tx *store.Tx, app store.App) (*audience, error) {
	grants, err := tx.GrantsOn(app.ID)
	return &audience{app.Name, access.AppFacts{Owner: app.Owner, Access: app.Access}, grants}, err
}
