// Package idp is a small, strict OpenID provider on the paths of a Keycloak
// realm: authorization code flow only, PKCE for everyone who can, exact
// redirect addresses, no refresh tokens. It knows nothing of who people are:
// callbacks tell it who has signed in and sign what it vouches for.
//
// Codes live in memory for a minute: a restart makes a client start again.
package idp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway/internal/base/errs"
)

// Realm is the path of the realm; the issuer is the origin with it.
const Realm = "/auth/realms/dash"

const (
	codeLife  = time.Minute
	tokenLife = time.Hour
	backdate  = 30 * time.Second // clients' clocks
	maxCodes  = 10_000
)

// Client is an application that lets its people sign in here.
type Client struct {
	ID        string
	Secret    string   // empty: public, which must use PKCE
	Redirects []string // exact addresses
	SignedOut []string // exact addresses to go to after a sign-out
}

// Subject is a person.
type Subject struct {
	ID       string
	Username string
	Email    string
	Name     string
	Roles    []string
	Session  string    // of the browser; empty when not known
	Since    time.Time // of the sign-in
}

// Options are what the provider is made of.
type Options struct {
	Origin  string // https://auth-<base>
	Clients []Client
	JWKS    func(ctx context.Context) (jose.JSONWebKeySet, error)
	Sign    func(ctx context.Context, claims any) (string, error)  // RS256, with a kid of JWKS
	Viewer  func(r *http.Request) (*Subject, error)                // nil = has not signed in
	Subject func(ctx context.Context, id string) (*Subject, error) // nil = no such person, or not any more
	SignIn  func(to string, again bool) string                     // page that comes back to an address of this origin; again asks whoever has signed in too
	SignOut string                                                 // page that ends the session
	Now     func() time.Time                                       // nil = time.Now
	Log     *slog.Logger
}

type provider struct {
	Options
	key []byte // of marks

	mu    sync.Mutex
	codes map[string]grant
}

// grant is what a code stands for.
type grant struct {
	client, redirect, nonce, scope, challenge string

	subject Subject
	expires time.Time
}

// New serves the realm on the sign-in host.
func New(o Options) http.Handler {
	p := newProvider(o)
	mux := http.NewServeMux()
	const connect = Realm + "/protocol/openid-connect"
	mux.HandleFunc("GET "+Realm+"/.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET "+connect+"/auth", p.authorize)
	mux.HandleFunc("POST "+connect+"/auth", p.authorize)
	mux.HandleFunc("POST "+connect+"/token", p.token)
	mux.HandleFunc("GET "+connect+"/certs", p.certs)
	mux.HandleFunc("GET "+connect+"/userinfo", p.userinfo)
	mux.HandleFunc("POST "+connect+"/userinfo", p.userinfo)
	mux.HandleFunc("GET "+connect+"/logout", p.logout)
	return mux
}

// PlatformHandler serves what apps may ask from inside their sandboxes: keys
// and userinfo. Of the options it needs JWKS, Subject, Origin and Log.
func PlatformHandler(o Options) http.Handler {
	p := newProvider(o)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Realm+"/protocol/openid-connect/certs", p.certs)
	mux.HandleFunc("GET "+Realm+"/protocol/openid-connect/userinfo", p.userinfo)
	mux.HandleFunc("POST "+Realm+"/protocol/openid-connect/userinfo", p.userinfo)
	return mux
}

// Published is Options.JWKS for who has the key set as JSON (RFC 7517).
func Published(set func(context.Context) (json.RawMessage, error)) func(context.Context) (jose.JSONWebKeySet, error) {
	return func(ctx context.Context) (out jose.JSONWebKeySet, err error) {
		text, err := set(ctx)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		return out, err
	}
}

func newProvider(o Options) *provider {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &provider{Options: o, key: []byte(rand.Text()), codes: map[string]grant{}}
}

func (p *provider) issuer() string { return p.Origin + Realm }

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	at := p.issuer() + "/protocol/openid-connect/"
	w.Header().Set("Access-Control-Allow-Origin", "*")
	p.json(w, http.StatusOK, map[string]any{
		"issuer":                                         p.issuer(),
		"authorization_endpoint":                         at + "auth",
		"token_endpoint":                                 at + "token",
		"jwks_uri":                                       at + "certs",
		"userinfo_endpoint":                              at + "userinfo",
		"end_session_endpoint":                           at + "logout",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"RS256"},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post", "none"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "profile", "email"},
		"claims_supported":                               []string{"sub", "preferred_username", "email", "name", "auth_time"},
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false,
		"claims_parameter_supported":                     false,
		"authorization_response_iss_parameter_supported": true,
	})
}

func (p *provider) certs(w http.ResponseWriter, r *http.Request) {
	set, err := p.JWKS(r.Context())
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	p.json(w, http.StatusOK, set)
}

func (p *provider) client(id string) (Client, bool) {
	i := slices.IndexFunc(p.Clients, func(c Client) bool { return c.ID == id })
	if i < 0 || id == "" {
		return Client{}, false
	}
	return p.Clients[i], true
}

// authorize sends the browser back to the client with a code. Until the client
// and its address are known to be right it goes nowhere.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if r.ParseForm() != nil {
		p.refuse(w, http.StatusBadRequest, "invalid_request", "the request cannot be read")
		return
	}
	q := r.Form
	for name, values := range q {
		if len(values) > 1 {
			p.refuse(w, http.StatusBadRequest, "invalid_request", "the parameter "+name+" was sent twice")
			return
		}
	}
	c, ok := p.client(q.Get("client_id"))
	if !ok {
		p.refuse(w, http.StatusBadRequest, "invalid_request", "no such client")
		return
	}
	redirect := q.Get("redirect_uri")
	if !slices.Contains(c.Redirects, redirect) {
		p.refuse(w, http.StatusBadRequest, "invalid_request", "redirect_uri is not one that this client has named")
		return
	}
	if code, text := checkAuthorize(c, q); code != "" {
		p.back(w, r, redirect, url.Values{"error": {code}, "error_description": {text}})
		return
	}
	who, err := p.Viewer(r)
	if err != nil {
		p.Log.ErrorContext(r.Context(), "cannot tell who has signed in", "error", err)
		p.back(w, r, redirect, url.Values{"error": {"server_error"}})
		return
	}
	if again := who != nil; who == nil || p.mustSignIn(q, who.Since) {
		if has(q.Get("prompt"), "none") {
			p.back(w, r, redirect, url.Values{"error": {"login_required"}})
			return
		}
		q.Set(askedParam, p.asked())
		http.Redirect(w, r, p.SignIn(p.Origin+Realm+"/protocol/openid-connect/auth?"+q.Encode(), again), http.StatusSeeOther)
		return
	}
	code, ok := p.keep(grant{
		client: c.ID, redirect: redirect, nonce: q.Get("nonce"), scope: scopes(q.Get("scope")), challenge: q.Get("code_challenge"),
		subject: *who, expires: p.Now().Add(codeLife),
	})
	if !ok {
		p.back(w, r, redirect, url.Values{"error": {"temporarily_unavailable"}})
		return
	}
	p.back(w, r, redirect, url.Values{"code": {code}})
}

// checkAuthorize returns an error code and what it means, or nothing.
func checkAuthorize(c Client, q url.Values) (code, text string) {
	challenge, method := q.Get("code_challenge"), q.Get("code_challenge_method")
	age, err := strconv.Atoi(q.Get("max_age"))
	switch {
	case q.Has("max_age") && (err != nil || age < 0):
		return "invalid_request", "max_age is not a number of seconds"
	case has(q.Get("prompt"), "none") && len(strings.Fields(q.Get("prompt"))) > 1:
		return "invalid_request", "the prompt none stands alone"
	case q.Get("response_type") != "code":
		return "unsupported_response_type", "only code is supported"
	case q.Get("response_mode") != "" && q.Get("response_mode") != "query":
		return "invalid_request", "only the response mode query is supported"
	case q.Has("request"):
		return "request_not_supported", ""
	case q.Has("request_uri"):
		return "request_uri_not_supported", ""
	case !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		return "invalid_scope", "the scope must hold openid"
	case challenge == "" && c.Secret == "":
		return "invalid_request", "this client must use PKCE with S256"
	case challenge != "" && method != "S256":
		return "invalid_request", "of PKCE only S256 is supported"
	case challenge != "" && len(challenge) != 43:
		return "invalid_request", "code_challenge is not a SHA-256 in base64url"
	}
	return "", ""
}

// scopes keeps those that are known.
func scopes(asked string) string {
	var out []string
	for _, s := range []string{"openid", "profile", "email"} {
		if slices.Contains(strings.Fields(asked), s) {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// back returns to the client's address, which was checked.
func (p *provider) back(w http.ResponseWriter, r *http.Request, redirect string, q url.Values) {
	u, err := url.Parse(redirect)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	all := u.Query()
	for k, v := range q {
		all[k] = v
	}
	if state := r.Form.Get("state"); state != "" {
		all.Set("state", state)
	}
	all.Set("iss", p.issuer())
	u.RawQuery = all.Encode()
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

func (p *provider) keep(g grant) (code string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.Now()
	for k, old := range p.codes {
		if !now.Before(old.expires) {
			delete(p.codes, k)
		}
	}
	if len(p.codes) >= maxCodes {
		return "", false
	}
	code = rand.Text() + rand.Text()
	p.codes[code] = g
	return code, true
}

func (p *provider) take(code string) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.codes[code]
	delete(p.codes, code)
	return g, ok && p.Now().Before(g.expires)
}

// logout hands over to the page that asks whether to sign out: a link alone
// must not end anybody's session.
func (p *provider) logout(w http.ResponseWriter, r *http.Request) {
	target := p.SignOut
	to := r.URL.Query().Get("post_logout_redirect_uri")
	c, ok := p.client(r.URL.Query().Get("client_id"))
	if to != "" && ok && slices.Contains(c.SignedOut, to) {
		target += "?" + url.Values{"to": {to}}.Encode()
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

func (p *provider) json(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone hears nothing
}

// refuse is the one renderer of errors (RFC 6749).
func (p *provider) refuse(w http.ResponseWriter, status int, code, text string) {
	p.json(w, status, map[string]string{"error": code, "error_description": text})
}

func (p *provider) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errs.Is(err, errs.KindUnavailable) {
		p.refuse(w, http.StatusServiceUnavailable, "temporarily_unavailable", errs.Message(err))
		return
	}
	p.Log.ErrorContext(r.Context(), "the OpenID provider failed", "path", r.URL.Path, "error", err)
	p.refuse(w, http.StatusInternalServerError, "server_error", "something went wrong on our side")
}

// pkce reports whether the verifier is the one of which the challenge is the hash.
func pkce(challenge, verifier string) bool {
	if challenge == "" {
		return verifier == ""
	}
	if len(verifier) < 43 || len(verifier) > 128 {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}
