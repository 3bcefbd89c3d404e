package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
)

// The names of the session cookie. With TLS browsers themselves refuse to set
// it for more than this host.
const (
	cookieTLS   = "__Host-slipway-session"
	cookiePlain = "slipway-session"
)

func cookieName(h slipway.Hosts) string {
	if h.Scheme == "https" {
		return cookieTLS
	}
	return cookiePlain
}

// visitor is who has opened which app: what a long connection's right to go
// on is judged by.
type visitor struct {
	session *session.Claims // nil when anonymous
	app     slipway.AppID
	name    string // of the app
}

// identify finds the session of a request, if it has a valid one. Over plain
// HTTP an app's script can set a cookie of the same name beside ours, so a few
// are looked at.
func (s *Server) identify(r *http.Request, x *exchange) {
	name := cookieName(x.policy.Hosts)
	tries := 0
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			n, token, ok := strings.Cut(strings.Trim(part, " \t"), "=")
			if !ok || n != name {
				continue
			}
			if tries++; tries > 4 {
				return
			}
			c, ok := s.sessions.verify(x.policy.Keys, token)
			if !ok || c.Host != x.host || !sessionValid(x.policy, c, x.began) {
				continue
			}
			p := x.policy.People[c.User]
			x.session, x.person = c, &p
			return
		}
	}
}

// sessionValid: the token's signature is known to hold.
func sessionValid(p *link.Policy, c *session.Claims, now time.Time) bool {
	if _, revoked := p.Revoked[c.Session]; revoked || !now.Before(c.Expires) {
		return false
	}
	person, ok := p.People[c.User]
	return ok && person.Epoch == c.Epoch
}

// allowed is the whole rule of who may open an app that needs a sign-in.
func allowed(r *link.Route, user slipway.UserID, person *link.Person) bool {
	switch r.Access {
	case slipway.AccessUnauthenticated, slipway.AccessAuthenticated:
		return true
	case slipway.AccessRestricted:
		return slices.Contains(r.Viewers, user) || manages(r, user, person)
	default:
		return false
	}
}

// manages: owners and administrators see why an app does not run.
func manages(r *link.Route, user slipway.UserID, person *link.Person) bool {
	return slices.Contains(r.Owners, user) || slices.Contains(person.Roles, slipway.RoleAdmin)
}

// stillAllowed judges a long connection by the table of now.
func (s *Server) stillAllowed(p *link.Policy, v visitor) bool {
	route, ok := p.Routes[v.name]
	if !ok || route.App != v.app {
		return false
	}
	if v.session == nil {
		return route.Access == slipway.AccessUnauthenticated
	}
	person, ok := p.People[v.session.User]
	return ok && sessionValid(p, v.session, time.Now()) && allowed(&route, v.session.User, &person) && !s.coreAway()
}

// coreAway: the core was not heard for so long that sessions count no more.
func (s *Server) coreAway() bool { return time.Since(s.Policy.Contact()) > s.AwayLimit }

// askSignIn sends a person who opens a page to sign in. Anything else gets
// 401: a redirected callback of a page would die silently.
func (s *Server) askSignIn(w http.ResponseWriter, r *http.Request, x *exchange) {
	if !isNavigation(r) {
		s.problem(w, r, http.StatusUnauthorized, "Sign in to use this app: open it in the browser again.")
		return
	}
	redirect(w, r, http.StatusFound, session.Handoff(w, r, x.policy.Hosts, selfURL(r, x), false))
}

// anonymous ends the address of a page that a browser without cookies comes
// back to; it would be asked for ever.
const anonymous = ours + "=anonymous"

// askSilently sends a person who opens a public app on a host without a
// session past the sign-in host, where they may have one: the app then knows
// them. It reports whether it did. Only browsers say that a page fills a tab.
func (s *Server) askSilently(w http.ResponseWriter, r *http.Request, x *exchange) bool {
	if rest, ok := strings.CutSuffix(r.URL.RawQuery, anonymous); ok {
		r.URL.RawQuery = strings.TrimSuffix(rest, "&")
		return false
	}
	if r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" || s.coreAway() {
		return false
	}
	to := session.SilentHandoff(w, r, x.policy.Hosts, selfURL(r, x))
	if to != "" {
		redirect(w, r, http.StatusFound, to)
	}
	return to != ""
}

// isNavigation: a browser opens a page, and would follow a redirect on the screen.
func isNavigation(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get("Upgrade") != "" {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return wantsPage(r) && r.Header.Get("X-Requested-With") == ""
}

func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// serveOurs answers /_slipway/…: beginning and end of a session on this host.
func (s *Server) serveOurs(w http.ResponseWriter, r *http.Request, x *exchange) {
	hosts := x.policy.Hosts
	if r.Method != http.MethodGet {
		s.notFound(w, r)
		return
	}
	switch r.URL.Path {
	case "/" + ours + "/session":
		s.takeSession(w, r, x)
	case "/" + ours + "/logout":
		s.setSession(w, hosts, "", time.Time{})
		redirect(w, r, http.StatusFound, hosts.Auth()+"/logout")
	default:
		s.notFound(w, r)
	}
}

// takeSession begins a session of a one-time code, in the browser that asked
// for it. Any other is sent to ask itself, once.
func (s *Server) takeSession(w http.ResponseWriter, r *http.Request, x *exchange) {
	hosts, q := x.policy.Hosts, r.URL.Query()
	to := localPath(q.Get("to"))
	self := hosts.Scheme + "://" + r.Host + to
	failed := func(title, text string) {
		s.page(w, r, http.StatusBadRequest, view{
			Title: title, Text: text, Link: session.HandoffURL(hosts, self, ""), LinkText: "Sign in again",
		})
	}
	bound, again := session.Bound(r, hosts, q.Get("state"))
	silent := q.Has(session.Silent)
	switch {
	case silent && !bound: // it keeps no cookies
		mark := "?"
		if strings.Contains(to, "?") {
			mark = "&"
		}
		redirect(w, r, http.StatusFound, to+mark+anonymous)
		return
	case silent && !q.Has("code"):
		redirect(w, r, http.StatusFound, to)
		return
	case !bound:
		if again {
			failed("The sign-in was not completed", "The browser did not send back the cookie with which it asked. Allow cookies for this site and try again.")
			return
		}
		redirect(w, r, http.StatusFound, session.Handoff(w, r, hosts, self, true))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.CoreHold)
	defer cancel()
	var expires time.Time
	token, err := patiently(ctx, func(ctx context.Context) (token string, err error) {
		token, expires, err = s.Policy.Exchange(ctx, q.Get("code"), x.host)
		return token, err
	})
	switch {
	case err != nil && silent: // they can do without
		redirect(w, r, http.StatusFound, to)
	case errs.Is(err, errs.KindUnavailable):
		s.away(w, r)
	case err != nil:
		s.Log.InfoContext(r.Context(), "a sign-in was not completed", "error", err)
		failed("This sign-in link has expired", "It can be used once, within a minute.")
	default:
		s.setSession(w, hosts, token, expires)
		redirect(w, r, http.StatusFound, to)
	}
}

// setSession sets the session cookie; an empty token takes it away.
func (s *Server) setSession(w http.ResponseWriter, hosts slipway.Hosts, token string, expires time.Time) {
	c := &http.Cookie{
		Name: cookieName(hosts), Value: token, Path: "/", HttpOnly: true,
		Secure: hosts.Scheme == "https", SameSite: http.SameSiteLaxMode, MaxAge: -1,
	}
	if token != "" {
		c.MaxAge = max(1, int(time.Until(expires).Seconds()))
	}
	http.SetCookie(w, c)
}

// clientAddr is who asks. A proxy that is trusted may say for whom it asks.
func clientAddr(r *http.Request, trusted []netip.Prefix) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := ap.Addr().Unmap()
	if len(trusted) == 0 {
		return addr.String()
	}
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(chain) - 1; i >= 0 && within(trusted, addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(chain[i]))
		if err != nil {
			break
		}
		addr = next.Unmap()
	}
	return addr.String()
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sessionCache remembers tokens whose signature was checked: the check is the
// dearest part of a small request. It forgets everything when the keys change.
type sessionCache struct {
	check func([]link.SessionKey, string, time.Time) (session.Claims, error)

	mu       sync.RWMutex
	keys     *link.SessionKey // the first key's place tells one set from another
	now, old map[string]*session.Claims
}

const sessionsKept = 4096 // in each of two generations

func newSessionCache(check func([]link.SessionKey, string, time.Time) (session.Claims, error)) *sessionCache {
	return &sessionCache{check: check, now: map[string]*session.Claims{}, old: map[string]*session.Claims{}}
}

func (c *sessionCache) verify(keys []link.SessionKey, token string) (*session.Claims, bool) {
	if len(keys) == 0 {
		return nil, false
	}
	c.mu.RLock()
	claims, ok := c.now[token]
	if !ok {
		claims, ok = c.old[token]
	}
	ok = ok && c.keys == &keys[0]
	c.mu.RUnlock()
	if ok {
		return claims, true
	}
	v, err := c.check(keys, token, time.Now())
	if err != nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys != &keys[0] {
		c.keys, c.now, c.old = &keys[0], map[string]*session.Claims{}, map[string]*session.Claims{}
	}
	if len(c.now) >= sessionsKept {
		c.now, c.old = map[string]*session.Claims{}, c.now
	}
	c.now[token] = &v
	return &v, true
}
