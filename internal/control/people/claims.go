package people

import (
	"context"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

// Tokens for apps live long, because background callbacks use them after a
// wait; the gateway, not their end, is what keeps people out. They are dated
// back, because the library in apps grants a clock no leeway.
const (
	appTokenLife = 2 * time.Hour
	backdate     = 30 * time.Second
)

type roleClaims struct {
	Roles []slipway.Role `json:"roles"`
}

type appClaims struct {
	Issuer    string                `json:"iss"`
	Subject   slipway.UserID        `json:"sub"`
	Audience  any                   `json:"aud"`
	Issued    int64                 `json:"iat"`
	Expires   int64                 `json:"exp"`
	ID        string                `json:"jti"`
	Type      string                `json:"typ"`
	Party     string                `json:"azp"`
	App       slipway.AppID         `json:"app"`
	Username  string                `json:"preferred_username"`
	Email     string                `json:"email,omitempty"`
	Name      string                `json:"name,omitempty"`
	Groups    []string              `json:"groups"`
	Scope     string                `json:"scope,omitempty"`
	Resources map[string]roleClaims `json:"resource_access,omitempty"`
}

// Issuer is who vouches for people: the realm's address.
func Issuer(h slipway.Hosts) string { return h.Auth() + "/auth/realms/dash" }

// AppTokens returns what an app gets to know of a session's person. The
// tokens are made for this app, and good for nothing but userinfo here.
func (s *Service) AppTokens(ctx context.Context, sid slipway.SessionID, app slipway.AppID) (link.Tokens, error) {
	if app == "" {
		return link.Tokens{}, errs.Invalid("tokens are made for an app: which?")
	}
	a, err := s.live(ctx, func(tx *store.Tx) (store.Session, error) { return tx.Session(sid) })
	if err != nil {
		return link.Tokens{}, err
	}
	now := s.now()
	c := appClaims{
		Issuer: Issuer(s.Hosts), Subject: a.User.ID, Issued: now.Add(-backdate).Unix(), Expires: now.Add(appTokenLife).Unix(),
		Party: "dash", App: app, Username: a.User.Name, Email: a.User.Email, Name: a.User.FullName, Groups: []string{},
	}
	if c.Name == "" {
		c.Name = a.User.Name
	}
	c.Type, c.Audience, c.ID = "ID", "dash", slipway.NewID("jti")
	id, err := s.SignJWT(ctx, c)
	if err != nil {
		return link.Tokens{}, err
	}
	c.Type, c.Audience, c.ID = "Bearer", []string{"account"}, slipway.NewID("jti")
	c.Scope = "openid profile email"
	c.Resources = map[string]roleClaims{"dash": {append([]slipway.Role{slipway.RoleViewer}, a.User.Roles...)}}
	acc, err := s.SignJWT(ctx, c)
	if err != nil {
		return link.Tokens{}, err
	}
	return link.Tokens{User: a.User.ID, IDToken: secret.New(id), AccessToken: secret.New(acc), Expires: time.Unix(c.Expires, 0).UTC()}, nil
}
