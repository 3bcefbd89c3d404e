package people

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

// What keys are for.
const (
	useSession = "session" // Ed25519, session tokens
	useOIDC    = "oidc"    // RS256, what apps and clients believe
)

// Rotation: a new key is published for an hour before it signs, so that those
// who cache keys know it; an old one is published until the last token that it
// signed has expired.
const (
	keyLife      = 30 * 24 * time.Hour
	publishAhead = time.Hour
	retireAfter  = 24 * time.Hour
)

type key struct {
	id        string
	notBefore time.Time
	private   crypto.Signer
}

func (k key) ed25519() ed25519.PrivateKey {
	p, _ := k.private.(ed25519.PrivateKey)
	return p
}

// keyring remembers keys that were opened, because parsing RSA keys is dear.
type keyring struct {
	mu     sync.Mutex
	opened map[string]key
}

// published returns the keys of a use that may be in use, newest first.
func (s *Service) published(ctx context.Context, use string) ([]key, error) {
	var stored []store.SigningKey
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		stored, err = tx.SigningKeys(use)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	var out []key
	for _, k := range stored {
		if !k.RetireAt.IsZero() && !s.now().Before(k.RetireAt) {
			continue
		}
		opened, ok := s.keys.opened[k.ID]
		if !ok {
			if opened, err = s.open(k); err != nil {
				return nil, err
			}
			s.keys.opened[k.ID] = opened
		}
		out = append(out, opened)
	}
	return out, nil
}

func (s *Service) open(k store.SigningKey) (key, error) {
	der, err := s.Box.Open(k.Sealed, "signing-key:"+k.ID)
	if err != nil {
		return key{}, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return key{}, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return key{}, fmt.Errorf("signing key %s cannot sign", k.ID)
	}
	return key{k.ID, k.NotBefore, private}, nil
}

// signingKey is the newest one that was published for long enough.
func (s *Service) signingKey(ctx context.Context, use string) (key, error) {
	keys, err := s.published(ctx, use)
	if err != nil {
		return key{}, err
	}
	for _, k := range keys {
		if !s.now().Before(k.notBefore) {
			return k, nil
		}
	}
	return key{}, errors.New("there is no key to sign with: Load makes one")
}

// rotate makes keys that are due and tells gateways the public ones.
func (s *Service) rotate(ctx context.Context) error {
	for _, use := range []string{useSession, useOIDC} {
		keys, err := s.published(ctx, use)
		if err != nil {
			return err
		}
		now := s.now()
		if len(keys) > 0 && now.Sub(keys[0].notBefore) < keyLife {
			continue
		}
		from := now
		if len(keys) > 0 {
			from = now.Add(publishAhead)
		}
		if err := s.addKey(ctx, use, now, from); err != nil {
			return err
		}
	}
	keys, err := s.published(ctx, useSession)
	if err != nil {
		return err
	}
	var public []link.SessionKey
	for _, k := range keys {
		if pub, ok := k.private.Public().(ed25519.PublicKey); ok {
			public = append(public, link.SessionKey{ID: k.id, Public: pub})
		}
	}
	set, err := s.JWKS(ctx)
	if err != nil {
		return err
	}
	apps, err := json.Marshal(set)
	if err != nil {
		return err
	}
	s.Hub.SetKeys(public, apps)
	return nil
}

func (s *Service) addKey(ctx context.Context, use string, now, from time.Time) error {
	var private any
	var err error
	if use == useOIDC {
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	id := slipway.NewID("key")
	sealed := s.Box.Seal(der, "signing-key:"+id)
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		err := tx.AddSigningKey(store.SigningKey{ID: id, Use: use, Sealed: sealed, Created: now, NotBefore: from}, from.Add(retireAfter))
		if err != nil {
			return err
		}
		return tx.AddAudit(store.Audit{At: now, Actor: "system:keys", Verb: "key.create", Object: id, Result: "ok", Detail: use})
	})
}

// JWKS returns the public keys by which apps and clients verify tokens.
func (s *Service) JWKS(ctx context.Context) (jose.JSONWebKeySet, error) {
	keys, err := s.published(ctx, useOIDC)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		// Entries without alg sign nobody on in apps' libraries.
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(jose.RS256), Use: "sig"})
	}
	return set, err
}

// SignJWT signs claims as a JWT with the key of the OpenID provider.
func (s *Service) SignJWT(ctx context.Context, claims any) (string, error) {
	k, err := s.signingKey(ctx, useOIDC)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	jws, err := signer.Sign(text)
	if err != nil {
		return "", err
	}
	return jws.CompactSerialize()
}
