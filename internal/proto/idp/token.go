package idp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// token gives tokens for a code.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if r.ParseForm() != nil {
		p.refuse(w, http.StatusBadRequest, "invalid_request", "the request cannot be read")
		return
	}
	c, ok := p.authenticate(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="dash"`)
		p.refuse(w, http.StatusUnauthorized, "invalid_client", "no such client, or not its secret")
		return
	}
	if r.PostForm.Get("grant_type") != "authorization_code" {
		p.refuse(w, http.StatusBadRequest, "unsupported_grant_type", "only authorization_code is supported")
		return
	}
	g, ok := p.take(r.PostForm.Get("code"))
	if !ok || g.client != c.ID || g.redirect != r.PostForm.Get("redirect_uri") || !pkce(g.challenge, r.PostForm.Get("code_verifier")) {
		p.refuse(w, http.StatusBadRequest, "invalid_grant", "the code has expired, was used, or is not for this request")
		return
	}
	who, err := p.Subject(r.Context(), g.subject.ID) // as the person is now
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if who == nil {
		p.refuse(w, http.StatusBadRequest, "invalid_grant", "this person may not sign in any more")
		return
	}
	who.Session, who.Since = g.subject.Session, g.subject.Since
	access, id, err := p.issue(r.Context(), g, who)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w.Header().Set("Pragma", "no-cache")
	p.json(w, http.StatusOK, map[string]any{
		"access_token": access, "id_token": id, "token_type": "Bearer", "expires_in": int(tokenLife.Seconds()), "scope": g.scope,
	})
}

// authenticate finds out which client asks, by exactly one way.
func (p *provider) authenticate(r *http.Request) (Client, bool) {
	id, secret, basic := r.BasicAuth()
	if basic {
		if r.PostForm.Has("client_secret") {
			return Client{}, false
		}
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return Client{}, false
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	c, ok := p.client(id)
	return c, ok && subtle.ConstantTimeCompare([]byte(c.Secret), []byte(secret)) == 1
}

type roleClaims struct {
	Roles []string `json:"roles"`
}

type claims struct {
	Issuer     string                `json:"iss"`
	Subject    string                `json:"sub"`
	Audience   any                   `json:"aud"`
	Issued     int64                 `json:"iat"`
	Expires    int64                 `json:"exp"`
	AuthTime   int64                 `json:"auth_time,omitempty"`
	ID         string                `json:"jti"`
	Type       string                `json:"typ"`
	Party      string                `json:"azp"`
	Nonce      string                `json:"nonce,omitempty"`
	AccessHash string                `json:"at_hash,omitempty"`
	Session    string                `json:"sid,omitempty"`
	Scope      string                `json:"scope,omitempty"`
	Username   string                `json:"preferred_username,omitempty"`
	Email      string                `json:"email,omitempty"`
	Name       string                `json:"name,omitempty"`
	Resources  map[string]roleClaims `json:"resource_access,omitempty"`
}

// issue signs the two tokens.
func (p *provider) issue(ctx context.Context, g grant, who *Subject) (access, id string, err error) {
	now := p.Now()
	c := claims{
		Issuer: p.issuer(), Subject: who.ID, Issued: now.Add(-backdate).Unix(), Expires: now.Add(tokenLife).Unix(),
		Party: g.client, Session: who.Session,
	}
	if !who.Since.IsZero() {
		c.AuthTime = who.Since.Unix()
	}
	if has(g.scope, "profile") {
		c.Username, c.Name = who.Username, who.Name
	}
	if has(g.scope, "email") {
		c.Email = who.Email
	}
	acc := c
	acc.Type, acc.Audience, acc.ID, acc.Scope = "Bearer", []string{"account"}, rand.Text(), g.scope
	acc.Resources = map[string]roleClaims{"dash": {append([]string{}, who.Roles...)}}
	if access, err = p.Sign(ctx, acc); err != nil {
		return "", "", err
	}
	c.Type, c.Audience, c.ID, c.Nonce = "ID", g.client, rand.Text(), g.nonce
	sum := sha256.Sum256([]byte(access))
	c.AccessHash = base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	id, err = p.Sign(ctx, c)
	return access, id, err
}

func has(scope, want string) bool { return slices.Contains(strings.Fields(scope), want) }

// userinfo says who an access token is about, as the person is now.
func (p *provider) userinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	c, err := p.verify(r.Context(), token)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	var who *Subject
	if c != nil {
		if who, err = p.Subject(r.Context(), c.Subject); err != nil {
			p.fail(w, r, err)
			return
		}
	}
	if who == nil {
		w.Header().Set("WWW-Authenticate", `Bearer realm="dash", error="invalid_token"`)
		p.refuse(w, http.StatusUnauthorized, "invalid_token", "the access token is not valid, or not any more")
		return
	}
	out := map[string]any{"sub": who.ID}
	if has(c.Scope, "profile") {
		out["preferred_username"] = who.Username
		out["name"] = who.Name
		if who.Name == "" {
			out["name"] = who.Username
		}
		out["groups"] = []string{}
	}
	if has(c.Scope, "email") && who.Email != "" {
		out["email"] = who.Email
		out["email_verified"] = false // an administrator has typed it
	}
	p.json(w, http.StatusOK, out)
}

// verify returns the claims of one of our access tokens; nil for any other text.
func (p *provider) verify(ctx context.Context, token string) (*claims, error) {
	if token == "" || len(token) > 16<<10 {
		return nil, nil
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil, nil //nolint:nilerr // a bad token is no failure of ours
	}
	set, err := p.JWKS(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range set.Key(jws.Signatures[0].Header.KeyID) {
		text, err := jws.Verify(k)
		if err != nil {
			continue
		}
		var c claims
		if json.Unmarshal(text, &c) != nil {
			return nil, nil //nolint:nilerr // as above
		}
		if c.Type != "Bearer" || c.Issuer != p.issuer() || !audience(c.Audience, "account") || !p.Now().Before(time.Unix(c.Expires, 0)) {
			return nil, nil
		}
		return &c, nil
	}
	return nil, nil
}

func audience(aud any, want string) bool {
	list, ok := aud.([]any)
	if !ok {
		return aud == want
	}
	return slices.Contains(list, any(want))
}
