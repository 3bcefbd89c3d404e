package client

import (
	"context"
	"net/http"
	"net/url"

	"slipway.dev/slipway"
)

// App is an app and where it is.
type App struct {
	slipway.App
	URL string `json:"url" doc:"Where it is opened."`
	Git string `json:"git_remote" doc:"Where git pushes to."`
	SSH string `json:"git_ssh,omitempty" doc:"Where git pushes to over SSH; absent where that is off."`
}

// CreateApp makes an app.
type CreateApp struct {
	Name        string `json:"name" doc:"Lowercase letters, digits and -; starts with a letter; at most 30. It is the path in the URL." example:"iris"`
	Title       string `json:"title,omitempty" maxLength:"200"`
	Description string `json:"description,omitempty" maxLength:"4000"`
}

// UpdateApp changes what is given.
type UpdateApp struct {
	Title       *string         `json:"title,omitempty" maxLength:"200"`
	Description *string         `json:"description,omitempty" maxLength:"4000"`
	Access      *slipway.Access `json:"access,omitempty" enum:"restricted,authenticated,unauthenticated"`
	Isolated    *bool           `json:"isolated,omitempty" doc:"Serve it on a host of its own."`
	InPortal    *bool           `json:"in_portal,omitempty"`
	Tags        *[]string       `json:"tags,omitempty" maxItems:"20" doc:"Of at most 40 characters each."`
	Rank        *int            `json:"rank,omitempty" minimum:"0" maximum:"1000000" doc:"Place in the Portal, 1 first; 0 = behind those that have one."`
	Contact     *string         `json:"contact,omitempty" maxLength:"200" doc:"Whom viewers ask; empty = the owner."`
	HealthPath  *string         `json:"health_path,omitempty" maxLength:"1000" doc:"Path below the app that answers with a status below 500 when it is well."`
}

// TransferApp gives an app to another owner.
type TransferApp struct {
	To string `json:"to" doc:"User name of the new owner."`
}

// ShareApp gives somebody a right on an app.
type ShareApp struct {
	Role slipway.GrantRole `json:"role" enum:"viewer,co-owner"`
}

// AppFilter selects apps.
type AppFilter struct {
	Query  string // part of the name or title
	Owner  string // user name
	Portal bool   // those that this person may open from the Portal
}

func appPath(name string, more ...string) string {
	p := "/v1/apps/" + url.PathEscape(name)
	for _, m := range more {
		p += "/" + url.PathEscape(m)
	}
	return p
}

// Apps lists the apps that one may see.
func (c *Client) Apps(ctx context.Context, f AppFilter) ([]App, error) {
	q := url.Values{}
	if f.Query != "" {
		q.Set("q", f.Query)
	}
	if f.Owner != "" {
		q.Set("owner", f.Owner)
	}
	if f.Portal {
		q.Set("portal", "true")
	}
	return all[App](ctx, c, "/v1/apps", q)
}

// CreateApp makes an app; key makes repeating it harmless.
func (c *Client) CreateApp(ctx context.Context, in CreateApp, key string) (*App, error) {
	var out App
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/apps", in: in, key: key}, &out)
	return &out, err
}

// App gets one app.
func (c *Client) App(ctx context.Context, name string) (*App, error) {
	var out App
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(name)}, &out)
	return &out, err
}

// UpdateApp changes an app.
func (c *Client) UpdateApp(ctx context.Context, name string, in UpdateApp) (*App, error) {
	var out App
	err := c.do(ctx, call{method: http.MethodPatch, path: appPath(name), in: in}, &out)
	return &out, err
}

// DeleteApp removes an app with all it has; confirm repeats its name.
func (c *Client) DeleteApp(ctx context.Context, name, confirm string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(name), query: url.Values{"confirm": {confirm}}}, nil)
}

// TransferApp gives the app to another owner.
func (c *Client) TransferApp(ctx context.Context, name, to string) (*App, error) {
	var out App
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(name, "transfer"), in: TransferApp{To: to}}, &out)
	return &out, err
}

// Grants lists who has rights on the app beside its owner.
func (c *Client) Grants(ctx context.Context, name string) ([]slipway.Grant, error) {
	return all[slipway.Grant](ctx, c, appPath(name, "grants"), nil)
}

// Share gives a person a right on the app, or changes it.
func (c *Client) Share(ctx context.Context, name, user string, role slipway.GrantRole) error {
	return c.do(ctx, call{method: http.MethodPut, path: appPath(name, "grants", user), in: ShareApp{Role: role}}, nil)
}

// Unshare takes the right away.
func (c *Client) Unshare(ctx context.Context, name, user string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(name, "grants", user)}, nil)
}

// PatchEnv changes variables: first those to set, then those to take away.
type PatchEnv struct {
	Set   []slipway.EnvVar `json:"set,omitempty" maxItems:"500"`
	Unset []string         `json:"unset,omitempty" maxItems:"500"`
}

// envPath is an app's, or with an empty name the global one.
func envPath(name string) string {
	if name == "" {
		return "/v1/env"
	}
	return appPath(name, "env")
}

// Env lists an app's variables, or with an empty name the global ones.
func (c *Client) Env(ctx context.Context, name string) ([]slipway.EnvVar, error) {
	return all[slipway.EnvVar](ctx, c, envPath(name), nil)
}

// PatchEnv changes an app's variables, or with an empty name the global ones.
// They reach the app with its next release.
func (c *Client) PatchEnv(ctx context.Context, name string, in PatchEnv) error {
	return c.do(ctx, call{method: http.MethodPatch, path: envPath(name), in: in}, nil)
}
