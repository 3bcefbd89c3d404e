package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
)

const (
	renewBefore = 5 * time.Minute  // tokens are asked for anew so long before they expire
	renewWait   = time.Second      // for which one request waits meanwhile
	renewAgain  = 10 * time.Second // until the next try, when the core did not answer
	cookieID    = "kcIdToken"
	cookieToken = "kcToken"
	userData    = "Plotly-User-Data"
)

// identity is what an app is told of its viewer, ready to be set.
type identity struct {
	cookies             string
	user, email, groups string
	data                string // JSON of Plotly-User-Data

	person  link.Person
	expires time.Time
}

func newIdentity(p *link.Person, t link.Tokens) *identity {
	b64 := base64.StdEncoding.EncodeToString
	id := &identity{
		cookies: cookieID + "=" + b64([]byte(t.IDToken.Reveal())) + "; " + cookieToken + "=" + b64([]byte(t.AccessToken.Reveal())),
		user:    headerText(p.Name), email: headerText(p.Email),
		person: *p, expires: t.Expires,
	}
	roles := make([]string, len(p.Roles))
	for i, r := range p.Roles {
		roles[i] = string(r)
	}
	id.groups = headerText(strings.Join(roles, ","))
	data, err := json.Marshal(map[string]any{
		"username": p.Name, "email": p.Email, "name": p.FullName, "is_admin": slices.Contains(p.Roles, slipway.RoleAdmin),
	})
	if err == nil { // plain text always encodes
		id.data = asciiJSON(data)
	}
	return id
}

// headerText returns s when it may stand in a header, else nothing.
func headerText(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return s
}

// asciiJSON escapes what servers would read as Latin-1.
func asciiJSON(data []byte) string {
	var b strings.Builder
	for _, r := range string(data) {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		units := utf16.Encode([]rune{r})
		for _, u := range units {
			b.WriteString(`\u` + strconv.FormatUint(uint64(u)+0x10000, 16)[1:])
		}
	}
	return b.String()
}

func samePerson(a, b *link.Person) bool {
	return a.Name == b.Name && a.Email == b.Email && a.FullName == b.FullName && slices.Equal(a.Roles, b.Roles)
}

// tokenCache keeps what apps are told of their viewers, by session and app.
type tokenCache struct {
	fetch func(context.Context, slipway.SessionID, slipway.AppID) (link.Tokens, error)
	hold  time.Duration // how long a viewer waits for a core that is away

	mu      sync.Mutex
	entries map[tokenKey]*tokenEntry
}

type tokenKey struct {
	sid slipway.SessionID
	app slipway.AppID
}

// tokenEntry is a slot in which at most one question is under way.
type tokenEntry struct {
	busy  chan struct{} // holds one token while somebody asks
	id    *identity     // guarded by the cache's mu, as are the times
	used  time.Time
	after time.Time // no renewal before: the core did not answer the last one
}

func newTokenCache(fetch func(context.Context, slipway.SessionID, slipway.AppID) (link.Tokens, error), hold time.Duration) *tokenCache {
	return &tokenCache{fetch: fetch, hold: hold, entries: map[tokenKey]*tokenEntry{}}
}

// identity returns what the app is told. While the core is away, tokens serve
// until they expire; without any the core is waited for: an app that took its
// viewer for nobody would show the wrong thing.
func (c *tokenCache) identity(ctx context.Context, sid slipway.SessionID, app slipway.AppID, p *link.Person) (*identity, error) {
	key, now := tokenKey{sid, app}, time.Now()
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		e = &tokenEntry{busy: make(chan struct{}, 1)}
		c.entries[key] = e
	}
	e.used = now
	id, after := e.id, e.after
	c.mu.Unlock()
	switch {
	case fresh(id, p, now):
		return id, nil
	case serves(id, p, now):
		return c.renew(ctx, e, key, p, id, after)
	}
	ctx, cancel := context.WithTimeout(ctx, c.hold)
	defer cancel()
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
	case <-ctx.Done():
		return nil, errs.Wrap(ctx.Err(), errs.KindUnavailable, "the core does not say who the viewer is")
	}
	c.mu.Lock()
	id = e.id // another request may have asked meanwhile
	c.mu.Unlock()
	if serves(id, p, now) {
		return id, nil
	}
	t, err := patiently(ctx, func(ctx context.Context) (link.Tokens, error) { return c.fetch(ctx, sid, app) })
	if err != nil {
		return nil, err
	}
	return c.keep(e, newIdentity(p, t)), nil
}

// renew replaces tokens that still serve: one request asks, and waits only a
// moment for the answer.
func (c *tokenCache) renew(ctx context.Context, e *tokenEntry, key tokenKey, p *link.Person, id *identity, after time.Time) (*identity, error) {
	if time.Now().Before(after) {
		return id, nil
	}
	select {
	case e.busy <- struct{}{}:
		defer func() { <-e.busy }()
	default:
		return id, nil
	}
	ctx, cancel := context.WithTimeout(ctx, renewWait)
	defer cancel()
	t, err := c.fetch(ctx, key.sid, key.app)
	if errs.Is(err, errs.KindUnavailable) {
		c.mu.Lock()
		e.after = time.Now().Add(renewAgain)
		c.mu.Unlock()
		return id, nil
	}
	if err != nil {
		return nil, err
	}
	return c.keep(e, newIdentity(p, t)), nil
}

func (c *tokenCache) keep(e *tokenEntry, id *identity) *identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.id, e.after = id, time.Time{}
	return id
}

// patiently repeats a question to a core that is away, until ctx ends: where
// the core is one pod, it is away whenever that is replaced.
func patiently[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	again := loop.Backoff{Min: 20 * time.Millisecond, Max: 250 * time.Millisecond}
	for {
		v, err := ask(ctx)
		if !errs.Is(err, errs.KindUnavailable) || again.Wait(ctx) != nil {
			return v, err
		}
	}
}

// serves reports whether an app can still be told so; fresh, whether it need
// not be asked for anew.
func serves(id *identity, p *link.Person, now time.Time) bool {
	return id != nil && now.Before(id.expires) && samePerson(&id.person, p)
}

func fresh(id *identity, p *link.Person, now time.Time) bool {
	return serves(id, p, now.Add(renewBefore))
}

// sweep forgets what was not used for an hour.
func (c *tokenCache) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, e := range c.entries {
		if now.Sub(e.used) > time.Hour && len(e.busy) == 0 {
			delete(c.entries, k)
		}
	}
}

// identityFailed answers when the core would not, or could not, say who the viewer is.
func (s *Server) identityFailed(w http.ResponseWriter, r *http.Request, x *exchange, err error) {
	switch errs.KindOf(err) {
	case errs.KindUnavailable:
		s.away(w, r)
	case errs.KindUnauthenticated, errs.KindNotFound, errs.KindDenied:
		s.askSignIn(w, r, x) // the session has ended, and the table does not have it yet
	default:
		s.Log.ErrorContext(r.Context(), "the viewer's tokens could not be had", "error", err)
		s.page(w, r, http.StatusBadGateway, view{Title: "Something went wrong", Text: "The platform could not tell this app who you are. Try again.", RequestID: x.id})
	}
}

// scrub removes from a request everything by which a client could pass for
// the gateway, in every spelling: an underscore is a dash to WSGI.
func scrub(h http.Header) {
	for name := range h {
		if strings.ContainsRune(name, '_') || reservedHeader(name) {
			delete(h, name)
		}
	}
}

func reservedHeader(name string) bool {
	switch name {
	case userData, "Forwarded", "X-Request-Id", "X-Real-Ip", "Remote-User", "X-Remote-User", "Proxy",
		"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "X-Script-Name", "Trailer":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded") || strings.HasPrefix(name, "X-Slipway") || strings.HasPrefix(name, "X-Auth-Request")
}

// appCookies rebuilds the Cookie header for an app: without ours, and with
// the identity's.
func appCookies(h http.Header, id *identity) {
	var b strings.Builder
	for _, line := range h["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.Trim(part, " \t")
			if part == "" || claimsIdentity(part) {
				continue
			}
			if b.Len() > 0 {
				b.WriteString("; ")
			}
			b.WriteString(part)
		}
	}
	if id != nil {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(id.cookies)
	}
	if b.Len() == 0 {
		delete(h, "Cookie")
		return
	}
	h["Cookie"] = []string{b.String()}
}

// claimsIdentity reports whether any server could read a reserved cookie in
// what stands between two semicolons: Python's http.cookies lets white space
// part cookies too, older ones commas.
func claimsIdentity(part string) bool {
	name, _, _ := strings.Cut(part, "=")
	if reservedCookie(strings.Trim(name, " \t")) {
		return true
	}
	return slices.ContainsFunc(strings.FieldsFunc(part, func(r rune) bool { return r <= ' ' || r == ',' }), func(field string) bool {
		name, _, ok := strings.Cut(field, "=")
		return ok && reservedCookie(name)
	})
}

// reservedCookie: names that are the platform's, whoever sends or sets them.
func reservedCookie(name string) bool {
	name = strings.ToLower(name)
	if name == "kcidtoken" || name == "kctoken" {
		return true
	}
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__host-"), "__secure-")
	return strings.HasPrefix(name, "slipway")
}
