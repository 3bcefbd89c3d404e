package api

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/logs"
)

// cookieName is that of the management host's session.
func cookieName(h slipway.Hosts) string {
	if h.Scheme == "https" {
		return "__Host-slipway-api"
	}
	return "slipway-api"
}

// identify is around every request: it gives it an id, finds out who asks, and
// keeps panics from ending the connection without an answer.
func (s *server) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id") // the gateway's: it drops the client's
		if id == "" || len(id) > 64 {
			id = slipway.NewID("req")
		}
		r = r.WithContext(logs.WithRequest(r.Context(), id))
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // the value by which net/http knows it
					panic(p)
				}
				s.refuse(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		actor, err := s.actor(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(slipway.WithActor(r.Context(), actor)))
	})
}

// actor finds out who asks: by token, or by the management host's cookie.
// Without either it is anonymous.
func (s *server) actor(r *http.Request) (slipway.Actor, error) {
	addr := clientAddr(r)
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, token, _ := strings.Cut(h, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return slipway.Actor{}, errs.Unauthenticated("send Authorization: Bearer with an API token")
		}
		a, err := s.People.Token(r.Context(), strings.TrimSpace(token))
		a.Addr = addr
		return a, err
	}
	c, err := r.Cookie(cookieName(s.Hosts))
	if err != nil {
		return slipway.Actor{Addr: addr}, nil
	}
	a, err := s.People.ActorFromAPICookie(r.Context(), c.Value)
	if errs.Is(err, errs.KindUnauthenticated) || errs.Is(err, errs.KindNotFound) {
		return slipway.Actor{Addr: addr}, nil // an ended session is none
	}
	if err != nil {
		return slipway.Actor{}, err
	}
	if err := s.fromOurPages(r); err != nil {
		return slipway.Actor{}, err
	}
	a.Addr = addr
	return a, nil
}

// fromOurPages refuses writes that a page of another origin makes the browser
// send with its cookie. The platform's hosts are same-site with each other and
// with apps, so SameSite does not do it.
func (s *server) fromOurPages(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		if site == "same-origin" {
			return nil
		}
	} else if r.Header.Get("Origin") == s.Hosts.API() {
		return nil
	}
	return errs.Denied("a browser's session may write only from pages of %s: scripts use an API token", s.Hosts.API())
}

// clientAddr is the last address in the chain: the one that the gateway saw.
func clientAddr(r *http.Request) string {
	f := r.Header.Values("X-Forwarded-For")
	if len(f) == 0 {
		return ""
	}
	list := strings.Split(f[len(f)-1], ",")
	return strings.TrimSpace(list[len(list)-1])
}
