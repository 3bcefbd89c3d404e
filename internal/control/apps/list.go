package apps

import (
	"context"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// AppFilter selects apps; zero fields select all.
type AppFilter struct {
	Query   string // part of the name, title, description, tags or owner
	Owner   string // user name
	Portal  bool   // only those that the actor may open and that are shown in the Portal
	States  []slipway.AppState
	Access  []slipway.Access
	Tags    []string // all of them
	Orphans bool     // only those whose owner is disabled or has no seat
	Sort    string   // name, updated, created, owner, state; with - the other way round
	Cursor  string
	Limit   int
}

// sortKeys are what lists are sorted by.
var sortKeys = map[string]func(slipway.App) string{
	"name":    func(a slipway.App) string { return a.Name },
	"updated": func(a slipway.App) string { return timeKey(a.Updated) },
	"created": func(a slipway.App) string { return timeKey(a.Created) },
	"owner":   func(a slipway.App) string { return a.OwnerName },
	"state":   func(a slipway.App) string { return string(a.State) },
}

// timeKey sorts as text like the time.
func timeKey(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000") }

// List lists the apps that the actor may see, by name unless Sort says
// otherwise.
func (s *Service) List(ctx context.Context, f AppFilter) (Page[slipway.App], error) {
	by, desc := strings.CutPrefix(or(f.Sort, "name"), "-")
	key := sortKeys[by]
	if key == nil {
		return Page[slipway.App]{}, errs.Invalid("apps cannot be sorted by %q", f.Sort)
	}
	verb := access.SeeApp
	if f.Portal {
		verb = access.OpenApp
	}
	var found []slipway.App
	err := s.eachApp(ctx, verb, func(tx *store.Tx) (func(app store.App), error) {
		orphaned := map[slipway.UserID]bool{}
		if f.Orphans {
			var err error
			if orphaned, err = tx.CannotOwn(); err != nil {
				return nil, err
			}
		}
		return func(app store.App) {
			if f.Orphans && !orphaned[app.Owner] || !f.matches(app) {
				return
			}
			if a := s.withState(app); len(f.States) == 0 || slices.Contains(f.States, a.State) {
				found = append(found, a)
			}
		}, nil
	})
	if err != nil {
		return Page[slipway.App]{}, err
	}
	return paged(found, func(a slipway.App) (string, string) { return key(a), a.Name }, desc, f.Cursor, f.Limit)
}

// eachApp calls what begin returns with every app to which the actor may do v.
func (s *Service) eachApp(ctx context.Context, v access.Verb, begin func(tx *store.Tx) (func(app store.App), error)) error {
	actor := slipway.ActorFrom(ctx)
	all, _, err := s.all(ctx)
	if err != nil {
		return err
	}
	grants := map[slipway.AppID]slipway.GrantRole{}
	var fn func(app store.App)
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if actor.User != nil {
			if grants, err = tx.GrantsOf(actor.User.ID); err != nil {
				return err
			}
		}
		fn, err = begin(tx)
		return err
	}); err != nil {
		return err
	}
	for _, app := range all {
		facts := access.App(&access.AppFacts{Owner: app.Owner, Access: app.Access, Grant: grants[app.ID]})
		if !app.Deleting && access.Check(actor, v, facts) == nil {
			fn(app)
		}
	}
	return nil
}

func (f AppFilter) matches(app store.App) bool {
	switch {
	case f.Portal && !app.InPortal,
		f.Owner != "" && app.OwnerName != strings.ToLower(f.Owner),
		len(f.Access) > 0 && !slices.Contains(f.Access, app.Access),
		!hasAll(app.Tags, f.Tags):
		return false
	}
	return holds(f.Query, app.Name, app.Title, app.Description, app.OwnerName, strings.Join(app.Tags, " "))
}

func hasAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, strings.ToLower(w)) {
			return false
		}
	}
	return true
}

// holds reports whether each word of the query is in one of the texts.
func holds(query string, texts ...string) bool {
	for word := range strings.FieldsSeq(strings.ToLower(query)) {
		if !slices.ContainsFunc(texts, func(t string) bool { return strings.Contains(strings.ToLower(t), word) }) {
			return false
		}
	}
	return true
}

// Develops reports whether the actor owns or co-owns any app.
func (s *Service) Develops(ctx context.Context) (bool, error) {
	actor := slipway.ActorFrom(ctx)
	if actor.User == nil {
		return false, nil
	}
	develops := false
	err := s.eachApp(ctx, access.SeeApp, func(tx *store.Tx) (func(app store.App), error) {
		grants, err := tx.GrantsOf(actor.User.ID)
		return func(app store.App) {
			develops = develops || app.Owner == actor.User.ID || grants[app.ID] == slipway.GrantCoOwner
		}, err
	})
	return develops, err
}
