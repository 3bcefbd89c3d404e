package session_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
)

func newKey(t *testing.T, id string) (session.Key, link.SessionKey) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return session.Key{ID: id, Private: priv}, link.SessionKey{ID: id, Public: pub}
}

func TestVerify(t *testing.T) {
	now := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	key, pub := newKey(t, "k1")
	other, otherPub := newKey(t, "k2")
	good := session.Claims{
		Session: "ses_1", User: "user_1", Epoch: 7, Host: "slipway.localhost", Issued: now, Expires: now.Add(time.Hour),
	}
	sign := func(k session.Key, c session.Claims) string {
		token, err := session.Sign(k, c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	token := sign(key, good)
	got, err := session.Verify([]link.SessionKey{otherPub, pub}, token, now)
	if err != nil || got != good {
		t.Fatalf("got %+v, %v", got, err)
	}

	long := good
	long.Expires = now.Add(13 * time.Hour)
	hostless := good
	hostless.Host = ""
	parts := strings.Split(token, ".")
	none := "eyJhbGciOiJub25lIiwia2lkIjoiazEiLCJ0eXAiOiJzbGlwd2F5LXNlc3Npb24ifQ." + parts[1] + "."
	hmac := func() string { // the public key as an HMAC secret
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: pub.Public, KeyID: "k1"}},
			(&jose.SignerOptions{}).WithType("slipway-session"))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign([]byte(`{"sid":"ses_1","sub":"user_1","host":"h","iat":0,"exp":9999999999}`))
		if err != nil {
			t.Fatal(err)
		}
		out, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}()
	untyped := func() string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key.Private, KeyID: "k1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		jws, err := s.Sign([]byte(`{"sid":"ses_1","sub":"user_1","host":"h","iat":0,"exp":1}`))
		if err != nil {
			t.Fatal(err)
		}
		out, _ := jws.CompactSerialize()
		return out
	}()
	for name, c := range map[string]struct {
		token string
		keys  []link.SessionKey
		now   time.Time
	}{
		"expired":           {token, []link.SessionKey{pub}, now.Add(time.Hour)},
		"no keys":           {token, nil, now},
		"retired key":       {token, []link.SessionKey{otherPub}, now},
		"same id other key": {sign(session.Key{ID: "k1", Private: other.Private}, good), []link.SessionKey{pub}, now},
		"alg none":          {none, []link.SessionKey{pub}, now},
		"alg HS256":         {hmac, []link.SessionKey{pub}, now},
		"other type":        {untyped, []link.SessionKey{pub}, now},
		"changed":           {parts[0] + "." + parts[1] + "x." + parts[2], []link.SessionKey{pub}, now},
		"lives too long":    {sign(key, long), []link.SessionKey{pub}, now},
		"for no host":       {sign(key, hostless), []link.SessionKey{pub}, now},
		"empty":             {"", []link.SessionKey{pub}, now},
		"huge":              {strings.Repeat("a", 5000), []link.SessionKey{pub}, now},
	} {
		if _, err := session.Verify(c.keys, c.token, c.now); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("eyJhbGciOiJFZERTQSJ9.e30.AA")
	f.Add("..")
	keys := []link.SessionKey{{ID: "", Public: make([]byte, ed25519.PublicKeySize)}}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := session.Verify(keys, token, time.Unix(0, 0)); err == nil {
			t.Errorf("accepted %q", token)
		}
	})
}
