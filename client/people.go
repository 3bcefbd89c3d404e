package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"slipway.dev/slipway"
)

// Whoami is who asks and with what.
type Whoami struct {
	User   slipway.User    `json:"user"`
	Token  slipway.TokenID `json:"token_id,omitempty"`
	Scopes []slipway.Scope `json:"scopes,omitempty" doc:"Of the token; absent for a session, which has all."`
}

// Login asks for a token by password.
type Login struct {
	Username string `json:"username" minLength:"1" maxLength:"64"`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
	Token    string `json:"token_name,omitempty" maxLength:"100" doc:"What the token is called in the list of tokens."`
}

// CreateToken makes an API token for oneself.
type CreateToken struct {
	Name    string          `json:"name" minLength:"1" maxLength:"100"`
	Scopes  []slipway.Scope `json:"scopes" minItems:"1" doc:"read, deploy or all."`
	Expires *time.Time      `json:"expires,omitempty" doc:"Absent = never."`
}

// Token is an API token without its secret.
type Token struct {
	ID      slipway.TokenID `json:"id"`
	Name    string          `json:"name"`
	Scopes  []slipway.Scope `json:"scopes"`
	Created time.Time       `json:"created"`
	Expires *time.Time      `json:"expires,omitempty"`
	Used    *time.Time      `json:"last_used,omitempty"`
}

// NewToken is a token with its secret, which is shown this once.
type NewToken struct {
	Token
	User   string `json:"user"`
	Secret string `json:"secret" doc:"Send it as Authorization: Bearer. It is not shown again."`
}

// AddSSHKey adds a public key with which one comes to git over SSH.
type AddSSHKey struct {
	Name string `json:"name,omitempty" maxLength:"100" doc:"Absent = what the key's own comment says."`
	Key  string `json:"key" maxLength:"16384" doc:"The one line of a .pub file: ed25519, ECDSA, their sk- forms on a security key, or RSA of at least 2048 bits."`
}

// SSHKey is a public key of a person.
type SSHKey struct {
	ID          slipway.SSHKeyID `json:"id"`
	Name        string           `json:"name"`
	Type        string           `json:"type" doc:"ssh-ed25519 and so on."`
	Fingerprint string           `json:"fingerprint" doc:"As ssh-keygen -l prints it: SHA256:…"`
	Created     time.Time        `json:"created"`
	Used        *time.Time       `json:"last_used,omitempty"`
}

// Session is a browser in which one is signed in.
type Session struct {
	ID      slipway.SessionID `json:"id"`
	Created time.Time         `json:"created"`
	Seen    time.Time         `json:"seen"`
	Expires time.Time         `json:"expires"`
	Agent   string            `json:"agent,omitempty"`
	Addr    string            `json:"addr,omitempty"`
	Current bool              `json:"current,omitempty"`
}

// CreateUser makes a person.
type CreateUser struct {
	Name     string         `json:"name" minLength:"1" maxLength:"64"`
	Password string         `json:"password" minLength:"1" maxLength:"1024"`
	Email    string         `json:"email,omitempty" maxLength:"254"`
	FullName string         `json:"full_name,omitempty" maxLength:"200"`
	Roles    []slipway.Role `json:"roles,omitempty" doc:"viewer (everyone), licensed_user (may create and own apps), admin."`
}

// UpdateUser changes what is given.
type UpdateUser struct {
	Email    *string         `json:"email,omitempty" maxLength:"254"`
	FullName *string         `json:"full_name,omitempty" maxLength:"200"`
	Roles    *[]slipway.Role `json:"roles,omitempty"`
	Disabled *bool           `json:"disabled,omitempty" doc:"A disabled person is signed out everywhere."`
}

// SetPassword gives a person a new password.
type SetPassword struct {
	Old      string `json:"old_password,omitempty" maxLength:"1024" doc:"Needed for one's own, unless one is an administrator."`
	Password string `json:"password" minLength:"1" maxLength:"1024"`
}

// Whoami asks who the client is.
func (c *Client) Whoami(ctx context.Context) (*Whoami, error) {
	var out Whoami
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/whoami"}, &out)
	return &out, err
}

// Login makes a token by password.
func (c *Client) Login(ctx context.Context, in Login) (*NewToken, error) {
	var out NewToken
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/login", in: in}, &out)
	return &out, err
}

// Tokens lists one's own tokens.
func (c *Client) Tokens(ctx context.Context) ([]Token, error) {
	return all[Token](ctx, c, "/v1/tokens", nil)
}

// CreateToken makes a token; key makes repeating it harmless.
func (c *Client) CreateToken(ctx context.Context, in CreateToken, key string) (*NewToken, error) {
	var out NewToken
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/tokens", in: in, key: key}, &out)
	return &out, err
}

// SSHKeys lists one's own SSH keys.
func (c *Client) SSHKeys(ctx context.Context) ([]SSHKey, error) {
	return all[SSHKey](ctx, c, "/v1/ssh-keys", nil)
}

// AddSSHKey adds a key; key makes repeating it harmless.
func (c *Client) AddSSHKey(ctx context.Context, in AddSSHKey, key string) (*SSHKey, error) {
	var out SSHKey
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/ssh-keys", in: in, key: key}, &out)
	return &out, err
}

// RemoveSSHKey takes one of one's own keys away.
func (c *Client) RemoveSSHKey(ctx context.Context, id slipway.SSHKeyID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/ssh-keys/" + url.PathEscape(string(id))}, nil)
}

// RevokeToken ends one of one's own tokens.
func (c *Client) RevokeToken(ctx context.Context, id slipway.TokenID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/tokens/" + url.PathEscape(string(id))}, nil)
}

// Sessions lists where one is signed in.
func (c *Client) Sessions(ctx context.Context) ([]Session, error) {
	return all[Session](ctx, c, "/v1/sessions", nil)
}

// EndSession signs one of one's own browsers out.
func (c *Client) EndSession(ctx context.Context, id slipway.SessionID) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/sessions/" + url.PathEscape(string(id))}, nil)
}

// Users lists everybody, for administrators.
func (c *Client) Users(ctx context.Context, query string) ([]slipway.User, error) {
	q := url.Values{}
	if query != "" {
		q.Set("q", query)
	}
	return all[slipway.User](ctx, c, "/v1/users", q)
}

func userPath(name string) string { return "/v1/users/" + url.PathEscape(name) }

// User gets one person.
func (c *Client) User(ctx context.Context, name string) (*slipway.User, error) {
	var out slipway.User
	err := c.do(ctx, call{method: http.MethodGet, path: userPath(name)}, &out)
	return &out, err
}

// CreateUser makes a person; key makes repeating it harmless.
func (c *Client) CreateUser(ctx context.Context, in CreateUser, key string) (*slipway.User, error) {
	var out slipway.User
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/users", in: in, key: key}, &out)
	return &out, err
}

// UpdateUser changes a person.
func (c *Client) UpdateUser(ctx context.Context, name string, in UpdateUser) (*slipway.User, error) {
	var out slipway.User
	err := c.do(ctx, call{method: http.MethodPatch, path: userPath(name), in: in}, &out)
	return &out, err
}

// SetPassword gives a person a new password.
func (c *Client) SetPassword(ctx context.Context, name string, in SetPassword) error {
	return c.do(ctx, call{method: http.MethodPut, path: userPath(name) + "/password", in: in}, nil)
}
