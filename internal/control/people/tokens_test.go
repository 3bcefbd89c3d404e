package people_test

import (
	"crypto"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/store"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice", slipway.RoleLicensed)
	ctx, _ := w.signIn(t, "alice")
	past := w.clock.Now().Add(-time.Second)
	_, err := w.CreateToken(ctx, people.CreateToken{Scopes: []slipway.Scope{"root"}, Expires: &past})
	is(t, err, errs.KindInvalid)
	if len(errs.FieldsOf(err)) != 3 {
		t.Errorf("not every problem is told: %v", err)
	}
	soon := w.clock.Now().Add(time.Hour)
	tok, err := w.CreateToken(ctx, people.CreateToken{Name: "ci", Scopes: []slipway.Scope{slipway.ScopeDeploy}, Expires: &soon})
	ok(t, err)
	text := tok.Secret.Reveal()
	if !strings.HasPrefix(text, "slp_") || len(text) < 40 {
		t.Error("the secret does not look like one")
	}
	a, err := w.Token(t.Context(), text)
	ok(t, err)
	if a.User.ID != alice.ID || a.Token != tok.ID || len(a.Scopes) != 1 || a.Scopes[0] != slipway.ScopeDeploy {
		t.Errorf("got %+v", a)
	}
	// A narrow token makes no wider one.
	_, err = w.CreateToken(slipway.WithActor(t.Context(), a), people.CreateToken{Name: "x", Scopes: []slipway.Scope{slipway.ScopeAll}})
	is(t, err, errs.KindDenied)
	is(t, w.RevokeToken(slipway.WithActor(t.Context(), a), tok.ID), errs.KindDenied)

	// git: a token in the place of the password.
	a, err = w.Password(t.Context(), "alice", text, "192.0.2.1")
	ok(t, err)
	if a.Token != tok.ID || a.Addr != "192.0.2.1" {
		t.Errorf("got %+v", a)
	}
	_, err = w.Password(t.Context(), "bob", text, "192.0.2.1")
	is(t, err, errs.KindUnauthenticated)
	a, err = w.Password(t.Context(), "Alice", good, "192.0.2.1")
	ok(t, err)
	if a.Token != "" || a.User.ID != alice.ID {
		t.Errorf("got %+v", a)
	}

	list, err := w.Tokens(ctx)
	ok(t, err)
	if len(list) != 1 || list[0].Used == nil || list[0].Expires == nil || list[0].Name != "ci" {
		t.Errorf("got %+v", list)
	}
	w.create(t, "bob")
	bob, _ := w.signIn(t, "bob")
	is(t, w.RevokeToken(bob, tok.ID), errs.KindNotFound)
	w.clock.add(2 * time.Hour)
	for _, bad := range []string{text, "slp_nope", "", good} {
		_, err = w.Token(t.Context(), bad)
		is(t, err, errs.KindUnauthenticated)
	}
	tok, err = w.CreateToken(ctx, people.CreateToken{Name: "for ever", Scopes: []slipway.Scope{slipway.ScopeAll}})
	ok(t, err)
	ok(t, w.RevokeToken(ctx, tok.ID))
	_, err = w.Token(t.Context(), tok.Secret.Reveal())
	is(t, err, errs.KindUnauthenticated)
}

func verify(t *testing.T, set jose.JSONWebKeySet, token string) map[string]any {
	t.Helper()
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	ok(t, err)
	keys := set.Key(jws.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("key %q is not published", jws.Signatures[0].Header.KeyID)
	}
	if keys[0].Algorithm != "RS256" {
		t.Error("a published key without alg signs nobody on in apps")
	}
	text, err := jws.Verify(keys[0])
	ok(t, err)
	var c map[string]any
	ok(t, json.Unmarshal(text, &c))
	return c
}

func TestAppTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice", slipway.RoleLicensed)
	_, one := w.signIn(t, "alice")
	got, err := w.AppTokens(t.Context(), one.Session.ID, "app_1")
	ok(t, err)
	set, err := w.JWKS(t.Context())
	ok(t, err)
	id, acc := verify(t, set, got.IDToken.Reveal()), verify(t, set, got.AccessToken.Reveal())
	now := w.clock.Now()
	if id["aud"] != "dash" || id["preferred_username"] != "alice" || id["name"] != "alice" || id["sub"] != string(alice.ID) || id["app"] != "app_1" {
		t.Errorf("id token: %v", id)
	}
	if iat, _ := id["iat"].(float64); int64(iat) > now.Add(-20*time.Second).Unix() {
		t.Error("iat is not dated back")
	}
	if got.Expires.Sub(now) < time.Hour {
		t.Errorf("the tokens live only until %s", got.Expires)
	}
	roles, _ := json.Marshal(acc["resource_access"])
	if string(roles) != `{"dash":{"roles":["viewer","licensed_user"]}}` {
		t.Errorf("roles: %s", roles)
	}
	aud, _ := acc["aud"].([]any)
	if len(aud) != 1 || aud[0] != "account" {
		t.Errorf("access token: %v", acc)
	}
	if n := len(got.IDToken.Reveal()) + len(got.AccessToken.Reveal()); n*4/3 > 5<<10 {
		t.Errorf("both take %d bytes: gunicorn refuses long headers", n*4/3)
	}
	for _, text := range []string{got.IDToken.Reveal(), got.AccessToken.Reveal()} { // worth nothing here
		_, err = w.Token(t.Context(), text)
		is(t, err, errs.KindUnauthenticated)
		_, err = w.Session(t.Context(), text)
		is(t, err, errs.KindUnauthenticated)
	}
	_, err = w.AppTokens(t.Context(), "ses_none", "app_1")
	is(t, err, errs.KindUnauthenticated)
}

func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kid := func() string {
		text, err := w.SignJWT(t.Context(), map[string]string{"a": "b"})
		ok(t, err)
		jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256})
		ok(t, err)
		return jws.Signatures[0].Header.KeyID
	}
	published := func() (out []string) {
		set, err := w.JWKS(t.Context())
		ok(t, err)
		for _, k := range set.Keys {
			if !k.IsPublic() {
				t.Fatal("a private key is published")
			}
			if _, private := k.Key.(crypto.Signer); private {
				t.Fatal("a private key is published")
			}
			out = append(out, k.KeyID)
		}
		return out
	}
	first := kid()
	w.restart(t)
	if kid() != first || len(published()) != 1 || len(w.hub.Snapshot().Keys) != 1 {
		t.Fatal("a restart makes new keys")
	}
	w.clock.add(31 * 24 * time.Hour)
	w.restart(t)
	if kid() != first || len(published()) != 2 || len(w.hub.Snapshot().Keys) != 2 {
		t.Fatal("the new key is not published before it signs")
	}
	w.clock.add(61 * time.Minute)
	if kid() == first || len(published()) != 2 {
		t.Fatal("the new key does not sign, or the old one is gone too early")
	}
	w.clock.add(25 * time.Hour)
	w.restart(t)
	if p := published(); len(p) != 1 || p[0] == first || len(w.hub.Snapshot().Keys) != 1 {
		t.Fatal("the old key does not retire")
	}
	ok(t, w.db.Update(t.Context(), func(tx *store.Tx) error { return tx.ForgetOldPeopleRows(w.clock.Now()) }))
	w.restart(t)
	if len(published()) != 1 {
		t.Fatal("housekeeping takes keys that are needed")
	}
}
