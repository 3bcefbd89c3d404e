package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
)

var b64 = base64.StdEncoding.EncodeToString

func TestIdentity(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	r.restrict("iris")
	h := r.ask("GET", origin+"/iris/", as("alice", base)+"; theme=dark").Header
	for name, want := range map[string]string{
		"X-Forwarded-User": "alice", "X-Forwarded-Email": "alice@example.com", "X-Forwarded-Groups": "licensed_user",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": base, "X-Forwarded-Prefix": "/iris",
		"Cookie": "theme=dark; kcIdToken=" + b64([]byte("id.ses_alice.app_iris")) + "; kcToken=" + b64([]byte("access")),
	} {
		if got := h.Get("Got-" + name); got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
	var data struct {
		Username, Email, Name string
		IsAdmin               bool `json:"is_admin"`
	}
	text := h.Get("Got-Plotly-User-Data")
	if err := json.Unmarshal([]byte(text), &data); err != nil || data.Username != "alice" || data.Name != "Alice Ünal" || data.IsAdmin || strings.Contains(text, "Ü") {
		t.Error(text, err)
	}
	if h.Get("X-Host") != base || len(h["Set-Cookie"]) != 0 {
		t.Error(h)
	}
	if h := r.ask("GET", origin+"/iris/", as("admin", base)).Header; !strings.Contains(h.Get("Got-Plotly-User-Data"), `"is_admin":true`) {
		t.Error("an administrator is not told as one")
	}
}

// Nothing that a client sends passes for the gateway's word.
func TestForgedIdentity(t *testing.T) {
	r := start(t)
	r.app("open", echo)
	forged := []string{
		"X-Forwarded-User: mallory", "x-forwarded-user: mallory", "X_Forwarded_User: mallory", "X-Forwarded_User: mallory", "x_forwarded-email: mallory",
		"X-Forwarded-Email: mallory", "X-Forwarded-Groups: admin", "X-Forwarded-Preferred-Username: mallory", "X-Forwarded-Prefix: /evil",
		"X-Forwarded-Host: evil", "X-Forwarded-Proto: gopher", "X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-Ip: 6.6.6.6",
		`Plotly-User-Data: {"username":"mallory"}`, `plotly_user_data: {"username":"mallory"}`, "Remote-User: mallory", "REMOTE_USER: mallory",
		"X-Remote-User: mallory", "Proxy: evil", "SCRIPT_NAME: /evil", "X-Slipway-User: mallory", "X-Request-Id: mallory",
		"Connection: X-Forwarded-User, Plotly-User-Data, Cookie, X-Forwarded-For, keep-alive",
	}
	for _, who := range []string{"", "alice"} {
		headers := slices.Clone(forged)
		if who != "" {
			headers = append(headers, as(who, base))
		}
		h := r.ask("GET", origin+"/open/", headers...).Header
		for name, values := range h {
			for _, bad := range []string{"mallory", "evil", "6.6.6.6", "gopher"} {
				if strings.Contains(strings.Join(values, ""), bad) {
					t.Errorf("as %q: %s: %q", who, name, values)
				}
			}
			if strings.Contains(name, "_") || strings.Contains(strings.Join(values, ""), "slipway-session") {
				t.Errorf("as %q: %s: %q", who, name, values)
			}
		}
		if got := h.Get("Got-X-Forwarded-User"); got != who {
			t.Errorf("user %q, not %q", got, who)
		}
		// The list in Connection must not take ours away.
		if h.Get("Got-X-Forwarded-For") != "127.0.0.1" || who != "" && (h.Get("Got-Plotly-User-Data") == "" || !strings.Contains(h.Get("Got-Cookie"), "kcIdToken=")) {
			t.Errorf("as %q: %v", who, h)
		}
	}
}

// Cookies have a test of their own: the list in Connection above takes the
// client's away before they are looked at.
func TestForgedCookies(t *testing.T) {
	r := start(t)
	r.app("open", echo)
	for _, forged := range []string{
		"kcIdToken=mallory; kcToken=mallory; KCIDTOKEN=mallory",
		"slipway-session=mallory; __Host-slipway-session=mallory; __Secure-slipway-x=mallory; slipway-auth=mallory",
		"a=b kcIdToken=mallory", "a=b\tkcToken=mallory", "a=b, kcToken=mallory", "a=b  __Host-slipway-session=mallory", `a="b" kcIdToken=mallory`,
	} {
		for _, who := range []string{"", "alice"} {
			headers := []string{"Cookie: ok=1 2; " + forged}
			if who != "" {
				headers = append(headers, as(who, base))
			}
			got := r.ask("GET", origin+"/open/", headers...).Header.Get("Got-Cookie")
			if strings.Contains(got, "mallory") || !strings.HasPrefix(got, "ok=1 2") || strings.Contains(got, "kcIdToken=") != (who != "") {
				t.Errorf("as %q, of %q the app gets %q", who, forged, got)
			}
		}
	}
}

func TestTokensAreKept(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	r.app("other", echo)
	open := func(app string) int { return r.ask("GET", origin+"/"+app+"/", as("alice", base)).StatusCode }
	for range 3 {
		open("iris")
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("asked %d times for one app and session", n)
	}
	open("other")
	if n := r.asked.Load(); n != 2 {
		t.Errorf("asked %d times for two apps", n)
	}
	r.away.Store(true)
	if got := open("iris"); got != 200 {
		t.Error("with kept tokens the core is not needed, but:", got)
	}
	r.app("third", echo)
	if got := open("third"); got != 503 {
		t.Error("without tokens the viewer must not become nobody:", got)
	}
	r.away.Store(false)

	soon := start(t) // within the last five minutes they are asked for anew, and still serve
	soon.expires = time.Minute
	soon.app("iris", echo)
	for range 2 {
		soon.ask("GET", origin+"/iris/", as("alice", base))
	}
	soon.away.Store(true)
	if got := soon.ask("GET", origin+"/iris/", as("alice", base)); got.StatusCode != 200 || soon.asked.Load() != 3 {
		t.Error(got.Status, soon.asked.Load())
	}
}

func TestAnswersOfApps(t *testing.T) {
	r := start(t)
	var set []string
	var location string
	app := func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range set {
			w.Header().Add("Set-Cookie", c)
		}
		if location != "" {
			w.Header().Set("Location", location)
		}
		for _, h := range []string{"Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Report-To", "NEL"} {
			w.Header().Set(h, "x")
		}
		w.Header().Set("Link", "<https://example.com>; rel=preload")
		w.Header().Add("Set-Cookie", "early=1")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Kept", "y")
	}
	r.app("iris", app)
	r.app("own", app)
	r.route("own", func(x *link.Route) { x.Isolated = true })
	own := "http://own-" + base + "/own/"

	h := r.ask("GET", origin+"/iris/").Header
	for _, name := range []string{"Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Report-To", "Nel"} {
		if h.Get(name) != "" {
			t.Errorf("%s was passed on", name)
		}
	}
	if h.Get("X-Kept") != "y" || h.Get("X-Request-Id") == "" {
		t.Error(h)
	}
	for in, want := range map[string][2]string{ // on the shared host, on its own
		"a=b":                                 {"a=b; Path=/iris/", "a=b"},
		"a=b; Path=/":                         {"a=b; Path=/iris/", "a=b; Path=/"},
		"a=b; path=/x":                        {"a=b; Path=/iris/x", "a=b; path=/x"},
		"a=b; Path=/iris":                     {"a=b; Path=/iris/", "a=b; Path=/iris"},
		"a=b; Path=/iris/x; Secure":           {"a=b; Secure; Path=/iris/x", "a=b; Path=/iris/x; Secure"},
		"a=b; Path=/irises":                   {"a=b; Path=/iris/irises", "a=b; Path=/irises"},
		"a=b; Path=/x; Path=/":                {"a=b; Path=/iris/", "a=b; Path=/x; Path=/"},
		"a=b; Domain=" + base + "; HttpOnly":  {"a=b; HttpOnly; Path=/iris/", "a=b; HttpOnly"},
		"a=b;DOMAIN=." + base + ";Max-Age=1":  {"a=b; Max-Age=1; Path=/iris/", "a=b; Max-Age=1"},
		"a=b; Domain =" + base:                {"a=b; Path=/iris/", "a=b"},
		"a==c=; SameSite=None":                {"a==c=; SameSite=None; Path=/iris/", "a==c=; SameSite=None"},
		"__Host-slipway-session=evil; Path=/": {},
		"__host-SLIPWAY-x=evil; Path=/":       {},
		"slipway-session=evil":                {},
		" slipway-session =evil":              {},
		"kcToken=evil":                        {},
		"kcIdToken=evil":                      {},
		"=slipway-session=evil":               {},
		"slipway-session":                     {},
		"no name at all; Path=/":              {},
	} {
		set = []string{in}
		for i, u := range []string{origin + "/iris/", own} {
			got := strings.Join(slices.DeleteFunc(r.ask("GET", u).Header["Set-Cookie"], func(c string) bool { return strings.HasPrefix(c, "early=") }), "|")
			if got != want[i] {
				t.Errorf("cookie %q from %s: %q, not %q", in, u, got, want[i])
			}
		}
	}
	set = nil
	for in, want := range map[string][2]string{
		"/login":                         {"/iris/login", "/login"},
		"/login?next=/x#y":               {"/iris/login?next=/x#y", "/login?next=/x#y"},
		"/":                              {"/iris/", "/"},
		"/iris/login":                    {"/iris/login", "/iris/login"},
		"/iris":                          {"/iris", "/iris"},
		"/irises":                        {"/iris/irises", "/irises"},
		"/a%2Fb":                         {"/iris/a%2Fb", "/a%2Fb"},
		"login":                          {"login", "login"},
		"?a=b":                           {"?a=b", "?a=b"},
		"https://example.com/login":      {"https://example.com/login", "https://example.com/login"},
		"//example.com/login":            {"//example.com/login", "//example.com/login"},
		"https://" + base + "/login":     {"/iris/login", "https://" + base + "/login"},
		"http://" + base + ":8443":       {"/iris/", "http://" + base + ":8443"},
		"http://" + base + "/iris/login": {"/iris/login", "http://" + base + "/iris/login"},
		"http://own-" + base + "/login":  {"http://own-" + base + "/login", "/own/login"},
		"/_slipway/logout":               {"/_slipway/logout", "/_slipway/logout"},
		"mailto:a@example.com":           {"mailto:a@example.com", "mailto:a@example.com"},
	} {
		location = in
		for i, u := range []string{origin + "/iris/x", own + "x"} {
			w := want[i]
			if i == 1 && strings.HasPrefix(w, "/") && !strings.HasPrefix(w, "//") && !strings.HasPrefix(w, "/own") && !strings.HasPrefix(w, "/_slipway") {
				w = "/own" + w // on its own host too the prefix stays where it was
			}
			if got := r.ask("GET", u).Header.Get("Location"); got != w {
				t.Errorf("redirect to %q from %s: %q, not %q", in, u, got, w)
			}
		}
	}
}

func TestPages(t *testing.T) {
	r := start(t)
	if got := r.ask("GET", origin+"/x/y", page, as("bob", base)); strings.Contains(got.body, "<img") || !strings.Contains(got.Header.Get("Content-Security-Policy"), "img-src 'none'") {
		t.Errorf("without a logo: %v %s", got.Header, got.body)
	}
	r.change(func(p *link.Policy) { p.Brand = slipway.Branding{Name: "Orchard & Co", Accent: "#0b5c8a", Logo: "v7"} })
	got := r.ask("GET", origin+"/x/y", page, as("bob", base))
	style := regexp.MustCompile(`<style>([^<]*)</style>`).FindStringSubmatch(got.body)
	if style == nil || !strings.Contains(style[1], "--link:#0b5c8a") || !strings.Contains(got.body, "Orchard &amp; Co") || !strings.Contains(got.body, "http://api-"+base+"/v1/branding/logo?v=v7") {
		t.Fatalf("not the brand's: %s", got.body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	if csp := got.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") || !strings.Contains(csp, "img-src http://api-"+base+";") {
		t.Errorf("the browser would not show it: %s", csp)
	}
	r.change(func(p *link.Policy) { p.Hosts.SSHPort = "2222" })
	r.app("iris", echo)
	r.restrict("iris")
	r.route("iris", func(x *link.Route) { x.Viewers, x.Targets = []slipway.UserID{"user_bob"}, nil })
	for _, c := range []struct {
		state      slipway.AppState
		both, only string // in everybody's page; in the owner's alone
	}{
		{slipway.AppEmpty, "no release yet", "git push slipway main"},
		{slipway.AppEmpty, "no release yet", "git remote add slipway ssh://git@git-" + base + ":2222/iris"},
		{slipway.AppCrashed, "has crashed", "ModuleNotFoundError: &lt;numpy&gt;"},
		{slipway.AppPaused, "is paused", ""},
		{slipway.AppStarting, "build 3 packages", ""},
		{slipway.AppRunning, "does not answer", ""},
	} {
		r.route("iris", func(x *link.Route) {
			x.State, x.LogTail, x.Progress = c.state, []string{"ModuleNotFoundError: <numpy>"}, []string{"build 3 packages"}
		})
		for _, who := range []string{"alice", "bob", "admin"} {
			got := r.ask("GET", origin+"/iris/", page, as(who, base))
			csp := got.Header.Get("Content-Security-Policy")
			if got.StatusCode != 503 || !strings.Contains(got.body, c.both) || got.Header.Get("Retry-After") == "" || !strings.Contains(csp, "default-src 'none'") ||
				strings.Contains(csp, "unsafe") || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s as %s: %s %v %s", c.state, who, got.Status, got.Header, got.body)
			}
			if c.only != "" && strings.Contains(got.body, c.only) != (who != "bob") {
				t.Errorf("%s as %s shows the wrong things: %s", c.state, who, got.body)
			}
		}
		if got := r.ask("POST", origin+"/iris/x", as("bob", base)); got.StatusCode != 503 || got.Header.Get("Content-Type") != "application/problem+json" || got.Header.Get("Retry-After") == "" {
			t.Errorf("%s for a program: %s %v", c.state, got.Status, got.Header)
		}
	}
}

// A core that is replaced is waited for by whoever needs it: viewers whose
// tokens this gateway does not have, and who signs in.
func TestWaitsForTheCore(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *gateway.Options) { o.CoreHold = time.Minute })
	r.app("iris", echo)
	r.away.Store(true)
	g := loop.New(t.Context(), quiet)
	for range 3 {
		g.Go("view", func(context.Context) error {
			if got := r.ask("GET", origin+"/iris/", as("alice", base)); got.StatusCode != 200 || got.Header.Get("Got-X-Forwarded-User") != "alice" {
				t.Error("a viewer of an app:", got.Status, got.body)
			}
			return nil
		})
	}
	g.Go("sign in", func(context.Context) error {
		if got := r.ask("GET", origin+"/_slipway/session?code=good&to=%2F"+bound, asked); got.StatusCode != 302 || len(got.Cookies()) != 1 {
			t.Error("a sign-in:", got.Status, got.body)
		}
		return nil
	})
	until(t, "the core is asked", func() bool { return r.asked.Load() > 2 })
	r.away.Store(false)
	if err := g.Wait(); err != nil {
		t.Error(err)
	}

	// Tokens that are soon to be replaced serve at once, and the core that is
	// away is not asked again and again.
	r.expires = time.Minute
	for range 2 {
		r.ask("GET", origin+"/iris/", as("bob", base))
	}
	r.away.Store(true)
	before := r.asked.Load()
	for range 5 {
		if got := r.ask("GET", origin+"/iris/", as("bob", base)); got.StatusCode != 200 {
			t.Error(got.Status)
		}
	}
	if n := r.asked.Load() - before; n != 1 {
		t.Errorf("asked %d times for tokens that still serve", n)
	}
}
