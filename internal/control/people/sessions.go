package people

import (
	"context"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/session"
	"slipway.dev/slipway/internal/store"
)

// codeLife is how long a browser may take from one host to the next.
const codeLife = time.Minute

// seenEvery is how exact the time of last use is.
const seenEvery = time.Minute

// Session is a browser in which a person is signed in.
type Session struct {
	ID      slipway.SessionID
	Created time.Time
	Seen    time.Time
	Expires time.Time
	Agent   string
	Addr    string
	Current bool // the one that asks
}

func sessionOf(s store.Session, current slipway.SessionID) Session {
	return Session{s.ID, s.Created, s.Seen, s.Expires, s.Agent, s.Addr, s.ID == current}
}

// Session returns who holds the cookie of the sign-in host. Unauthenticated
// when the session is none, or no more.
func (s *Service) Session(ctx context.Context, cookie string) (slipway.Actor, error) {
	return s.byCookie(ctx, cookie, slipway.HostAuth)
}

// ActorFromAPICookie returns who holds the cookie of the management host.
func (s *Service) ActorFromAPICookie(ctx context.Context, cookie string) (slipway.Actor, error) {
	return s.byCookie(ctx, cookie, slipway.HostAPI)
}

func (s *Service) byCookie(ctx context.Context, cookie, host string) (slipway.Actor, error) {
	if cookie == "" || len(cookie) > 100 {
		return slipway.Actor{}, errSignedOut()
	}
	return s.live(ctx, func(tx *store.Tx) (store.Session, error) { return tx.SessionByCookie(digest(cookie), host) })
}

// live returns who a session stands for and notes that it was used.
func (s *Service) live(ctx context.Context, get func(*store.Tx) (store.Session, error)) (slipway.Actor, error) {
	var ses store.Session
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		ses, p, err = s.check(tx, get)
		return err
	})
	if err != nil {
		return slipway.Actor{}, err
	}
	if now := s.now(); now.Sub(ses.Seen) > seenEvery {
		if err := s.DB.Update(ctx, func(tx *store.Tx) error { return tx.TouchSession(ses.ID, now) }); err != nil {
			return slipway.Actor{}, err
		}
	}
	return slipway.Actor{User: &p.User, Session: ses.ID}, nil
}

// check is the one rule of whether a session lives.
func (s *Service) check(tx *store.Tx, get func(*store.Tx) (store.Session, error)) (store.Session, store.Person, error) {
	ses, err := get(tx)
	if errs.Is(err, errs.KindNotFound) {
		return ses, store.Person{}, errSignedOut()
	}
	if err != nil {
		return ses, store.Person{}, err
	}
	now := s.now()
	if !ses.Ended.IsZero() || !now.Before(ses.Expires) || now.Sub(ses.Seen) > sessionIdle {
		return ses, store.Person{}, errSignedOut()
	}
	p, err := tx.Person(ses.User)
	if err == nil && p.Disabled {
		err = errSignedOut()
	}
	return ses, p, err
}

func errSignedOut() error { return errs.Unauthenticated("you are not signed in, or not any more") }

func byID(id slipway.SessionID) func(*store.Tx) (store.Session, error) {
	return func(tx *store.Tx) (store.Session, error) { return tx.Session(id) }
}

// SignOut ends the session that asks, on all hosts.
func (s *Service) SignOut(ctx context.Context) error {
	a := slipway.ActorFrom(ctx)
	if a.User == nil || a.Session == "" {
		return errSignedOut()
	}
	return s.end(ctx, a, a.Session, "session.sign_out")
}

// Sessions lists where one is signed in, the last used first.
func (s *Service) Sessions(ctx context.Context) ([]Session, error) {
	a, err := me(ctx, access.ReadAccount)
	if err != nil {
		return nil, err
	}
	var found []store.Session
	now := s.now()
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.SessionsOf(a.User.ID, now)
		return err
	})
	out := []Session{}
	for _, f := range found {
		if now.Sub(f.Seen) <= sessionIdle {
			out = append(out, sessionOf(f, a.Session))
		}
	}
	return out, err
}

// SignedIn returns when the session began: with a password, each time.
func (s *Service) SignedIn(ctx context.Context, id slipway.SessionID) (at time.Time, err error) {
	err = s.DB.View(ctx, func(tx *store.Tx) error {
		ses, err := tx.Session(id)
		at = ses.Created
		return err
	})
	return at, err
}

// EndSession ends one of one's own sessions, on all hosts.
func (s *Service) EndSession(ctx context.Context, id slipway.SessionID) error {
	a, err := me(ctx, access.UpdateAccount)
	if err != nil {
		return err
	}
	return s.end(ctx, a, id, "session.end")
}

func (s *Service) end(ctx context.Context, a slipway.Actor, id slipway.SessionID, verb string) error {
	var ses store.Session
	err := s.DB.Update(ctx, func(tx *store.Tx) (err error) {
		ses, err = tx.Session(id)
		if err == nil && ses.User != a.User.ID {
			err = errs.NotFound("no such session")
		}
		if err != nil {
			return err
		}
		if err := tx.EndSession(id, s.now()); err != nil {
			return err
		}
		return s.audit(ctx, tx, verb, string(id), "")
	})
	if err != nil {
		return err
	}
	s.await(ctx, s.Hub.Revoke(id, ses.Expires))
	return nil
}

// endAll ends a person's sessions but one. Gateways learn it by the person's
// new epoch.
func (s *Service) endAll(tx *store.Tx, user slipway.UserID, keep slipway.SessionID) error {
	now := s.now()
	list, err := tx.SessionsOf(user, now)
	if err != nil {
		return err
	}
	for _, ses := range list {
		if ses.ID == keep {
			continue
		}
		if err := tx.EndSession(ses.ID, now); err != nil {
			return err
		}
	}
	return nil
}

// Handoff makes a one-time code that hands the session over to a host, whose
// name comes without a port.
func (s *Service) Handoff(ctx context.Context, sid slipway.SessionID, host string) (string, error) {
	kind, app := s.Hosts.Kind(host)
	if kind != slipway.HostBase && kind != slipway.HostAPI {
		if _, err := slipway.ParseAppName(app); err != nil || kind != "" {
			return "", errs.Invalid("sessions are not handed to %q", host)
		}
	}
	code := secret.Random(32).Reveal()
	now := s.now()
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		if _, _, err := s.check(tx, byID(sid)); err != nil {
			return err
		}
		return tx.AddHandoff(digest(code), sid, host, now.Add(codeLife))
	})
	return code, err
}

// take uses up a code that was made for the host.
func (s *Service) take(ctx context.Context, code, host string, then func(*store.Tx, store.Session, store.Person) error) error {
	bad := errs.Unauthenticated("this sign-in link has expired or was used: it is good once, for a minute")
	if code == "" || len(code) > 100 {
		return bad
	}
	ok := false
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		ok = false
		sid, forHost, expires, err := tx.TakeHandoff(digest(code))
		if errs.Is(err, errs.KindNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if forHost != host || !s.now().Before(expires) {
			return nil // it is used up all the same
		}
		ses, p, err := s.check(tx, byID(sid))
		if errs.Is(err, errs.KindUnauthenticated) {
			return nil
		}
		if err != nil {
			return err
		}
		ok = true
		return then(tx, ses, p)
	})
	if err == nil && !ok {
		err = bad
	}
	return err
}

// Exchange makes a session token for a gateway's host of a one-time code.
func (s *Service) Exchange(ctx context.Context, code, host string) (token string, expires time.Time, err error) {
	if kind, app := s.Hosts.Kind(host); kind != slipway.HostBase && (kind != "" || app == "") {
		return "", time.Time{}, errs.Invalid("%q is no host of apps", host)
	}
	k, err := s.signingKey(ctx, useSession)
	if err != nil {
		return "", time.Time{}, err
	}
	var c session.Claims
	err = s.take(ctx, code, host, func(tx *store.Tx, ses store.Session, p store.Person) error {
		now := s.now().Truncate(time.Second)
		expires := now.Add(session.MaxLife)
		if ses.Expires.Before(expires) {
			expires = ses.Expires.Truncate(time.Second)
		}
		c = session.Claims{Session: ses.ID, User: p.ID, Epoch: p.Epoch, Host: host, Issued: now, Expires: expires}
		return tx.TouchSession(ses.ID, s.now())
	})
	if err != nil {
		return "", time.Time{}, err
	}
	token, err = session.Sign(session.Key{ID: k.id, Private: k.ed25519()}, c)
	return token, c.Expires, err
}

// ExchangeAPI makes a cookie for the management host of a one-time code.
func (s *Service) ExchangeAPI(ctx context.Context, code, host string) (cookie secret.String, expires time.Time, err error) {
	if kind, _ := s.Hosts.Kind(host); kind != slipway.HostAPI {
		return cookie, expires, errs.Invalid("%q is not the management host", host)
	}
	cookie = secret.Random(32)
	err = s.take(ctx, code, host, func(tx *store.Tx, ses store.Session, _ store.Person) error {
		expires = ses.Expires
		return tx.AddSessionCookie(digest(cookie.Reveal()), ses.ID, slipway.HostAPI)
	})
	return cookie, expires, err
}
