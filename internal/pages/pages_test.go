package pages_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/pages"
	"slipway.dev/slipway/internal/session"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/web"
)

const (
	good     = "correct-horse-battery"
	document = "the web UI"
)

// world is both hosts on one server, and a base host that takes sessions as a
// gateway does.
type world struct {
	*people.Service
	hosts   slipway.Hosts
	addr    string
	options pages.Options
	brand   slipway.Branding
	admin   context.Context //nolint:containedctx // in which the administrator acts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "slipway.db"))
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	box, err := secret.OpenBox(filepath.Join(dir, "key"))
	ok(t, err)
	w := &world{}
	var auth, manage http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		switch kind, _ := w.hosts.Kind(host); kind {
		case slipway.HostAuth:
			auth.ServeHTTP(rw, r)
		case slipway.HostAPI:
			manage.ServeHTTP(rw, r)
		default:
			if r.URL.Path == "/_slipway/session" {
				if bound, again := session.Bound(r, w.hosts, r.URL.Query().Get("state")); !bound && !again {
					to := w.hosts.Scheme + "://" + r.Host + r.URL.Query().Get("to")
					http.Redirect(rw, r, session.Handoff(rw, r, w.hosts, to, true), http.StatusFound)
					return
				}
				if _, _, err := w.Exchange(r.Context(), r.URL.Query().Get("code"), host); err != nil {
					rw.WriteHeader(http.StatusBadRequest)
					return
				}
			}
			fmt.Fprintf(rw, "app at %s%s", host, r.URL.Query().Get("to"))
		}
	}))
	t.Cleanup(srv.Close)
	w.addr = srv.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(w.addr)
	w.hosts = slipway.Hosts{Scheme: "http", Base: "slipway.localhost", Port: port}
	log := slog.New(slog.DiscardHandler)
	w.Service = people.New(people.Options{DB: db, Box: box, Hub: link.NewHub(w.hosts, log), Hosts: w.hosts, Log: log})
	ok(t, w.Load(t.Context()))
	w.options = pages.Options{
		People: w.Service, Brand: func(context.Context) (slipway.Branding, error) { return w.brand, nil }, Hosts: w.hosts, Log: log,
		UI: web.New(fstest.MapFS{"index.html": {Data: []byte(document)}, "assets/a.js": {Data: []byte("script")}}),
	}
	auth, manage = pages.Auth(w.options), pages.Manage(w.options)
	root, err := w.Bootstrap(t.Context(), "admin", secret.New(good))
	ok(t, err)
	w.admin = slipway.WithActor(t.Context(), slipway.Actor{User: &root})
	for name, roles := range map[string][]slipway.Role{"alice": {slipway.RoleLicensed}, "carol": nil} {
		_, err = w.Create(w.admin, people.CreateUser{Name: name, Password: secret.New(good), Roles: roles})
		ok(t, err)
	}
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// browser has cookies and follows redirects.
type browser struct {
	w *world
	c *http.Client
}

func (w *world) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, w.addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &browser{w, &http.Client{Jar: jar, Transport: tr}}
}

type answer struct {
	status int
	url    string
	text   string
	header http.Header
}

func (b *browser) do(t *testing.T, method, target string, form url.Values, header ...string) answer {
	t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	ok(t, err)
	req.Header.Set("X-Forwarded-For", "198.51.100.9, 192.0.2.44")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := b.c.Do(req)
	ok(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ok(t, err)
	return answer{res.StatusCode, res.Request.URL.String(), string(text), res.Header}
}

func (b *browser) get(t *testing.T, target string) answer {
	t.Helper()
	return b.do(t, http.MethodGet, target, nil)
}

func (b *browser) signIn(t *testing.T, name, password, target string) answer {
	t.Helper()
	a := b.get(t, target)
	form := url.Values{"username": {name}, "password": {password}, "to": {field(a.text, "to")}, "state": {field(a.text, "state")}}
	return b.do(t, http.MethodPost, b.w.hosts.Auth()+"/login", form)
}

// field is the value of a form's hidden field.
func field(text, name string) string {
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return html.UnescapeString(m[1])
}

func wants(t *testing.T, a answer, status int, parts ...string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("%s: status %d, want %d\n%s", a.url, a.status, status, a.text)
	}
	for _, p := range parts {
		if !strings.Contains(a.text, p) {
			t.Fatalf("%s does not show %q:\n%s", a.url, p, a.text)
		}
	}
}

func TestSignInToPortal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.brand = slipway.Branding{Name: "Orchard", Accent: "#ffd400", Logo: "v7"}
	b := w.browser(t)
	a := b.get(t, w.hosts.API()+"/")
	wants(t, a, 200, "Sign in", "the Portal", "· Orchard</title>", w.hosts.API()+"/v1/branding/logo?v=v7")
	light, dark := w.brand.Shades()
	wants(t, b.get(t, w.hosts.Auth()+"/_slipway/brand.css"), 200, "--accent: "+light, "--accent: "+dark)
	if !strings.HasPrefix(a.url, w.hosts.Auth()+"/login?") {
		t.Fatalf("at %s", a.url)
	}
	csp := a.header.Get("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
		!strings.Contains(csp, "form-action 'self' "+w.hosts.API()) {
		t.Errorf("policy: %s", csp)
	}
	for _, inline := range []string{"<script", "<style", " style=", " onclick="} {
		if strings.Contains(a.text, inline) {
			t.Errorf("the page holds %s, which its policy forbids", inline)
		}
	}
	style := regexp.MustCompile(`href="(/_slipway/style-[^"]+)"`).FindStringSubmatch(a.text)
	wants(t, b.get(t, w.hosts.Auth()+style[1]), 200, "prefers-color-scheme: dark")

	a = b.signIn(t, "alice", "wrong", w.hosts.API()+"/portal")
	wants(t, a, 401, "Wrong user name or password.", `value="alice"`)
	if field(a.text, "to") != w.hosts.API()+"/portal" {
		t.Errorf("the target is lost: %q", field(a.text, "to"))
	}
	a = b.signIn(t, "alice", good, w.hosts.API()+"/portal?q=x")
	wants(t, a, 200, document)
	if a.url != w.hosts.API()+"/portal?q=x" || b.who(t) != "alice" {
		t.Errorf("at %s as %s", a.url, b.who(t))
	}
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self';") {
		t.Errorf("policy: %s", csp)
	}
	for from, end := range map[string]string{"/": "/portal", "/apps": "/apps", "/apps/iris/logs?process=web": "/apps/iris/logs?process=web", "/profile": "/profile", "/admin/users": "/admin/users"} {
		if a = b.get(t, w.hosts.API()+from); a.status != 200 || a.text != document || a.url != w.hosts.API()+end {
			t.Errorf("%s: %d at %s", from, a.status, a.url)
		}
	}
	wants(t, w.browser(t).get(t, w.hosts.API()+"/assets/a.js"), 200, "script")
	wants(t, b.get(t, pages.SignInPage(w.hosts, w.hosts.Auth()+"/x", true)), 200, "sign in again", `value="alice"`)
	if a = b.get(t, pages.SignInPage(w.hosts, w.hosts.API()+"/portal", false)); a.url != w.hosts.API()+"/portal" {
		t.Errorf("whoever has signed in is asked again, at %s", a.url)
	}

	// Once signed in, another host costs no password.
	a = b.get(t, w.hosts.Auth()+"/login/handoff?to="+url.QueryEscape(w.hosts.Apps()+"/iris/x?a=b"))
	wants(t, a, 200, "app at slipway.localhost/iris/x?a=b")
	a = b.get(t, w.hosts.Auth()+"/login/handoff?to="+url.QueryEscape(w.hosts.App("own", true)))
	wants(t, a, 200, "app at own-slipway.localhost/own/")
	wants(t, b.get(t, w.hosts.API()+"/nowhere"), 404, "Not found", "req_")

	// Asked silently, a browser comes back with a code or without, and sees no page of ours.
	for who, b := range map[string]*browser{"alice": b, "": w.browser(t)} {
		c := *b.c
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		state := strings.Repeat("s", 43)
		a := (&browser{w, &c}).get(t, w.hosts.Auth()+"/login/handoff?"+url.Values{"to": {w.hosts.Apps() + "/open/"}, "state": {state}, "silent": {"1"}}.Encode())
		back, err := url.Parse(a.header.Get("Location"))
		ok(t, err)
		q := back.Query()
		if back.Path != "/_slipway/session" || q.Get("state") != state || !q.Has("silent") || q.Has("code") != (who != "") {
			t.Errorf("%q is sent to %s", who, back)
		}
	}

	// Sign-out asks first, and ends it everywhere.
	wants(t, b.get(t, w.hosts.Auth()+"/logout"), 200, "Sign out?")
	wants(t, b.get(t, w.hosts.API()+"/portal"), 200)
	wants(t, b.do(t, http.MethodPost, w.hosts.Auth()+"/logout", url.Values{}), 200, "You are signed out.")
	a = b.get(t, w.hosts.API()+"/portal")
	wants(t, a, 200, "Sign in")
	if !strings.HasPrefix(a.url, w.hosts.Auth()+"/login") {
		t.Errorf("still in at %s", a.url)
	}
	b.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a = b.get(t, w.hosts.API()+"/portal")
	to, err := url.Parse(a.header.Get("Location"))
	ok(t, err)
	a = b.get(t, w.hosts.API()+"/_slipway/session?code=none&to=/portal&state="+to.Query().Get("state"))
	wants(t, a, 400, "has expired", "Sign in again")
}

// Somebody else's sign-in link must not sign a browser in that did not ask.
func TestHandoffIsBoundToTheBrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mallory, victim := w.browser(t), w.browser(t)
	at := w.hosts.API() + "/_slipway/session?"
	wants(t, mallory.signIn(t, "carol", good, w.hosts.API()+"/portal"), 200)
	mallory.c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	link := func() string { // with mallory's own state
		a := mallory.get(t, w.hosts.Auth()+"/login/handoff?"+url.Values{"to": {w.hosts.API() + "/portal"}, "state": {stateOf(t, mallory)}}.Encode())
		wants(t, a, 303)
		return a.header.Get("Location")
	}
	if !strings.HasPrefix(link(), at) || !strings.Contains(link(), "code=") {
		t.Fatalf("got %s", link())
	}
	// A host that did not ask gets no code, but is told to ask.
	a := mallory.get(t, w.hosts.Auth()+"/login/handoff?to="+url.QueryEscape(w.hosts.API()+"/portal"))
	if got := a.header.Get("Location"); got != at+"to=%2Fportal" {
		t.Errorf("got %s", got)
	}
	for range 2 { // the second time the victim's browser has a cookie of its own
		a = victim.get(t, link())
		wants(t, a, 200, "Sign in")
		if !strings.HasPrefix(a.url, w.hosts.Auth()+"/login?") {
			t.Errorf("at %s", a.url)
		}
	}
	wants(t, victim.signIn(t, "alice", good, w.hosts.API()+"/portal"), 200, document)
	wants(t, victim.get(t, link()), 200, document)
	if victim.who(t) != "alice" {
		t.Errorf("the victim is %s", victim.who(t))
	}

	// A browser that keeps no cookies of this host is not sent around for ever.
	wants(t, w.browser(t).get(t, strings.Replace(link(), "&to=", ".2&to=", 1)), 400, "did not send back the cookie", "Sign in again")
	// Two tabs at once both come back.
	tabs := w.browser(t)
	one, two := tabs.get(t, w.hosts.API()+"/portal?q=one"), tabs.get(t, w.hosts.API()+"/portal?q=two")
	for _, tab := range []answer{one, two} {
		form := url.Values{"username": {"alice"}, "password": {good}, "to": {field(tab.text, "to")}, "state": {field(tab.text, "state")}}
		a := tabs.do(t, http.MethodPost, w.hosts.Auth()+"/login", form)
		wants(t, a, 200, document)
		if a.url != field(tab.text, "to") || tabs.who(t) != "alice" {
			t.Errorf("at %s", a.url)
		}
	}
}

// who is signed in on the management host.
func (b *browser) who(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(b.w.hosts.API())
	ok(t, err)
	for _, c := range b.c.Jar.Cookies(u) {
		if c.Name == "slipway-api" {
			a, err := b.w.ActorFromAPICookie(t.Context(), c.Value)
			ok(t, err)
			return a.Name()
		}
	}
	return ""
}

// stateOf is the state of a browser that the management host sent to sign in.
func stateOf(t *testing.T, b *browser) string {
	t.Helper()
	u, err := url.Parse(b.w.hosts.API())
	ok(t, err)
	for _, c := range b.c.Jar.Cookies(u) {
		if c.Name == "slipway-handoff" {
			sum := sha256.Sum256([]byte(c.Value))
			return base64.RawURLEncoding.EncodeToString(sum[:])
		}
	}
	t.Fatal("no cookie")
	return ""
}

func TestStrangersTargets(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser(t)
	wants(t, b.signIn(t, "alice", good, w.hosts.API()+"/portal"), 200)
	port := w.hosts.Port
	for _, to := range []string{
		"", "https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/portal",
		"http://slipway.localhost.evil.example:" + port + "/", "http://slipway.localhost:" + port + "@evil.example/",
		"http://slipway.localhost:1/", "https://slipway.localhost:" + port + "/", "http://a.b-slipway.localhost:" + port + "/",
		"http://git-slipway.localhost:" + port + "/", "http://slipway.localhost:" + port + "\\@evil.example/",
		"http://slipway.localhost:" + port + "/\r\nX: y", "http://evilslipway.localhost:" + port + "/", "http:slipway.localhost",
	} {
		a := b.get(t, w.hosts.Auth()+"/login/handoff?to="+url.QueryEscape(to))
		wants(t, a, 400, "not one of this platform")
		fresh := w.browser(t)
		a = fresh.get(t, w.hosts.Auth()+"/login?to="+url.QueryEscape(to))
		if got := field(a.text, "to"); got != "" {
			t.Errorf("%q: the form holds %q", to, got)
		}
		a = fresh.do(t, http.MethodPost, w.hosts.Auth()+"/login", url.Values{"username": {"alice"}, "password": {good}, "to": {to}})
		if a.url != w.hosts.API()+"/portal" {
			t.Errorf("%q: led to %s", to, a.url)
		}
	}
	for _, to := range []string{"//evil.example/", "https://evil.example/", "/\\evil.example"} {
		code := codeFor(t, w, b)
		a := b.get(t, w.hosts.API()+"/_slipway/session?"+url.Values{"code": {code}, "to": {to}, "state": {stateOf(t, b)}}.Encode())
		if a.url != w.hosts.API()+"/portal" {
			t.Errorf("%q: led to %s", to, a.url)
		}
	}
}

// codeFor makes a one-time code for the management host.
func codeFor(t *testing.T, w *world, b *browser) string {
	t.Helper()
	u, err := url.Parse(w.hosts.Auth())
	ok(t, err)
	a, err := w.Session(t.Context(), b.c.Jar.Cookies(u)[0].Value)
	ok(t, err)
	code, err := w.Handoff(t.Context(), a.Session, "api-slipway.localhost")
	ok(t, err)
	return code
}

// What people keep as a bookmark leads to the web UI.
func TestAccountIsInTheUI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser(t)
	wants(t, b.signIn(t, "alice", good, w.hosts.API()+"/portal"), 200, document)
	for _, from := range []string{w.hosts.Auth() + "/", w.hosts.Auth() + "/account", w.hosts.API() + "/account"} {
		if a := b.get(t, from); a.url != w.hosts.API()+"/profile" || a.text != document {
			t.Errorf("%s led to %s", from, a.url)
		}
	}
}

// Pages of other hosts, our own included, must not write with the browser's
// cookies: apps are same-site with us.
func TestWritesFromElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser(t)
	wants(t, b.signIn(t, "alice", good, w.hosts.API()+"/portal"), 200)
	for _, path := range []string{"/login", "/logout"} {
		for _, from := range []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Site: cross-site"} {
			a := b.do(t, http.MethodPost, w.hosts.Auth()+path, url.Values{"username": {"alice"}, "password": {good}}, from)
			wants(t, a, 403, "page of another site")
		}
		a := b.do(t, http.MethodPost, w.hosts.Auth()+path, url.Values{}, "Sec-Fetch-Site: ", "Origin: "+w.hosts.Apps())
		wants(t, a, 403)
	}
	wants(t, b.get(t, w.hosts.Auth()+"/logout"), 200, "Sign out?") // still in
}

func TestBackOffIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.browser(t)
	var a answer
	for range 12 { // the wait doubles: a slow machine gets there too
		if a.status == http.StatusTooManyRequests {
			break
		}
		a = b.signIn(t, "alice", "wrong", w.hosts.API()+"/portal")
	}
	wants(t, a, 429, "Too many failed sign-ins: try again in", "seconds")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// With TLS the cookies are ones that no other host can set.
func TestCookies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options
	o.Hosts = slipway.Hosts{Scheme: "https", Base: "slipway.localhost", Port: w.hosts.Port}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://auth-slipway.localhost/login",
		strings.NewReader(url.Values{"username": {"alice"}, "password": {good}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	pages.Auth(o).ServeHTTP(rec, r)
	c := rec.Result().Cookies()
	if len(c) != 1 || c[0].Name != "__Host-slipway-auth" || !c[0].Secure || !c[0].HttpOnly || c[0].Domain != "" || c[0].Path != "/" ||
		c[0].SameSite != http.SameSiteLaxMode {
		t.Errorf("got %+v", c)
	}
}
