package people

import (
	"context"
	"strings"
	"time"
	"unicode"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// tokenPrefix lets people and secret scanners know a token when they see one.
const tokenPrefix = "slp_"

// maxTokens a person may have.
const maxTokens = 500

// Token is an API token without its secret.
type Token struct {
	ID      slipway.TokenID
	Name    string
	Scopes  []slipway.Scope
	Created time.Time
	Expires *time.Time // nil = never
	Used    *time.Time // nil = never
}

// NewToken is a token with its secret, which cannot be had again.
type NewToken struct {
	Token
	Secret secret.String
}

// CreateToken makes a token for oneself.
type CreateToken struct {
	Name    string
	Scopes  []slipway.Scope
	Expires *time.Time // nil = never
}

func tokenOf(t store.Token) Token {
	out := Token{ID: t.ID, Name: t.Name, Scopes: t.Scopes, Created: t.Created}
	if !t.Expires.IsZero() {
		out.Expires = &t.Expires
	}
	if !t.Used.IsZero() {
		out.Used = &t.Used
	}
	return out
}

// CreateToken makes an API token for the person who asks.
func (s *Service) CreateToken(ctx context.Context, in CreateToken) (NewToken, error) {
	a, err := me(ctx, access.MakeTokens)
	if err != nil {
		return NewToken{}, err
	}
	now := s.now()
	if err := checkToken(in, now); err != nil {
		return NewToken{}, err
	}
	text := tokenPrefix + secret.Random(32).Reveal()
	t := store.Token{
		ID: slipway.TokenID(slipway.NewID("tok")), User: a.User.ID, Name: strings.TrimSpace(in.Name),
		Hash: digest(text), Scopes: in.Scopes, Created: now,
	}
	if in.Expires != nil {
		t.Expires = in.Expires.UTC().Truncate(time.Microsecond)
	}
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		have, err := tx.TokensOf(a.User.ID)
		if err != nil {
			return err
		}
		if len(have) >= maxTokens {
			return errs.Exhausted("you have %d API tokens: revoke some first", len(have))
		}
		if err := tx.AddToken(t); err != nil {
			return err
		}
		return s.audit(ctx, tx, "token.create", string(t.ID), t.Name)
	})
	if err != nil {
		return NewToken{}, err
	}
	return NewToken{tokenOf(t), secret.New(text)}, nil
}

func checkToken(in CreateToken, now time.Time) error {
	var wrong []errs.Field
	name := strings.TrimSpace(in.Name)
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, unicode.IsControl) {
		wrong = note(wrong, "name", "is needed: 1 to 100 characters that say what the token is for")
	}
	if len(in.Scopes) == 0 {
		wrong = note(wrong, "scopes", "is needed: read, deploy or all")
	}
	for _, sc := range in.Scopes {
		switch sc {
		case slipway.ScopeRead, slipway.ScopeDeploy, slipway.ScopeAll:
		default:
			wrong = note(wrong, "scopes", "may be read, deploy and all; "+string(sc)+" is none of them")
		}
	}
	if in.Expires != nil && !in.Expires.After(now) {
		wrong = note(wrong, "expires", "is in the past")
	}
	return errs.Fields("this token cannot be made as asked", wrong...)
}

// Tokens lists one's own tokens, newest first.
func (s *Service) Tokens(ctx context.Context) ([]Token, error) {
	a, err := me(ctx, access.ReadAccount)
	if err != nil {
		return nil, err
	}
	var found []store.Token
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.TokensOf(a.User.ID)
		return err
	})
	out := []Token{}
	for _, t := range found {
		out = append(out, tokenOf(t))
	}
	return out, err
}

// RevokeToken ends one of one's own tokens.
func (s *Service) RevokeToken(ctx context.Context, id slipway.TokenID) error {
	a, err := me(ctx, access.MakeTokens)
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		there, err := tx.DeleteToken(a.User.ID, id)
		if err != nil {
			return err
		}
		if !there {
			return errs.NotFound("you have no token %q", id)
		}
		return s.audit(ctx, tx, "token.revoke", string(id), "")
	})
}

// Token returns who an API token speaks for.
func (s *Service) Token(ctx context.Context, text string) (slipway.Actor, error) {
	bad := errs.Unauthenticated("this API token is not valid: it may have expired, or was revoked")
	if !strings.HasPrefix(text, tokenPrefix) || len(text) > 100 {
		return slipway.Actor{}, bad
	}
	now := s.now()
	var t store.Token
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if t, err = tx.TokenByHash(digest(text)); err != nil {
			return err
		}
		p, err = tx.Person(t.User)
		return err
	})
	switch {
	case errs.Is(err, errs.KindNotFound):
		return slipway.Actor{}, bad
	case err != nil:
		return slipway.Actor{}, err
	case p.Disabled, !t.Expires.IsZero() && !now.Before(t.Expires):
		return slipway.Actor{}, bad
	}
	if now.Sub(t.Used) > seenEvery {
		if err := s.DB.Update(ctx, func(tx *store.Tx) error { return tx.TouchToken(t.ID, now) }); err != nil {
			return slipway.Actor{}, err
		}
	}
	return slipway.Actor{User: &p.User, Token: t.ID, Scopes: t.Scopes}, nil
}
