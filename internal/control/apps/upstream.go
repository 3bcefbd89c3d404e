package apps

import (
	"context"
	"fmt"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// SetUpstream says from where an app's code is fetched.
type SetUpstream struct {
	URL, Ref, User string
	// Token opens a private repository; nil = the one that was given before, as
	// long as URL and User are the same. An empty one takes it away.
	Token *secret.String
}

// FetchInput changes one fetch.
type FetchInput struct {
	Ref     string // instead of the upstream's
	Replace bool   // the app's commits, where the upstream's do not lead on from them
}

// Fetch is what a Fetcher is asked for: an upstream, with its token.
type Fetch struct {
	App string
	slipway.Upstream
	Secret  secret.String
	Replace bool
	Keep    func(ctx context.Context) error // asked before anything is kept
}

// Fetcher brings the commits of an upstream into an app's repository and
// returns what to deploy.
type Fetcher func(ctx context.Context, f Fetch) (DeployInput, error)

// The token is bound to its app and to where it is sent.
func upstreamPurpose(app slipway.AppID, u slipway.Upstream) string {
	return "upstream:" + string(app) + ":" + u.User + "@" + u.URL
}

// SetUpstream remembers from where an app's code is fetched. Nothing is fetched
// yet. A token stays where it was given for: with another address or user
// name it must be given anew.
func (s *Service) SetUpstream(ctx context.Context, name string, in SetUpstream) (slipway.Upstream, error) {
	u := store.Upstream{}
	var err error
	if u.Upstream, err = slipway.ParseUpstream(slipway.Upstream{URL: in.URL, Ref: in.Ref, User: in.User}); err != nil {
		return slipway.Upstream{}, err
	}
	if in.Token != nil && !goodToken(in.Token.Reveal()) {
		return slipway.Upstream{}, errs.Fields("this repository cannot be fetched from", errs.Field{Name: "token", Message: "it is no token: it may hold at most 4000 printable characters, and no spaces"})
	}
	_, err = s.change(ctx, access.DeployApp, name, "app.upstream", u.Place(), func(tx *store.Tx, app *store.App) error {
		u.Sealed = nil
		if in.Token == nil {
			old, err := tx.Upstream(app.ID)
			if err != nil {
				return err
			}
			if old != nil && old.URL == u.URL && old.User == u.User {
				u.Sealed = old.Sealed
			}
		} else if !in.Token.Empty() {
			u.Sealed = s.Box.Seal([]byte(in.Token.Reveal()), upstreamPurpose(app.ID, u.Upstream))
		}
		return tx.SetUpstream(app.ID, &u)
	})
	u.Token = len(u.Sealed) > 0
	return u.Upstream, err
}

func goodToken(t string) bool {
	for _, r := range t {
		if r <= ' ' || r >= 0x7f {
			return false
		}
	}
	return len(t) <= 4000
}

// RemoveUpstream forgets from where an app's code is fetched, and the token.
// What was fetched stays.
func (s *Service) RemoveUpstream(ctx context.Context, name string) error {
	_, err := s.change(ctx, access.DeployApp, name, "app.upstream.remove", "", func(tx *store.Tx, app *store.App) error {
		return tx.SetUpstream(app.ID, nil)
	})
	return err
}

// DeployUpstream fetches what is newest in an app's upstream and records a
// deploy of it, which then goes on by itself. The fetch ends with ctx; whatever
// ends it, it can be repeated. Invalid says what is wrong with the upstream, in
// fields url, ref or token; Conflict that its history does not lead on from
// the app's.
func (s *Service) DeployUpstream(ctx context.Context, name string, in FetchInput) (slipway.Deploy, error) {
	f := Fetch{App: name, Replace: in.Replace}
	var id slipway.AppID
	if err := s.view(ctx, access.DeployApp, name, func(tx *store.Tx, app store.App) error {
		u, err := tx.Upstream(app.ID)
		if err != nil {
			return err
		}
		if u == nil {
			return errs.Conflict("%s has no git repository that it is fetched from: name one first", name)
		}
		id, f.Upstream = app.ID, u.Upstream
		if !u.Token {
			return nil
		}
		text, err := s.Box.Open(u.Sealed, upstreamPurpose(app.ID, u.Upstream))
		if err != nil {
			return fmt.Errorf("the token of %s: %w", name, err)
		}
		f.Secret = secret.New(string(text))
		return nil
	}); err != nil {
		return slipway.Deploy{}, err
	}
	f.Ref = or(in.Ref, f.Ref)
	f.Keep = func(ctx context.Context) error { // it took a while: is it still this app, and may they still?
		return s.view(ctx, access.DeployApp, name, func(_ *store.Tx, app store.App) error {
			if app.ID != id {
				return errs.NotFound("no such app, or not one that you may see")
			}
			return nil
		})
	}
	if s.Fetcher == nil {
		return slipway.Deploy{}, errs.Unsupported("nothing is fetched here")
	}
	leave, err := s.beginFetch(ctx)
	if err != nil {
		return slipway.Deploy{}, err
	}
	defer leave()
	got, err := s.Fetcher(ctx, f)
	if err != nil {
		s.auditFetch(ctx, name, f, err)
		return slipway.Deploy{}, err
	}
	got.Cause = slipway.CauseFetch
	return s.Deploy(ctx, name, got)
}

// maxFetches is how many fetches of one person may be under way: each costs the
// platform programs and room, and who asks nothing.
const maxFetches = 10

// beginFetch counts a fetch of the person who asks until leave is called.
func (s *Service) beginFetch(ctx context.Context) (leave func(), err error) {
	who := slipway.UserID("")
	if a := slipway.ActorFrom(ctx); a.User != nil {
		who = a.User.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fetches[who] >= maxFetches {
		return nil, errs.Exhausted("you have %d fetches under way: wait until one has ended", maxFetches)
	}
	s.fetches[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fetches[who]--; s.fetches[who] == 0 {
			delete(s.fetches, who)
		}
	}, nil
}

// auditFetch keeps who tried to reach what: somebody may be looking for what
// is inside of the platform's network.
func (s *Service) auditFetch(ctx context.Context, name string, f Fetch, why error) {
	a := slipway.ActorFrom(ctx)
	err := s.DB.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		return tx.AddAudit(store.Audit{At: s.now(), Actor: a.Name(), Addr: a.Addr, Verb: "app.fetch", Object: name, Result: errs.KindOf(why).String(), Detail: f.Place()})
	})
	if err != nil {
		s.Log.ErrorContext(ctx, "a fetch that failed is not in the audit log", "app", name, "error", err)
	}
}
