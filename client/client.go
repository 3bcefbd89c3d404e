// Package client is the Go client of the HTTP API and the home of its wire
// types: the API encodes with the same ones, so that the two cannot differ.
// Errors come back as errs.Error with the kind that the platform gave them.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// Options of New.
type Options struct {
	Host      string        // https://api-slipway.example.com
	Token     secret.String // empty = anonymous
	CAFile    string        // PEM file of authorities to trust beside the system's
	UserAgent string
}

// Client speaks to one platform. It may be used at once by many.
type Client struct {
	host  string
	token secret.String
	agent string
	http  *http.Client
}

// New returns a client. It does not connect.
func New(o Options) (*Client, error) {
	host, err := ParseHost(o.Host)
	if err != nil {
		return nil, err
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = dialLocal
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		if t.TLSClientConfig.RootCAs, err = authorities(o.CAFile); err != nil {
			return nil, err
		}
	}
	agent := o.UserAgent
	if agent == "" {
		agent = "slipway-client"
	}
	return &Client{host: host, token: o.Token, agent: agent, http: &http.Client{
		Transport: t,
		// The API never redirects: what does is something else, which the
		// token is not for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Host returns the origin that the client speaks to.
func (c *Client) Host() string { return c.host }

// WithToken returns a client that signs in with another token.
func (c *Client) WithToken(t secret.String) *Client {
	d := *c
	d.token = t
	return &d
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ParseHost makes an origin of what a person types: a scheme may be missing,
// and is then https.
func ParseHost(s string) (string, error) {
	s = strings.TrimSuffix(strings.TrimSpace(s), "/")
	if s == "" {
		return "", errs.Invalid("which Slipway? Give its API address, such as https://api-slipway.example.com")
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return "", errs.Invalid("%q is no address like https://api-slipway.example.com", s)
	}
	return u.Scheme + "://" + u.Host, nil
}

func authorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "cannot read the CA file %s", file)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errs.Invalid("the CA file %s holds no PEM certificate", file)
	}
	return pool, nil
}

// dialLocal dials names under .localhost on loopback, which RFC 6761 asks for
// and the resolver of most systems does not do.
func dialLocal(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	if host, port, err := net.SplitHostPort(addr); err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return d.DialContext(ctx, network, addr)
}

// call is one request.
type call struct {
	method, path string
	query        url.Values
	in           any       // encoded as JSON
	body         io.Reader // sent as it is
	size         int64     // of body; 0 or less = not known, unless the body tells
	contentType  string    // of body
	key          string    // Idempotency-Key
	accept       string
	lastEvent    string
}

// do sends the request and decodes the answer into out, unless that is nil.
func (c *Client) do(ctx context.Context, r call, out any) error {
	res, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil || res.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return errs.Wrap(err, errs.KindUnavailable, "%s sent an answer that is no JSON: is it a Slipway API?", c.host)
	}
	return nil
}

// send returns the answer when it is a success.
func (c *Client) send(ctx context.Context, r call) (*http.Response, error) {
	body, contentType := r.body, r.contentType
	if r.in != nil {
		data, err := json.Marshal(r.in)
		if err != nil {
			return nil, err
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	target := c.host + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	if r.body != nil && r.size > 0 {
		req.ContentLength = r.size
	}
	accept := r.accept
	if accept == "" {
		accept = "application/json"
	}
	for k, v := range map[string]string{
		"Accept": accept, "Content-Type": contentType, "User-Agent": c.agent, "Idempotency-Key": r.key, "Last-Event-ID": r.lastEvent,
	} {
		if v != "" {
			req.Header.Set(k, v)
		}
	}
	if !c.token.Empty() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, c.problem(res)
	}
	return res, nil
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if k := errs.KindOf(err); k != errs.KindInternal && k != errs.KindUnavailable {
		return err // the body that was being sent gave it
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return errs.Wrap(err, errs.KindUnavailable,
			"the certificate of %s is signed by an authority that this machine does not know: name its root with --ca-file or SLIPWAY_CA_FILE", c.host)
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return errs.Wrap(err, errs.KindUnavailable, "cannot reach %s (%s)", c.host, err)
}

// Problem is the body of an error, as RFC 9457 has it.
type Problem struct {
	Title   string       `json:"title" doc:"The status in words."`
	Status  int          `json:"status" doc:"The HTTP status."`
	Detail  string       `json:"detail" doc:"What went wrong and what to do, for people."`
	Kind    string       `json:"kind" enum:"internal,invalid,unauthenticated,denied,not_found,conflict,exhausted,unavailable,unsupported" doc:"What the caller can do about it."`
	Fields  []errs.Field `json:"fields,omitempty" doc:"What is wrong with each field of the input."`
	Request string       `json:"request_id,omitempty" doc:"Names the request in the platform's log."`
}

// Err returns the error that the problem describes.
func (p *Problem) Err() error {
	kind := errs.ParseKind(p.Kind)
	e := &errs.Error{Kind: kind, Message: p.Detail, Fields: p.Fields}
	if kind == errs.KindInternal && p.Request != "" {
		e.Err = fmt.Errorf("request %s in the platform's log", p.Request)
	}
	return e
}

func (c *Client) problem(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	var p Problem
	if err == nil && json.Unmarshal(body, &p) == nil && p.Kind != "" {
		return p.Err()
	}
	kind := errs.KindUnavailable
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		kind = errs.KindUnauthenticated
	case res.StatusCode == http.StatusForbidden:
		kind = errs.KindDenied
	case res.StatusCode == http.StatusNotFound:
		kind = errs.KindNotFound
	case res.StatusCode < 500 && res.StatusCode >= 400:
		kind = errs.KindInvalid
	}
	return &errs.Error{Kind: kind, Message: fmt.Sprintf("%s answered %s, not as a Slipway API does", c.host, res.Status), Err: err}
}

// Page is one part of a list.
type Page[T any] struct {
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next,omitempty" doc:"Give it as cursor to get the next part; absent on the last."`
	Total int    `json:"total,omitempty" doc:"How many there are in all parts; absent where nobody counts."`
}

// all collects every page of a list.
func all[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	if query == nil {
		query = url.Values{}
	}
	items := []T{}
	for {
		var p Page[T]
		if err := c.do(ctx, call{method: http.MethodGet, path: path, query: query}, &p); err != nil {
			return nil, err
		}
		items = append(items, p.Items...)
		if p.Next == "" || p.Next == query.Get("cursor") {
			return items, nil
		}
		query.Set("cursor", p.Next)
	}
}
