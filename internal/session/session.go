// Package session signs and verifies session tokens: what a browser carries on
// an app's host, so that a gateway knows who asks without asking the core. The
// core signs; gateways hold public keys only. A token that verifies may still
// have been revoked: that is judged by the gateway's table.
package session

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/link"
)

// MaxLife is the longest life of a token. The core's session may live longer:
// the browser then fetches a new token by itself.
const MaxLife = 12 * time.Hour

// maxToken is far beyond the longest token that Sign makes.
const maxToken = 4096

// Claims are what a token says.
type Claims struct {
	Session slipway.SessionID
	User    slipway.UserID
	Epoch   int64  // of the person, when it was signed
	Host    string // the only host that it is good for
	Issued  time.Time
	Expires time.Time
}

type payload struct {
	Session slipway.SessionID `json:"sid"`
	User    slipway.UserID    `json:"sub"`
	Epoch   int64             `json:"epoch"`
	Host    string            `json:"host"`
	Issued  int64             `json:"iat"`
	Expires int64             `json:"exp"`
}

// ErrInvalid is returned for every token that is not good. Which rule it
// broke is of no use to whoever sent it.
var ErrInvalid = errors.New("the session token is not valid")

// Key signs tokens.
type Key struct {
	ID      string
	Private ed25519.PrivateKey
}

// Sign makes a token.
func Sign(k Key, c Claims) (string, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: k.Private, KeyID: k.ID}},
		(&jose.SignerOptions{}).WithType("slipway-session"),
	)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(payload{c.Session, c.User, c.Epoch, c.Host, c.Issued.Unix(), c.Expires.Unix()})
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}

// Verify returns the claims of a token whose signature holds by one of the
// keys and which has not expired at now.
func Verify(keys []link.SessionKey, token string, now time.Time) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, ErrInvalid
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Claims{}, ErrInvalid
	}
	h := jws.Signatures[0].Protected
	if h.ExtraHeaders[jose.HeaderType] != "slipway-session" {
		return Claims{}, ErrInvalid
	}
	for _, k := range keys {
		if k.ID != h.KeyID || len(k.Public) != ed25519.PublicKeySize {
			continue
		}
		text, err := jws.Verify(ed25519.PublicKey(k.Public))
		if err != nil {
			return Claims{}, ErrInvalid
		}
		var p payload
		if json.Unmarshal(text, &p) != nil {
			return Claims{}, ErrInvalid
		}
		c := Claims{p.Session, p.User, p.Epoch, p.Host, time.Unix(p.Issued, 0).UTC(), time.Unix(p.Expires, 0).UTC()}
		if !now.Before(c.Expires) || c.Expires.Sub(c.Issued) > MaxLife || c.Session == "" || c.User == "" || c.Host == "" {
			return Claims{}, ErrInvalid
		}
		return c, nil
	}
	return Claims{}, ErrInvalid
}
