package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/people"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a bare request.
func do(t *testing.T, r *apitest.Rig, method, path, body string, header ...string) (*http.Response, client.Problem) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.URL+path, strings.NewReader(body))
	ok(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	defer res.Body.Close()
	var p client.Problem
	if res.Header.Get("Content-Type") == "application/problem+json" {
		text, err := io.ReadAll(res.Body)
		ok(t, err)
		ok(t, json.Unmarshal(text, &p))
	}
	return res, p
}

func TestWhoAsks(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	me, err := r.Client(t, "ada").Whoami(t.Context())
	if err != nil || me.User.Name != "ada" || me.Token == "" {
		t.Fatal(me, err)
	}
	for name, header := range map[string][]string{
		"nobody":       nil,
		"forged token": {"Authorization", "Bearer slp_forged"},
		"basic":        {"Authorization", "Basic YTpi"},
		"forged name":  {"X-Forwarded-User", "root"},
		"forged cookie": {
			"Cookie", "slipway-api=ses_forged",
		},
	} {
		res, p := do(t, r, http.MethodGet, "/v1/whoami", "", header...)
		if res.StatusCode != http.StatusUnauthorized || p.Kind != "unauthenticated" || p.Request == "" || res.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %+v", name, res.StatusCode, p)
		}
	}
	ended := r.Client(t, "ada")
	if err := ended.RevokeToken(t.Context(), me.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := ended.Whoami(t.Context()); !errs.Is(err, errs.KindUnauthenticated) {
		t.Error("a revoked token:", err)
	}
}

func TestLoginByPassword(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	for _, in := range []client.Login{{Username: "ada", Password: "wrong"}, {Username: "nobody", Password: "wrong"}} {
		if _, err := r.Client(t, "anon").Login(t.Context(), in); !errs.Is(err, errs.KindUnauthenticated) {
			t.Error(err)
		}
	}
	var err error
	for range 8 { // the back-off
		_, err = r.Client(t, "anon").Login(t.Context(), client.Login{Username: "bob", Password: "wrong"})
	}
	if !errs.Is(err, errs.KindExhausted) {
		t.Error("after many wrong tries:", err)
	}
	// A token in place of the password does not become a wider one.
	if _, err := r.Client(t, "anon").Login(t.Context(), client.Login{Username: "ada", Password: r.Token("ada-reads")}); !errs.Is(err, errs.KindDenied) {
		t.Error("a token that reads made another:", err)
	}
}

// A browser's session reads, and writes from the management host's pages only.
func TestWritesByCookie(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	in, err := r.People.SignIn(t.Context(), people.SignIn{Name: "ada", Password: apitest.Password("ada"), Addr: "192.0.2.1"})
	ok(t, err)
	code, err := r.People.Handoff(t.Context(), in.Session.ID, "api-slipway.localhost")
	ok(t, err)
	value, _, err := r.People.ExchangeAPI(t.Context(), code, "api-slipway.localhost")
	ok(t, err)
	cookie := "slipway-api=" + value.Reveal()

	res, _ := do(t, r, http.MethodGet, "/v1/whoami", "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site")
	if res.StatusCode != http.StatusOK {
		t.Fatal("reading:", res.StatusCode)
	}
	const make = `{"name":"t","scopes":["read"]}`
	for name, tc := range map[string]struct {
		header []string
		status int
	}{
		"our page":             {[]string{"Sec-Fetch-Site", "same-origin"}, http.StatusCreated},
		"our page, old":        {[]string{"Origin", "http://api-slipway.localhost"}, http.StatusCreated},
		"another of our hosts": {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://slipway.localhost"}, http.StatusForbidden},
		"another site":         {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "http://api-slipway.localhost"}, http.StatusForbidden},
		"an app, old":          {[]string{"Origin", "http://slipway.localhost"}, http.StatusForbidden},
		"no word":              {nil, http.StatusForbidden},
	} {
		res, p := do(t, r, http.MethodPost, "/v1/tokens", make, append([]string{"Cookie", cookie, "Content-Type", "application/json"}, tc.header...)...)
		if res.StatusCode != tc.status {
			t.Errorf("%s: %d %s", name, res.StatusCode, p.Detail)
		}
	}
	// With a token there is no cookie that a page could abuse.
	res, _ = do(t, r, http.MethodPost, "/v1/tokens", make, "Authorization", "Bearer "+r.Token("ada"), "Sec-Fetch-Site", "cross-site", "Content-Type", "application/json")
	if res.StatusCode != http.StatusCreated {
		t.Error("token:", res.StatusCode)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	auth := []string{"Authorization", "Bearer " + r.Token("root"), "Content-Type", "application/json"}
	for name, tc := range map[string]struct {
		method, path, body string
		status             int
		kind, has          string
	}{
		"no route":       {"GET", "/v1/nothing", "", 404, "not_found", "openapi"},
		"wrong method":   {"PUT", "/v1/whoami", "", 404, "not_found", "openapi"},
		"no JSON":        {"POST", "/v1/users", "{", 400, "invalid", ""},
		"unknown field":  {"POST", "/v1/users", `{"name":"x","password":"y","root":true}`, 422, "invalid", "root"},
		"missing field":  {"POST", "/v1/users", `{"name":"x"}`, 422, "invalid", "password"},
		"unknown query":  {"GET", "/v1/users?lmit=3", "", 422, "invalid", "lmit"},
		"out of range":   {"GET", "/v1/users?limit=100000", "", 422, "invalid", "limit"},
		"ours, by field": {"POST", "/v1/users", `{"name":"x","password":"y"}`, 422, "invalid", "password"},
	} {
		res, p := do(t, r, tc.method, tc.path, tc.body, auth...)
		text := p.Detail
		for _, f := range p.Fields {
			text += " " + f.Name + ": " + f.Message
		}
		if res.StatusCode != tc.status || p.Kind != tc.kind || p.Status != tc.status || !strings.Contains(text, tc.has) {
			t.Errorf("%s: %d %+v", name, res.StatusCode, p)
		}
	}
}

func TestIdempotentCreate(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	c := r.Client(t, "ada")
	first, err := c.CreateToken(t.Context(), client.CreateToken{Name: "ci", Scopes: []slipway.Scope{"read"}}, "key")
	ok(t, err)
	again, err := c.CreateToken(t.Context(), client.CreateToken{Name: "ci", Scopes: []slipway.Scope{"read"}}, "key")
	if err != nil || again.Secret != first.Secret {
		t.Error("again:", err)
	}
	if _, err := c.CreateToken(t.Context(), client.CreateToken{Name: "other", Scopes: []slipway.Scope{"read"}}, "key"); !errs.Is(err, errs.KindConflict) {
		t.Error("another input:", err)
	}
}
