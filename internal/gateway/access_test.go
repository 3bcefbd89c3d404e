package gateway_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
)

const origin = "http://" + base

func TestWhoMayOpen(t *testing.T) {
	r := start(t)
	r.app("open", echo)
	r.app("members", echo)
	r.route("members", func(x *link.Route) { x.Access = slipway.AccessAuthenticated })
	r.app("secret", echo)
	r.restrict("secret")
	r.app("shared", echo)
	r.restrict("shared")
	r.route("shared", func(x *link.Route) { x.Viewers = []slipway.UserID{"user_bob"} })
	r.app("odd", echo)
	r.route("odd", func(x *link.Route) { x.Access = "" })

	for _, c := range []struct {
		app  string
		want map[string]int // by person
	}{
		{"open", map[string]int{"": 200, "bob": 200, "alice": 200, "admin": 200}},
		{"members", map[string]int{"": 302, "bob": 200, "alice": 200, "admin": 200}},
		{"secret", map[string]int{"": 302, "bob": 404, "alice": 200, "admin": 200}},
		{"shared", map[string]int{"": 302, "bob": 200, "alice": 200, "admin": 200}},
		{"odd", map[string]int{"": 302, "bob": 404, "alice": 404, "admin": 404}},
		{"none", map[string]int{"": 302, "bob": 404, "alice": 404, "admin": 404}},
	} {
		for who, want := range c.want {
			headers := []string{page}
			if who != "" {
				headers = append(headers, as(who, base))
			}
			if got := r.ask("GET", origin+"/"+c.app+"/x", headers...); got.StatusCode != want {
				t.Errorf("%s as %q: %d, not %d", c.app, who, got.StatusCode, want)
			}
		}
	}
}

// random is a nonce that a browser gets before it signs in, and its hash.
var random = regexp.MustCompile(`\b(slipway-handoff=|state=)[A-Za-z0-9_-]{43}`)

// What is not there and what may not be opened answer with the same bytes.
func TestExistenceIsHidden(t *testing.T) {
	r := start(t)
	r.app("secret", echo)
	r.restrict("secret")
	r.app("paused", echo)
	r.restrict("paused")
	r.route("paused", func(x *link.Route) { x.State, x.Targets, x.Isolated = slipway.AppPaused, nil, true })
	dump := func(a answer) string {
		a.Header.Del("X-Request-Id")
		a.Header.Del("Date")
		return random.ReplaceAllString(fmt.Sprint(a.StatusCode, a.Header, a.body), "RANDOM")
	}
	for _, headers := range [][]string{
		{page},
		{page, asked},
		{"Accept: application/json"},
		{page, "Sec-Fetch-Mode: cors"},
		{page, as("bob", base)},
		{as("bob", base)},
		{"Connection: Upgrade", "Upgrade: websocket"},
	} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS"} {
			for _, path := range []string{"/", "/deep/x?y=z", ""} {
				want := strings.ReplaceAll(dump(r.ask(method, origin+"/absent"+path, headers...)), "absent", "NAME")
				for _, app := range []string{"secret", "paused"} {
					got := strings.ReplaceAll(dump(r.ask(method, origin+"/"+app+path, headers...)), app, "NAME")
					if got != want {
						t.Errorf("%s %s %v:\n%s\n%s", method, app+path, headers, got, want)
					}
				}
			}
		}
	}
}

func TestAskingToSignIn(t *testing.T) {
	r := start(t)
	r.app("secret", echo)
	r.restrict("secret")
	for _, c := range []struct {
		method  string
		headers []string
		want    int
	}{
		{"GET", []string{page}, 302},
		{"GET", []string{"Sec-Fetch-Mode: navigate"}, 302},
		{"HEAD", []string{page}, 302},
		{"GET", []string{page, "Sec-Fetch-Mode: cors"}, 401},
		{"GET", []string{page, "X-Requested-With: XMLHttpRequest"}, 401},
		{"GET", []string{"Accept: */*"}, 401},
		{"POST", []string{page, "Sec-Fetch-Mode: navigate"}, 401},
		{"POST", nil, 401},
	} {
		got := r.ask(c.method, origin+"/secret/a%20b?x=1&y=2", c.headers...)
		if got.StatusCode != c.want {
			t.Errorf("%s %v: %d, not %d", c.method, c.headers, got.StatusCode, c.want)
			continue
		}
		if c.want == 401 {
			if ct := got.Header.Get("Content-Type"); ct != "application/problem+json" {
				t.Error("401 with", ct)
			}
			continue
		}
		u, err := url.Parse(got.Header.Get("Location"))
		if err != nil || u.Host != "auth-"+base || u.Path != "/login/handoff" || u.Query().Get("to") != origin+"/secret/a%20b?x=1&y=2" {
			t.Error(got.Header.Get("Location"))
		}
		if c := got.Cookies(); len(c) != 1 || u.Query().Get("state") != stateOf(c[0].Value) {
			t.Error("not bound to the browser:", got.Header)
		}
	}
}

func TestSessions(t *testing.T) {
	r := start(t)
	r.app("secret", echo)
	r.restrict("secret")
	open := func(cookie string) int { return r.ask("GET", origin+"/secret/", cookie).StatusCode }
	alice := as("alice", base)
	for cookie, want := range map[string]int{
		alice: 200,
		"Cookie: a=b; slipway-session=" + token("ses_alice", "user_alice", 1, base) + "; c=d": 200,
		as("alice", "other-"+base): 401, // another host's
		"Cookie: slipway-session=" + token("ses_x", "user_alice", 0, base):            401, // an old epoch
		"Cookie: slipway-session=" + token("ses_x", "user_gone", 1, base):             401,
		"Cookie: slipway-session=forged|ses_x|user_alice|1|" + base:                   401,
		"Cookie: __Host-slipway-session=" + token("ses_alice", "user_alice", 1, base): 401, // not the name over HTTP
		"Authorization: Bearer " + token("ses_alice", "user_alice", 1, base):          401,
		"X-Forwarded-User: alice": 401,
		"Cookie: slipway-session=" + token("ses_alice", "user_alice", 1, base) + "; a=b;;": 200,
	} {
		if got := open(cookie); got != want {
			t.Errorf("%s: %d, not %d", cookie, got, want)
		}
	}
	r.change(func(p *link.Policy) { p.Revoked["ses_alice"] = time.Now().Add(time.Hour) })
	if got := open(alice); got != 401 {
		t.Error("a revoked session opens the app:", got)
	}
	r.change(func(p *link.Policy) { p.Revoked = nil })
	r.denied.Store(true)
	r.change(func(p *link.Policy) { p.People["user_alice"] = link.Person{Name: "alicia", Epoch: 1} }) // renewed tokens
	if got := open(alice); got != 401 {
		t.Error("a session that the core ended opens the app:", got)
	}
	r.denied.Store(false)
	r.silent.Store(int64(20 * time.Minute))
	if got := open(alice); got != 503 {
		t.Error("sessions count though the core is away for too long:", got)
	}
	r.app("open", echo)
	if got := r.ask("GET", origin+"/open/", alice); got.StatusCode != 200 || got.Header.Get("Got-X-Forwarded-User") != "" {
		t.Error("an open app while the core is away:", got.Status, got.Header)
	}
}

// nonce is what a gateway has left in a browser that it sent to sign in.
const nonce = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"

var asked, bound = "Cookie: slipway-handoff=" + nonce, "&state=" + stateOf(nonce)

func stateOf(nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Somebody else's sign-in link must not sign a browser in that did not ask.
func TestHandoffIsBoundToTheBrowser(t *testing.T) {
	r := start(t)
	const link = origin + "/_slipway/session?code=good&to=/iris/"
	for _, c := range []struct{ state, cookie string }{
		{"", "Cookie: a=b"},
		{"", asked},
		{stateOf(nonce), "Cookie: a=b"},
		{stateOf("mallory"), asked},
		{stateOf(nonce), "Cookie: __Host-slipway-handoff=" + nonce},
		{"x", asked},
		{stateOf(""), "Cookie: slipway-handoff="},
	} {
		got := r.ask("GET", link+"&state="+c.state, c.cookie)
		u, err := url.Parse(got.Header.Get("Location"))
		if err != nil || got.StatusCode != 302 || u.Host != "auth-"+base || u.Query().Get("to") != origin+"/iris/" {
			t.Fatalf("%+v: %s %v", c, got.Status, got.Header)
		}
		set := got.Cookies()
		if len(set) != 1 || set[0].Name != "slipway-handoff" || !set[0].HttpOnly || set[0].SameSite != http.SameSiteLaxMode ||
			set[0].Path != "/" || set[0].Domain != "" || set[0].MaxAge != 600 {
			t.Fatalf("%+v: %v", c, set)
		}
		if (c.cookie == asked) != (set[0].Value == nonce) {
			t.Errorf("%+v: other tabs do not come back: %v", c, set)
		}
		state := u.Query().Get("state")
		if state != stateOf(set[0].Value)+".2" {
			t.Errorf("state %q", state)
		}
		// In vain again: no third time.
		got = r.ask("GET", link+"&state="+state, page)
		if got.StatusCode != 400 || len(got.Cookies()) != 0 || !strings.Contains(got.body, "cookie") || !strings.Contains(got.body, "Sign in again") {
			t.Errorf("%+v: %s %s", c, got.Status, got.body)
		}
		got = r.ask("GET", link+"&state="+state, "Cookie: slipway-handoff="+set[0].Value)
		if c := got.Cookies(); got.StatusCode != 302 || len(c) != 1 || c[0].Name != "slipway-session" {
			t.Errorf("the second time: %s %v", got.Status, got.Header)
		}
	}
}

// Whoever has signed in elsewhere is known to a public app too; everybody else
// opens it after one look at the sign-in host.
func TestPublicAppsAskSilently(t *testing.T) {
	r := start(t)
	r.app("open", echo)
	tab := []string{page, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}
	got := r.ask("GET", origin+"/open/x?a=b", tab...)
	u, err := url.Parse(got.Header.Get("Location"))
	set := got.Cookies()
	if err != nil || got.StatusCode != 302 || u.Host != "auth-"+base || u.Query().Get("to") != origin+"/open/x?a=b" || !u.Query().Has("silent") || len(set) != 1 {
		t.Fatal(got.Status, got.Header)
	}
	back := origin + "/_slipway/session?silent=1&to=%2Fopen%2Fx%3Fa%3Db&state=" + u.Query().Get("state")
	cookie := "Cookie: " + set[0].Name + "=" + set[0].Value
	for _, c := range []struct{ what, link, cookie, to, session string }{
		{"nobody has signed in", back, cookie, "/open/x?a=b", ""},
		{"somebody has", back + "&code=good", cookie, "/open/x?a=b", "slipway-session"},
		{"the code is stale", back + "&code=bad", cookie, "/open/x?a=b", ""},
		{"no cookies are kept", back, "Cookie: a=b", "/open/x?a=b&_slipway=anonymous", ""},
		{"somebody else's link", back + "&code=good", "Cookie: a=b", "/open/x?a=b&_slipway=anonymous", ""},
	} {
		got := r.ask("GET", c.link, page, c.cookie)
		var session string
		for _, k := range got.Cookies() {
			session = k.Name
		}
		if got.StatusCode != 302 || got.Header.Get("Location") != c.to || session != c.session {
			t.Errorf("%s: %s %v", c.what, got.Status, got.Header)
		}
	}
	for what, headers := range map[string][]string{
		"asked a moment ago":  append([]string{cookie}, tab...),
		"a frame":             {page, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"},
		"a script":            {"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"},
		"no browser":          {page},
		"somebody in session": append([]string{as("bob", base)}, tab...),
	} {
		if got := r.ask("GET", origin+"/open/x", headers...); got.StatusCode != 200 {
			t.Errorf("%s: %s", what, got.Status)
		}
	}
	if got := r.ask("POST", origin+"/open/x", tab...); got.StatusCode != 200 {
		t.Error("a form is not sent away:", got.Status)
	}
	for query, want := range map[string]string{"?_slipway=anonymous": "/x", "?a=b&_slipway=anonymous": "/x?a=b"} {
		if got := r.ask("GET", origin+"/open/x"+query, tab...); got.StatusCode != 200 || got.Header.Get("X-Uri") != want {
			t.Errorf("%s: %s, the app sees %q", query, got.Status, got.Header.Get("X-Uri"))
		}
	}
	r.silent.Store(int64(time.Hour))
	if got := r.ask("GET", origin+"/open/x", tab...); got.StatusCode != 200 {
		t.Error("the core is away:", got.Status)
	}
}

func TestBeginAndEndOfASession(t *testing.T) {
	r := start(t)
	isolated := "http://iris-" + base
	for _, o := range []string{origin, isolated} {
		got := r.ask("GET", o+"/_slipway/session?code=good&to=%2Firis%2Fa%3Fb%3Dc"+bound, asked)
		if got.StatusCode != 302 || got.Header.Get("Location") != "/iris/a?b=c" {
			t.Error(got.Status, got.Header)
		}
		c := got.Cookies()
		host := strings.TrimPrefix(o, "http://")
		if len(c) != 1 || c[0].Name != "slipway-session" || c[0].Value != token("ses_new", "user_bob", 1, host) || !c[0].HttpOnly ||
			c[0].Path != "/" || c[0].Domain != "" || c[0].SameSite != http.SameSiteLaxMode || c[0].MaxAge < 3000 {
			t.Error(c)
		}
	}
	for _, to := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "", "/%0d%0aX:y"} {
		got := r.ask("GET", origin+"/_slipway/session?code=good&to="+url.QueryEscape(to)+bound, asked)
		if l := got.Header.Get("Location"); l != "/" && l != "/%0d%0aX:y" {
			t.Errorf("sent to %q for %q", l, to)
		}
	}
	if got := r.ask("GET", origin+"/_slipway/session?code=bad"+bound, page, asked); got.StatusCode != 400 || len(got.Cookies()) != 0 {
		t.Error("a bad code:", got.Status, got.Cookies())
	}
	r.away.Store(true)
	if got := r.ask("GET", origin+"/_slipway/session?code=good"+bound, page, asked); got.StatusCode != 503 {
		t.Error("without the core:", got.Status)
	}
	got := r.ask("GET", origin+"/_slipway/logout", as("bob", base))
	if c := got.Cookies(); got.Header.Get("Location") != "http://auth-"+base+"/logout" || len(c) != 1 || c[0].MaxAge >= 0 || c[0].Value != "" {
		t.Error(got.Header)
	}
	for _, path := range []string{"/_slipway/", "/_slipway", "/_slipway/other"} {
		if got := r.ask("GET", origin+path); got.StatusCode != 404 {
			t.Error(path, got.Status)
		}
	}
}

func TestSecureCookie(t *testing.T) {
	r := start(t, withTLS)
	got := r.ask("GET", "https://"+base+"/_slipway/session?code=good&to=/x"+bound, "Cookie: __Host-slipway-handoff="+nonce)
	c := got.Cookies()
	if len(c) != 1 || c[0].Name != "__Host-slipway-session" || !c[0].Secure || !c[0].HttpOnly || c[0].Path != "/" || c[0].Domain != "" {
		t.Error(c)
	}
}

func TestRouting(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	r.app("own", echo)
	r.route("own", func(x *link.Route) { x.Isolated = true })
	api := "http://api-" + base
	for _, c := range []struct {
		url, location, uri string
		status             int
	}{
		{origin + "/", api + "/portal", "", 302},
		{origin + "/portal", api + "/portal", "", 302},
		{origin + "/portal/x", api + "/portal", "", 302},
		{origin + "/apps", api + "/apps", "", 302},
		{origin + "/apps/iris?x=1", api + "/apps/iris?x=1", "", 302},
		{origin + "/iris", "/iris/", "", 307},
		{origin + "/iris?a=b", "/iris/?a=b", "", 307},
		{origin + "/iris/", "", "/", 200},
		{origin + "/iris/a/b?c=%2F;x&broken=%zz", "", "/a/b?c=%2F;x&broken=%zz", 200},
		{origin + "/iris/a%20b/%C3%BC", "", "/a%20b/%C3%BC", 200},
		{origin + "/%69ris/a%20b", "", "/a%20b", 200},
		{origin + "/iris/iris/x", "", "/iris/x", 200},
		{origin + "/own/x?y=z", "http://own-" + base + "/own/x?y=z", "", 307},
		{"http://own-" + base + "/own/x", "", "/x", 200},
		{"http://own-" + base + "/x", "", "/x", 200},
		{"http://own-" + base + "/", "", "/", 200},
		{"http://own-" + base + "/own", "/own/", "", 307},
		{"http://OWN-Slipway.Localhost/x", "", "/x", 200},
		{"http://iris-" + base + "/iris/", "", "", 401}, // not isolated: as if it were not there
		{"http://none-" + base + "/", "", "", 401},
		{"http://elsewhere.example/", "", "", 404},
		{"http://admin-" + base + "/", "", "", 404},
		{"http://ws-" + base + "/", "", "", 404},
	} {
		got := r.ask("GET", c.url)
		if got.StatusCode != c.status || got.Header.Get("Location") != c.location || got.Header.Get("X-Uri") != c.uri {
			t.Errorf("%s: %d %q %q", c.url, got.StatusCode, got.Header.Get("Location"), got.Header.Get("X-Uri"))
		}
	}
	if got := r.ask("GET", "http://admin-"+base+"/", page); !strings.Contains(got.body, "not installed") && !strings.Contains(got.body, "Not installed") {
		t.Error(got.body)
	}
	prefix := func(url string) string { return r.ask("GET", url).Header.Get("Got-X-Forwarded-Prefix") }
	if p := prefix(origin + "/iris/"); p != "/iris" {
		t.Errorf("prefix %q", p)
	}
	if p := prefix("http://own-" + base + "/x"); p != "" {
		t.Errorf("prefix %q where none was stripped", p)
	}
}

func TestPlatformHosts(t *testing.T) {
	r := start(t)
	s := r.app("stand-in", echo)
	for _, kind := range []string{"api", "auth", "git", "registry"} {
		host := kind + "-" + base
		r.change(func(p *link.Policy) { p.Platform = map[string]string{kind: "tcp://" + s.Listener.Addr().String()} })
		got := r.send("POST", "http://"+host+"/v1/x?y=%2F", strings.NewReader("data"),
			"X-Forwarded-For: 6.6.6.6", "X-Forwarded-Host: evil", "X-Request-Id: mine", "X_Forwarded_For: 6.6.6.6", "Authorization: Bearer t", "Cookie: slipway-auth=s")
		h := got.Header
		if got.body != "app:data" || h.Get("X-Uri") != "/v1/x?y=%2F" || h.Get("X-Host") != host {
			t.Error(got.body, h)
		}
		if h.Get("Got-X-Forwarded-For") != "127.0.0.1" || h.Get("Got-X-Forwarded-Host") != host || h.Get("Got-X-Forwarded-Proto") != "http" ||
			h.Get("Got-X-Request-Id") == "mine" || h.Get("Got-X-Request-Id") != h.Get("X-Request-Id") || h.Get("Got-X_forwarded_for") != "" {
			t.Error("forwarded headers:", h)
		}
		if h.Get("Got-Authorization") != "Bearer t" || h.Get("Got-Cookie") != "slipway-auth=s" {
			t.Error("credentials for the core were not passed on:", h)
		}
	}
	r.change(func(p *link.Policy) { p.Platform = map[string]string{"api": "unix:///nowhere/core.sock"} })
	if got := r.ask("GET", "http://api-"+base+"/", page); got.StatusCode != 503 || got.Header.Get("Retry-After") == "" {
		t.Error("without the core:", got.Status)
	}
}

func TestClientAddress(t *testing.T) {
	r := start(t, func(o *gateway.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	r.app("iris", echo)
	for sent, want := range map[string]string{
		"":                           "127.0.0.1",
		"1.2.3.4":                    "1.2.3.4",
		"6.6.6.6, 1.2.3.4":           "1.2.3.4",
		"6.6.6.6, 1.2.3.4, 10.1.1.1": "1.2.3.4",
		"nonsense":                   "127.0.0.1",
	} {
		if got := r.ask("GET", origin+"/iris/", "X-Forwarded-For: "+sent).Header.Get("Got-X-Forwarded-For"); got != want {
			t.Errorf("%q: %q, not %q", sent, got, want)
		}
	}
}
