package client

import (
	"context"
	"net/http"

	"slipway.dev/slipway"
)

// Template is an app to begin with.
type Template struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Framework   string `json:"framework"`
}

// FromTemplate names the template to deploy.
type FromTemplate struct {
	Template string `json:"template" maxLength:"60"`
}

// Templates lists the apps that a new one may begin with.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	return all[Template](ctx, c, "/v1/templates", nil)
}

// DeployTemplate starts a deploy of a template's files.
func (c *Client) DeployTemplate(ctx context.Context, app, template, key string) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(app, "deploys", "template"), in: FromTemplate{Template: template}, key: key}, &out)
	return &out, err
}
