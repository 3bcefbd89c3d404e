package gateway_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
)

const issuer = "http://auth-" + base

// viewersToken is what an app is told of alice.
func viewersToken(t *testing.T) (token string, keys []byte) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: private, KeyID: "j1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := json.Marshal(map[string]any{
		"iss": issuer + "/auth/realms/dash", "sub": "user_alice", "aud": "account", "typ": "Bearer",
		"exp": time.Now().Add(time.Hour).Unix(), "scope": "openid profile email",
	})
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	if token, err = signed.CompactSerialize(); err != nil {
		t.Fatal(err)
	}
	keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "j1", Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return token, keys
}

// TestInside: apps learn who looks from the table alone, and no more than a
// token of that person lets them.
func TestInside(t *testing.T) {
	t.Parallel()
	token, keys := viewersToken(t)
	r := start(t)
	r.core.away.Store(true)
	inside := httptest.NewServer(r.srv.Inside(issuer))
	t.Cleanup(inside.Close)
	ask := func(what, token string, status int, says string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, inside.URL+"/auth/realms/dash/protocol/openid-connect/"+what, http.NoBody)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode != status || !strings.Contains(string(text), says) || !res.Close {
			t.Errorf("%s: %d %s, want %d with %s, and the end of the connection", what, res.StatusCode, text, status, says)
		}
	}
	ask("certs", "", 503, "try again") // the table has no keys yet
	ask("userinfo", token, 503, "try again")
	r.core.change(func(p *link.Policy) { p.JWKS = keys })
	ask("certs", "", 200, `"kid":"j1"`)
	ask("userinfo", token, 200, `"preferred_username":"alice"`)
	ask("userinfo", "", 401, "invalid_token")
	ask("userinfo", token[:len(token)-8]+"AAAAAAAA", 401, "invalid_token")
	ask("token", token, 404, "")
	r.core.change(func(p *link.Policy) {
		who := p.People["user_alice"]
		who.Name = "alicia"
		p.People["user_alice"] = who
	})
	ask("userinfo", token, 200, `"preferred_username":"alicia"`)
	r.core.change(func(p *link.Policy) { delete(p.People, "user_alice") })
	ask("userinfo", token, 401, "invalid_token")
	r.core.silent.Store(int64(time.Hour)) // longer than sessions count
	ask("userinfo", token, 503, "try again")
	r.core.silent.Store(0)
	ask("userinfo", token, 401, "invalid_token")
}

// TestNarrow: one pod cannot take all connections.
func TestNarrow(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	narrow := gateway.Narrow(l)
	t.Cleanup(func() { narrow.Close() })
	const most = 64
	var mine, theirs []net.Conn
	open := func() {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		mine = append(mine, c)
	}
	accept := func() {
		t.Helper()
		c, err := narrow.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		theirs = append(theirs, c)
	}
	for range most {
		open()
		accept()
	}
	theirs[0].Close()
	open() // in its place
	accept()
	open() // one too many
	if err := loop.Run(t.Context(), func(context.Context) error {
		_, _ = narrow.Accept() // refuses it, and ends with the listener
		return nil
	}, func(context.Context) error {
		defer narrow.Close()
		if _, err := mine[most+1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return fmt.Errorf("the connection over the limit: %w, want it closed", err)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}
