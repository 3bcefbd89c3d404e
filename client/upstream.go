package client

import (
	"context"
	"net/http"

	"slipway.dev/slipway"
)

// SetUpstream says from which git repository an app's code is fetched.
type SetUpstream struct {
	URL   string  `json:"url" maxLength:"500" doc:"https://host/path, without user name and password." example:"https://github.com/me/app"`
	Ref   string  `json:"ref,omitempty" maxLength:"250" doc:"Branch, tag or whole commit id; absent = the repository's default branch."`
	User  string  `json:"user,omitempty" maxLength:"200" doc:"User name that goes with the token; absent = any."`
	Token *string `json:"token,omitempty" maxLength:"4000" doc:"Access token of a private repository. It is never read back. Absent = the one given before for the same url and user; empty = none." writeOnly:"true"`
}

// FetchUpstream changes one deploy from the upstream.
type FetchUpstream struct {
	Ref     string `json:"ref,omitempty" maxLength:"250" doc:"Instead of the upstream's own."`
	Replace bool   `json:"replace,omitempty" doc:"Take the place of the app's commits even where the upstream's do not lead on from them. Those stay on a branch of their own."`
}

// SetUpstream says from which git repository an app's code is fetched; nothing
// is fetched yet.
func (c *Client) SetUpstream(ctx context.Context, app string, in SetUpstream) (*slipway.Upstream, error) {
	var out slipway.Upstream
	err := c.do(ctx, call{method: http.MethodPut, path: appPath(app, "upstream"), in: in}, &out)
	return &out, err
}

// RemoveUpstream forgets the repository and its token.
func (c *Client) RemoveUpstream(ctx context.Context, app string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(app, "upstream")}, nil)
}

// DeployUpstream fetches what is newest in an app's upstream and starts a deploy
// of it.
func (c *Client) DeployUpstream(ctx context.Context, app string, in FetchUpstream, key string) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(app, "deploys", "upstream"), in: in, key: key}, &out)
	return &out, err
}
