package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// DeployEvent is something that happened in a deploy: a step that began or
// ended, a line of the build's output, or the deploy's end.
type DeployEvent struct {
	Seq    int64               `json:"seq"`
	At     time.Time           `json:"at"`
	Step   *slipway.DeployStep `json:"step,omitempty"`
	Line   string              `json:"line,omitempty"`
	Deploy *slipway.Deploy     `json:"deploy,omitempty" doc:"Given with the last event."`
}

// Rollback names the release to go back to.
type Rollback struct {
	Release int `json:"release,omitempty" minimum:"0" doc:"Absent or 0 = the one before the current."`
}

// Upload is a deploy from an archive.
type Upload struct {
	Tar     io.Reader // tar, not compressed
	Message string
	Commit  string
	Key     string // makes repeating it harmless
}

// Deploy uploads an app's files and starts a deploy.
func (c *Client) Deploy(ctx context.Context, name string, in Upload) (*slipway.Deploy, error) {
	q := url.Values{}
	if in.Message != "" {
		q.Set("message", in.Message)
	}
	if in.Commit != "" {
		q.Set("commit", in.Commit)
	}
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(name, "deploys"), query: q, body: in.Tar, contentType: "application/x-tar", key: in.Key}, &out)
	return &out, err
}

// Deploys lists an app's deploys, newest first, at most limit.
func (c *Client) Deploys(ctx context.Context, name string, limit int) ([]slipway.Deploy, error) {
	var p Page[slipway.Deploy]
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(name, "deploys"), query: url.Values{"limit": {strconv.Itoa(limit)}}}, &p)
	return p.Items, err
}

func deployPath(id slipway.DeployID) string { return "/v1/deploys/" + url.PathEscape(string(id)) }

// GetDeploy gets one deploy.
func (c *Client) GetDeploy(ctx context.Context, id slipway.DeployID) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodGet, path: deployPath(id)}, &out)
	return &out, err
}

// CancelDeploy asks a deploy to stop; it does so before traffic is switched.
func (c *Client) CancelDeploy(ctx context.Context, id slipway.DeployID) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: deployPath(id) + "/cancel"}, &out)
	return &out, err
}

// FollowDeploy calls fn for everything that happened and happens in a deploy,
// until it is final, and returns how it ended. A broken connection is made
// again; the deploy does not depend on it.
func (c *Client) FollowDeploy(ctx context.Context, id slipway.DeployID, fn func(DeployEvent) error) (*slipway.Deploy, error) {
	var final *slipway.Deploy
	err := c.follow(ctx, deployPath(id)+"/events", nil, func(e event) error {
		var d DeployEvent
		if err := json.Unmarshal(e.data, &d); err != nil {
			return errs.Wrap(err, errs.KindInvalid, "the platform sent an event that this client does not understand")
		}
		if err := fn(d); err != nil {
			return err
		}
		if d.Deploy != nil && d.Deploy.State.Final() {
			final = d.Deploy
			return errDone
		}
		return nil
	})
	if err == nil && final == nil {
		final, err = c.GetDeploy(ctx, id)
	}
	return final, err
}

// Releases lists an app's releases, newest first, at most limit.
func (c *Client) Releases(ctx context.Context, name string, limit int) ([]slipway.Release, error) {
	var p Page[slipway.Release]
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(name, "releases"), query: url.Values{"limit": {strconv.Itoa(limit)}}}, &p)
	return p.Items, err
}

// Rollback starts a deploy of an older release's files; n = 0 is the one before
// the current.
func (c *Client) Rollback(ctx context.Context, name string, n int) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(name, "rollback"), in: Rollback{Release: n}}, &out)
	return &out, err
}
