package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// PortalFilter selects cards of the Portal.
type PortalFilter struct {
	Query      string
	Tags       []string
	Favourites bool
	Recent     bool
}

// get asks for one thing.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	var out T
	err := c.do(ctx, call{method: http.MethodGet, path: path, query: query}, &out)
	return &out, err
}

// change sends in and gets how the thing then is.
func change[T any](ctx context.Context, c *Client, method, path string, in any) (*T, error) {
	var out T
	err := c.do(ctx, call{method: method, path: path, in: in}, &out)
	return &out, err
}

// Me asks who asks, and what a page needs to know to begin with.
func (c *Client) Me(ctx context.Context) (*Me, error) { return get[Me](ctx, c, "/v1/me", nil) }

// Portal lists all cards that the filter selects, and the tags that there are.
func (c *Client) Portal(ctx context.Context, f PortalFilter) (*Portal, error) {
	q := url.Values{"q": {f.Query}, "tag": f.Tags, "limit": {"200"}}
	if f.Favourites {
		q.Set("favourites", "true")
	}
	if f.Recent {
		q.Set("recent", "true")
	}
	out := &Portal{Page: Page[Card]{Items: []Card{}}}
	for {
		p, err := get[Portal](ctx, c, "/v1/portal", q)
		if err != nil {
			return nil, err
		}
		out.Items, out.Tags, out.Total = append(out.Items, p.Items...), p.Tags, p.Total
		if p.Next == "" || p.Next == q.Get("cursor") {
			return out, nil
		}
		q.Set("cursor", p.Next)
	}
}

// Star makes an app a favourite of one's own, or one no more.
func (c *Client) Star(ctx context.Context, name string, on bool) error {
	method := http.MethodDelete
	if on {
		method = http.MethodPut
	}
	return c.do(ctx, call{method: method, path: "/v1/portal/favourites/" + url.PathEscape(name)}, nil)
}

// SetThumbnail gives an app a picture; nil takes it away.
func (c *Client) SetThumbnail(ctx context.Context, name string, data []byte) error {
	return c.setPicture(ctx, appPath(name, "thumbnail"), data)
}

// SetLogo sets the platform's logo; nil takes it away.
func (c *Client) SetLogo(ctx context.Context, data []byte) error {
	return c.setPicture(ctx, "/v1/branding/logo", data)
}

func (c *Client) setPicture(ctx context.Context, path string, data []byte) error {
	if data == nil {
		return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
	}
	return c.do(ctx, call{method: http.MethodPut, path: path, body: bytes.NewReader(data), contentType: http.DetectContentType(data)}, nil)
}

// WhoMayOpen tells who may open an app, and why.
func (c *Client) WhoMayOpen(ctx context.Context, name string) (*AccessReport, error) {
	return get[AccessReport](ctx, c, appPath(name, "access"), nil)
}

// ExplainAccess tells why a person may open an app, or may not.
func (c *Client) ExplainAccess(ctx context.Context, name, user string) (*AccessAnswer, error) {
	return get[AccessAnswer](ctx, c, appPath(name, "access", "explain"), url.Values{"user": {user}})
}

// FindPeople finds people to share an app with.
func (c *Client) FindPeople(ctx context.Context, name, query string) ([]FoundPerson, error) {
	p, err := get[Page[FoundPerson]](ctx, c, appPath(name, "people"), url.Values{"q": {query}})
	return p.Items, err
}

// Compare tells what a release has differently from an older one; with = 0 is
// the one before it.
func (c *Client) Compare(ctx context.Context, name string, n, with int) (*Comparison, error) {
	return get[Comparison](ctx, c, appPath(name, "releases", strconv.Itoa(n), "compare"), url.Values{"with": {strconv.Itoa(with)}})
}

// Redeploy deploys the files of an earlier deploy again.
func (c *Client) Redeploy(ctx context.Context, id slipway.DeployID) (*slipway.Deploy, error) {
	return change[slipway.Deploy](ctx, c, http.MethodPost, deployPath(id)+"/redeploy", nil)
}

// DeployLog reads a deploy's log so far.
func (c *Client) DeployLog(ctx context.Context, id slipway.DeployID) ([]DeployLine, error) {
	return all[DeployLine](ctx, c, deployPath(id)+"/log", nil)
}

func spanQuery(last, step time.Duration) url.Values {
	q := url.Values{}
	if last > 0 {
		q.Set("from", time.Now().Add(-last).UTC().Format(time.RFC3339))
	}
	if step > 0 {
		q.Set("step", strconv.Itoa(int(step.Seconds())))
	}
	return q
}

// Metrics tells what was measured of an app in the last span of time; zero
// values are an hour, and the step that a plot needs.
func (c *Client) Metrics(ctx context.Context, name string, last, step time.Duration) (*Metrics, error) {
	return get[Metrics](ctx, c, appPath(name, "metrics"), spanQuery(last, step))
}

// Usage tells how the platform was used, for administrators.
func (c *Client) Usage(ctx context.Context, last, step time.Duration) (*Usage, error) {
	return get[Usage](ctx, c, "/v1/usage", spanQuery(last, step))
}

// UpdateBranding changes how the platform looks.
func (c *Client) UpdateBranding(ctx context.Context, in UpdateBranding) (*slipway.Branding, error) {
	return change[slipway.Branding](ctx, c, http.MethodPatch, "/v1/branding", in)
}

// Announcements lists all announcements.
func (c *Client) Announcements(ctx context.Context) ([]slipway.Announcement, error) {
	return all[slipway.Announcement](ctx, c, "/v1/announcements", nil)
}

// Announce tells everybody something; key makes repeating it harmless.
func (c *Client) Announce(ctx context.Context, in CreateAnnouncement, key string) (*slipway.Announcement, error) {
	var out slipway.Announcement
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/announcements", in: in, key: key}, &out)
	return &out, err
}

// Withdraw takes an announcement back.
func (c *Client) Withdraw(ctx context.Context, id string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/announcements/" + url.PathEscape(id)}, nil)
}

// Defaults tells what new apps begin with.
func (c *Client) Defaults(ctx context.Context) (*slipway.Defaults, error) {
	return get[slipway.Defaults](ctx, c, "/v1/defaults", nil)
}

// UpdateDefaults changes what new apps begin with.
func (c *Client) UpdateDefaults(ctx context.Context, in UpdateDefaults) (*slipway.Defaults, error) {
	return change[slipway.Defaults](ctx, c, http.MethodPatch, "/v1/defaults", in)
}

// Limits tells the platform's limits, and what is used.
func (c *Client) Limits(ctx context.Context) (*Limits, error) {
	return get[Limits](ctx, c, "/v1/limits", nil)
}

// UpdateLimits changes the platform's limits.
func (c *Client) UpdateLimits(ctx context.Context, in UpdateLimits) (*Limits, error) {
	return change[Limits](ctx, c, http.MethodPatch, "/v1/limits", in)
}

// Health tells how the platform's parts are.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	return get[Health](ctx, c, "/v1/health", nil)
}

func (f AuditFilter) values() url.Values {
	q := url.Values{}
	for k, v := range map[string]string{"actor": f.Actor, "verb": f.Verb, "object": f.Object, "q": f.Query} {
		if v != "" {
			q.Set(k, v)
		}
	}
	for k, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			q.Set(k, t.UTC().Format(time.RFC3339))
		}
	}
	return q
}

// Audit lists the newest lines of the audit log, at most limit.
func (c *Client) Audit(ctx context.Context, f AuditFilter, limit int) ([]slipway.AuditEntry, error) {
	q := f.values()
	q.Set("limit", strconv.Itoa(min(limit, 200)))
	out := []slipway.AuditEntry{}
	for len(out) < limit {
		p, err := get[Page[slipway.AuditEntry]](ctx, c, "/v1/audit", q)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Items...)
		if p.Next == "" {
			break
		}
		q.Set("cursor", p.Next)
	}
	return out[:min(len(out), limit)], nil
}

// ExportAudit writes all lines that the filter selects, as csv or ndjson.
func (c *Client) ExportAudit(ctx context.Context, f AuditFilter, format string, to io.Writer) error {
	q := f.values()
	q.Set("format", format)
	res, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/audit/export", query: q, accept: "*/*"})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(to, res.Body)
	return err
}

// FollowChanges calls fn for what changes of that which one may see, until ctx
// ends or fn returns an error.
func (c *Client) FollowChanges(ctx context.Context, fn func(Change) error) error {
	return c.follow(ctx, "/v1/events", nil, func(e event) error {
		var ch Change
		if err := json.Unmarshal(e.data, &ch); err != nil {
			return errs.Wrap(err, errs.KindInvalid, "the platform sent a change that this client does not understand")
		}
		return fn(ch)
	})
}

// ParseTags reads tags as people write them: a, b.
func ParseTags(s string) []string {
	out := []string{}
	for t := range strings.SplitSeq(s, ",") {
		if t = strings.TrimSpace(t); t != "" {
			out = append(out, t)
		}
	}
	return out
}
