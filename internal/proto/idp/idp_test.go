package idp_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"slipway.dev/slipway/internal/proto/idp"
)

const callback = "https://client.example/callback"

type world struct {
	*httptest.Server
	options idp.Options
	known   bool // the person may sign in
	since   time.Time
	asked   int // sign-ins, of somebody signed in already
}

func newWorld(t *testing.T) *world {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	w := &world{known: true}
	var handler http.Handler
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handler.ServeHTTP(rw, r) }))
	t.Cleanup(w.Close)
	who := func() *idp.Subject {
		if !w.known {
			return nil
		}
		return &idp.Subject{ID: "user_1", Username: "alice", Email: "alice@example.com", Name: "Alice Liddell", Roles: []string{"viewer"}, Session: "ses_1", Since: w.since}
	}
	w.options = idp.Options{
		Origin: w.URL,
		Clients: []idp.Client{
			{ID: "dash", Redirects: []string{callback}},
			{ID: "dash-backend", Secret: "s e:c&r", Redirects: []string{callback}, SignedOut: []string{"https://client.example/bye"}},
		},
		JWKS: func(context.Context) (jose.JSONWebKeySet, error) {
			return jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}}, nil
		},
		Sign: func(_ context.Context, claims any) (string, error) {
			s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
			if err != nil {
				return "", err
			}
			text, err := json.Marshal(claims)
			if err != nil {
				return "", err
			}
			jws, err := s.Sign(text)
			if err != nil {
				return "", err
			}
			return jws.CompactSerialize()
		},
		Viewer: func(r *http.Request) (*idp.Subject, error) {
			if _, err := r.Cookie("signed-in"); err != nil {
				return nil, nil //nolint:nilerr // no cookie, nobody
			}
			return who(), nil
		},
		Subject: func(context.Context, string) (*idp.Subject, error) { return who(), nil },
		SignIn: func(to string, again bool) string {
			if again {
				w.asked++
			}
			return w.URL + "/login?to=" + url.QueryEscape(to)
		},
		SignOut: w.URL + "/logout",
		Log:     slog.New(slog.DiscardHandler),
	}
	mux := http.NewServeMux()
	mux.Handle(idp.Realm+"/", idp.New(w.options))
	mux.HandleFunc("/login", func(rw http.ResponseWriter, r *http.Request) {
		w.since = time.Now()
		http.SetCookie(rw, &http.Cookie{Name: "signed-in", Value: "yes", Path: "/"})
		http.Redirect(rw, r, r.URL.Query().Get("to"), http.StatusSeeOther)
	})
	handler = mux
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// browser keeps cookies and stops where the provider is left.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	ok(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "client.example" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// browse follows redirects until they leave the provider, and returns where to.
func (w *world) browse(t *testing.T, target string) *url.URL {
	t.Helper()
	return w.browseAs(t, browser(t), target)
}

func (w *world) browseAs(t *testing.T, c *http.Client, target string) *url.URL {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	ok(t, err)
	res, err := c.Do(req)
	ok(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ok(t, err)
	to, err := res.Location()
	if err != nil {
		t.Fatalf("no redirect: %s\n%s", res.Status, text)
	}
	return to
}

// TestRelyingParty signs in with a client of strangers: discovery, code,
// PKCE, tokens, verification, userinfo.
func TestRelyingParty(t *testing.T) {
	for _, client := range []struct{ id, secret string }{{"dash", ""}, {"dash-backend", "s e:c&r"}} {
		t.Run(client.id, func(t *testing.T) {
			w := newWorld(t)
			ctx := t.Context()
			provider, err := oidc.NewProvider(ctx, w.URL+"/auth/realms/dash")
			ok(t, err)
			conf := oauth2.Config{
				ClientID: client.id, ClientSecret: client.secret, Endpoint: provider.Endpoint(), RedirectURL: callback,
				Scopes: []string{oidc.ScopeOpenID, "profile", "email", "offline_access"},
			}
			verifier := oauth2.GenerateVerifier()
			to := w.browse(t, conf.AuthCodeURL("st&te", oidc.Nonce("n-1"), oauth2.S256ChallengeOption(verifier)))
			q := to.Query()
			if !strings.HasPrefix(to.String(), callback+"?") || q.Get("state") != "st&te" || q.Get("iss") != w.URL+"/auth/realms/dash" {
				t.Fatalf("came back to %s", to)
			}
			_, err = conf.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(oauth2.GenerateVerifier()))
			if err == nil {
				t.Fatal("another verifier is taken")
			}
			to = w.browse(t, conf.AuthCodeURL("s", oidc.Nonce("n-1"), oauth2.S256ChallengeOption(verifier)))
			code := to.Query().Get("code")
			tokens, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
			ok(t, err)
			if _, err = conf.Exchange(ctx, code, oauth2.VerifierOption(verifier)); err == nil {
				t.Fatal("a code works twice")
			}
			raw, _ := tokens.Extra("id_token").(string)
			id, err := provider.Verifier(&oidc.Config{ClientID: client.id}).Verify(ctx, raw)
			ok(t, err)
			ok(t, id.VerifyAccessToken(tokens.AccessToken))
			var claims struct {
				Username string `json:"preferred_username"`
				Email    string `json:"email"`
				Name     string `json:"name"`
			}
			ok(t, id.Claims(&claims))
			if id.Subject != "user_1" || id.Nonce != "n-1" || claims.Username != "alice" || claims.Email != "alice@example.com" {
				t.Errorf("the id token says %+v", claims)
			}
			info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens))
			ok(t, err)
			ok(t, info.Claims(&claims))
			if info.Subject != "user_1" || claims.Name != "Alice Liddell" {
				t.Errorf("userinfo says %+v", claims)
			}
			for name, token := range map[string]string{"the id token": raw, "nonsense": "a.b.c", "nothing": ""} {
				if _, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token})); err == nil {
					t.Errorf("userinfo takes %s", name)
				}
			}
			w.known = false
			if _, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tokens)); err == nil {
				t.Error("userinfo speaks of a person who is gone")
			}
		})
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	w := newWorld(t)
	at := w.URL + idp.Realm + "/protocol/openid-connect/auth?"
	good := url.Values{
		"client_id": {"dash"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {strings.Repeat("a", 43)}, "code_challenge_method": {"S256"},
	}
	with := func(k string, v ...string) string {
		q := url.Values{}
		for k, v := range good {
			q[k] = v
		}
		q[k] = v
		return at + q.Encode()
	}
	// These must not go anywhere.
	for name, target := range map[string]string{
		"unknown client":    with("client_id", "evil"),
		"other redirect":    with("redirect_uri", "https://evil.example/"),
		"longer redirect":   with("redirect_uri", callback+"/x"),
		"redirect in query": with("redirect_uri", callback+"?a=b"),
		"sent twice":        with("redirect_uri", callback, "https://evil.example"),
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		ok(t, err)
		res, err := http.DefaultTransport.RoundTrip(req)
		ok(t, err)
		ok(t, res.Body.Close())
		if res.StatusCode != http.StatusBadRequest || res.Header.Get("Location") != "" {
			t.Errorf("%s: %s to %q", name, res.Status, res.Header.Get("Location"))
		}
	}
	for want, target := range map[string]string{
		"unsupported_response_type": with("response_type", "token"),
		"invalid_scope":             with("scope", "profile"),
		"invalid_request":           with("code_challenge_method", "plain"),
		"request_not_supported":     with("request", "e30.e30."),
		"login_required":            with("prompt", "none"),
		"invalid_request ":          with("prompt", "none login"),
		"invalid_request  ":         with("max_age", "-1"),
		"invalid_request   ":        with("max_age", "soon"),
	} {
		if got := w.browse(t, target).Query().Get("error"); got != strings.TrimSpace(want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := w.browse(t, with("code_challenge", "")).Query().Get("error"); got != "invalid_request" {
		t.Errorf("a public client without PKCE: %q", got)
	}
}

func TestClientSecret(t *testing.T) {
	w := newWorld(t)
	for _, secret := range []string{"", "wrong"} {
		form := url.Values{"client_id": {"dash-backend"}, "client_secret": {secret}, "grant_type": {"authorization_code"}, "code": {"x"}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+idp.Realm+"/protocol/openid-connect/token", strings.NewReader(form.Encode()))
		ok(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := http.DefaultClient.Do(req)
		ok(t, err)
		ok(t, res.Body.Close())
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("secret %q: %s", secret, res.Status)
		}
	}
}

// TestPlatform asks as the library in apps does: keys with alg, userinfo with
// the access token, on plain HTTP and whatever Host.
func TestPlatform(t *testing.T) {
	w := newWorld(t)
	srv := httptest.NewServer(idp.PlatformHandler(w.options))
	t.Cleanup(srv.Close)
	get := func(path, token string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+idp.Realm+"/protocol/openid-connect/"+path, nil)
		ok(t, err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		ok(t, err)
		defer res.Body.Close()
		var body map[string]any
		if res.StatusCode != http.StatusNotFound && res.StatusCode != http.StatusMethodNotAllowed {
			ok(t, json.NewDecoder(res.Body).Decode(&body))
		}
		return res.StatusCode, body
	}
	_, certs := get("certs", "")
	keys, _ := certs["keys"].([]any)
	first, _ := keys[0].(map[string]any)
	if first["alg"] != "RS256" || first["kid"] != "k1" || first["d"] != nil {
		t.Errorf("certs: %v", certs)
	}
	claims := map[string]any{
		"iss": w.URL + idp.Realm, "sub": "user_1", "aud": []string{"account"}, "typ": "Bearer", "scope": "openid profile email",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	sign := func(k string, v any) string {
		c := map[string]any{}
		for k, v := range claims {
			c[k] = v
		}
		if k != "" {
			c[k] = v
		}
		text, err := w.options.Sign(t.Context(), c)
		ok(t, err)
		return text
	}
	status, info := get("userinfo", sign("", nil))
	if status != http.StatusOK || info["preferred_username"] != "alice" || info["email"] != "alice@example.com" {
		t.Errorf("userinfo: %d %v", status, info)
	}
	for k, v := range map[string]any{"exp": 1, "typ": "ID", "iss": "https://evil.example", "aud": "dash"} {
		if status, _ := get("userinfo", sign(k, v)); status != http.StatusUnauthorized {
			t.Errorf("with %s = %v: %d", k, v, status)
		}
	}
	for _, path := range []string{"auth", "token", "logout"} {
		if status, _ := get(path, ""); status != http.StatusNotFound {
			t.Errorf("apps reach %s: %d", path, status)
		}
	}
}

// TestSignInAgain: what a client asks about the age of a sign-in, of a person
// who has signed in an hour ago.
func TestSignInAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ask   string
		asked int    // sign-ins
		err   string // what the client hears
	}{
		{"nothing", "", 0, ""},
		{"login", "&prompt=login", 1, ""},
		{"login and consent", "&prompt=login+consent", 1, ""},
		{"consent", "&prompt=consent", 0, ""},
		{"old enough", "&max_age=7200", 0, ""},
		{"too old", "&max_age=60", 1, ""},
		{"now", "&max_age=0", 1, ""},
		{"none", "&prompt=none", 0, ""},
		{"none, old enough", "&prompt=none&max_age=7200", 0, ""},
		{"none, too old", "&prompt=none&max_age=60", 0, "login_required"},
		{"a mark by hand", "&prompt=login&slipway_asked=1.x", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c := browser(t)
			target := w.URL + idp.Realm + "/protocol/openid-connect/auth?client_id=dash&redirect_uri=" + url.QueryEscape(callback) +
				"&response_type=code&scope=openid&state=s&code_challenge_method=S256&code_challenge=" + strings.Repeat("a", 43)
			w.browseAs(t, c, target)
			w.since = time.Now().Add(-time.Hour)
			q := w.browseAs(t, c, target+tt.ask).Query()
			if w.asked != tt.asked || q.Get("error") != tt.err || (q.Get("code") == "") != (tt.err != "") || q.Get("state") != "s" {
				t.Errorf("asked %d times, came back with %v", w.asked, q)
			}
		})
	}
}
