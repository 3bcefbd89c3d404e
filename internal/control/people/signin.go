package people

import (
	"context"
	"math"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/store"
)

// Back-off: after some free tries, each failure doubles the time until the
// next try, by person and address, and by address with more patience, because
// an office may share one.
const (
	freeByPerson = 5
	freeByAddr   = 30
	longestWait  = 15 * time.Minute
	forgetAfter  = time.Hour // after the wait
)

// Life of a session. Gateways check at most every session.MaxLife whether a
// session still lives, so being idle is longer than that.
const (
	sessionLife = 7 * 24 * time.Hour
	sessionIdle = 24 * time.Hour
)

// SignIn is a try to sign in. Cookie is what the browser holds of a session
// before, which then ends.
type SignIn struct {
	Name, Password, Addr, Agent, Cookie string
}

// SignedIn is a new session with the secret that the sign-in host's browser
// gets for it.
type SignedIn struct {
	Session Session
	Cookie  secret.String
}

// SignIn checks the password and makes a new session: no secret from before
// the sign-in is good after it.
func (s *Service) SignIn(ctx context.Context, in SignIn) (SignedIn, error) {
	p, err := s.authenticate(ctx, in.Name, in.Password, in.Addr)
	if err != nil {
		return SignedIn{}, err
	}
	now := s.now()
	ses := store.Session{
		ID: slipway.SessionID(slipway.NewID("ses")), User: p.ID, Created: now, Seen: now, Expires: now.Add(sessionLife),
		Agent: cut(in.Agent, 300), Addr: in.Addr,
	}
	cookie := secret.Random(32)
	var before store.Session
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		before = store.Session{}
		if in.Cookie != "" {
			var err error
			before, err = tx.SessionByCookie(digest(in.Cookie), slipway.HostAuth)
			if err != nil && !errs.Is(err, errs.KindNotFound) {
				return err
			}
			if err == nil {
				if err := tx.EndSession(before.ID, now); err != nil {
					return err
				}
			}
		}
		if err := tx.AddSession(ses); err != nil {
			return err
		}
		if err := tx.AddSessionCookie(digest(cookie.Reveal()), ses.ID, slipway.HostAuth); err != nil {
			return err
		}
		return tx.AddAudit(store.Audit{At: now, Actor: p.Name, Addr: in.Addr, Verb: "session.sign_in", Object: string(ses.ID), Result: "ok"})
	})
	if err != nil {
		return SignedIn{}, err
	}
	if before.ID != "" {
		s.await(ctx, s.Hub.Revoke(before.ID, before.Expires))
	}
	return SignedIn{Session: sessionOf(ses, ses.ID), Cookie: cookie}, nil
}

// Password checks a name and a password, or an API token in its place, for
// protocols without sessions such as git.
func (s *Service) Password(ctx context.Context, name, password, addr string) (slipway.Actor, error) {
	if strings.HasPrefix(password, tokenPrefix) {
		a, err := s.Token(ctx, password)
		if err == nil && name != "" && !strings.EqualFold(name, a.User.Name) {
			return slipway.Actor{}, errs.Unauthenticated("this API token belongs to another person than %q", name)
		}
		a.Addr = addr
		return a, err
	}
	p, err := s.authenticate(ctx, name, password, addr)
	if err != nil {
		return slipway.Actor{}, err
	}
	return slipway.Actor{User: &p.User, Addr: addr}, nil
}

// authenticate returns the person whose password it is. A person who is not
// there takes as long as one who is, and gives the same error.
func (s *Service) authenticate(ctx context.Context, name, password, addr string) (store.Person, error) {
	name = strings.ToLower(strings.TrimSpace(cut(name, 100)))
	person, from := try{"person:" + name + "|" + network(addr), freeByPerson}, try{"addr:" + network(addr), freeByAddr}
	if err := s.mayTry(ctx, person.key, from.key); err != nil {
		return store.Person{}, err
	}
	release, err := s.slot(ctx)
	if err != nil {
		return store.Person{}, err
	}
	defer release()
	if err := s.mayTry(ctx, person.key, from.key); err != nil { // others have failed while this one waited
		return store.Person{}, err
	}
	var p store.Person
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = tx.PersonByName(name)
		return err
	})
	if err != nil && !errs.Is(err, errs.KindNotFound) {
		return store.Person{}, err
	}
	hash := p.Password
	if hash == "" {
		hash = s.decoy
	}
	if !s.matches(hash, password) || p.Password == "" {
		if err := s.failed(ctx, name, addr, person, from); err != nil {
			return store.Person{}, err
		}
		return store.Person{}, errs.Unauthenticated("wrong user name or password")
	}
	if p.Disabled { // who knows the password may know it
		return store.Person{}, errs.Denied("this account is disabled: ask an administrator")
	}
	return p, s.succeeded(ctx, person.key)
}

// try is what failures are counted by, and how many of them cost nothing.
type try struct {
	key  string
	free int
}

// mayTry returns Exhausted while one of the keys must wait.
func (s *Service) mayTry(ctx context.Context, keys ...string) error {
	var until time.Time
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		until = time.Time{}
		for _, k := range keys {
			f, err := tx.LoginFailures(k)
			if err != nil {
				return err
			}
			if f.Until.After(until) {
				until = f.Until
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if wait := until.Sub(s.now()); wait > 0 {
		seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
		return &errs.Error{
			Kind: errs.KindExhausted, Message: "too many failed sign-ins: try again in " + seconds + " seconds",
			Fields: []errs.Field{{Name: "retry_after", Message: seconds}},
		}
	}
	return nil
}

func (s *Service) failed(ctx context.Context, name, addr string, tries ...try) error {
	now := s.now()
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		for _, t := range tries {
			f, err := tx.LoginFailures(t.key)
			if err != nil {
				return err
			}
			if now.Sub(f.Until) > forgetAfter && now.Sub(f.Last) > forgetAfter {
				f = store.Failures{}
			}
			f.Count++
			f.Last, f.Until = now, now.Add(backOff(f.Count-t.free))
			if err := tx.SetLoginFailures(t.key, f); err != nil {
				return err
			}
		}
		return tx.AddAudit(store.Audit{
			At: now, Actor: "anonymous", Addr: addr, Verb: "session.sign_in", Object: cut(name, 100), Result: errs.KindUnauthenticated.String(),
		})
	})
}

// backOff is the wait after n failures beyond the free ones.
func backOff(n int) time.Duration {
	if n < 0 {
		return 0
	}
	return min(time.Second<<min(n, 20), longestWait)
}

// succeeded forgets the failures of the person at this address, but not those
// of the address: else one good account would free its guesses at others.
func (s *Service) succeeded(ctx context.Context, key string) error {
	var f store.Failures
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		f, err = tx.LoginFailures(key)
		return err
	})
	if err != nil || f.Count == 0 {
		return err
	}
	return s.DB.Update(ctx, func(tx *store.Tx) error { return tx.ClearLoginFailures(key) })
}

// cut shortens a text of strangers without breaking a character.
func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}
