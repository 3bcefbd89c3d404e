package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
)

const (
	askTimeout = 10 * time.Second // a core that restarts is back by then
	noteEvery  = 5 * time.Second  // how often the time of the last contact is kept
)

// Client is a gateway's end of the link. Its methods may be called at once
// from everywhere; Run keeps the table up to date.
type Client struct {
	Endpoint string        // the link's, such as unix:///…/link.sock
	Dialer   dial.Dialer   // opens it
	File     string        // where the last table is kept
	Log      *slog.Logger  //
	Beat     time.Duration // the hub's heartbeat; zero for its default

	policy  atomic.Pointer[Policy]
	contact atomic.Int64 // when the core was last heard, Unix nanoseconds
	setUp   sync.Once
	http    *http.Client
	noted   time.Time // used by Run only
	handed  shelf
}

// Policy returns the table: an immutable snapshot, nil when there never was one.
func (c *Client) Policy() *Policy { return c.policy.Load() }

// Contact returns when the core was last heard.
func (c *Client) Contact() time.Time { return time.Unix(0, c.contact.Load()) }

// Run begins with the table on disk and follows the core until ctx ends,
// connecting again whenever it is lost.
func (c *Client) Run(ctx context.Context) error {
	switch p, at, err := readTable(c.File); {
	case err == nil:
		c.contact.Store(at.UnixNano())
		c.policy.Store(p)
	case !errors.Is(err, os.ErrNotExist):
		c.Log.Warn("the last table cannot be read: waiting for the core's", "error", err)
	}
	gateway := secret.Random(9).Reveal()
	wait := loop.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for connected := true; ; {
		heard, err := c.follow(ctx, gateway)
		if ctx.Err() != nil {
			return nil
		}
		if heard {
			wait.Reset()
		}
		if heard || connected { // one line for an absence, not one a second
			c.Log.Warn("the core is away: serving by the last table", "error", err)
		}
		connected = false
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// follow reads one stream until it breaks; heard tells whether there was one.
func (c *Client) follow(ctx context.Context, gateway string) (heard bool, err error) {
	patience := patience * c.beat()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dead := time.AfterFunc(patience, func() { cancel(errs.Unavailable("the core is silent")) })
	defer dead.Stop()

	q := url.Values{"gateway": {gateway}}
	if p := c.Policy(); p != nil {
		q.Set("epoch", p.Epoch)
		q.Set("version", strconv.FormatUint(p.Version, 10))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://link/link/policy?"+q.Encode(), nil)
	if err != nil {
		return false, err
	}
	res, err := c.client().Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return false, fmt.Errorf("the core answers %s", res.Status)
	}
	c.Log.Info("connected to the core")
	dec := json.NewDecoder(res.Body)
	for {
		var f frame
		if err := dec.Decode(&f); err != nil {
			return true, errors.Join(err, context.Cause(ctx))
		}
		dead.Reset(patience)
		if err := c.take(f); err != nil {
			return true, err
		}
		if err := c.acknowledge(ctx, gateway); err != nil {
			return true, fmt.Errorf("acknowledging: %w", err)
		}
	}
}

// take applies one line. When a version is missing the table is forgotten as
// a base, so that the next connection asks for the whole of it.
func (c *Client) take(f frame) error {
	now := time.Now()
	defer c.contact.Store(now.UnixNano())
	next := f.Policy
	if f.Delta != nil {
		old := c.Policy()
		if old == nil {
			return errGap
		}
		var err error
		if next, err = old.with(f.Delta); err != nil {
			stale := *old
			stale.Epoch = ""
			c.policy.Store(&stale)
			return err
		}
	}
	if f.Tokens != nil {
		c.handed.put(*f.Tokens)
		return nil
	}
	if next == nil { // a heartbeat
		if now.Sub(c.noted) > noteEvery && c.Policy() != nil {
			c.noted = now
			return os.Chtimes(c.File, now, now)
		}
		return nil
	}
	if old := c.policy.Swap(next); old != nil && (f.Policy != nil || len(f.Delta.People) > 0) {
		c.handed.follow(old, next)
	}
	c.noted = now
	return writeTable(c.File, next)
}

func (c *Client) acknowledge(ctx context.Context, gateway string) error {
	p := c.Policy()
	if p == nil {
		return nil // the core has not handed out a table yet
	}
	_, err := ask[struct{}](ctx, c, "/link/ack", ackMessage{gateway, p.Epoch, p.Version})
	if errs.Is(err, errs.KindConflict) {
		return nil // our table is of an earlier life: the next line brings the new one
	}
	return err
}

// Exchange makes a session token of a one-time code.
func (c *Client) Exchange(ctx context.Context, code, host string) (token string, expires time.Time, err error) {
	m, err := ask[sessionMessage](ctx, c, "/link/exchange", exchangeMessage{code, host})
	return m.Token, m.Expires, err
}

// AppTokens returns what an app gets to know of a session's person: what
// another gateway was told serves too.
func (c *Client) AppTokens(ctx context.Context, sid slipway.SessionID, app slipway.AppID) (Tokens, error) {
	q := askTokensMessage{sid, app}
	if t, ok := c.handed.get(q); ok {
		return t, nil
	}
	m, err := ask[tokensMessage](ctx, c, "/link/tokens", q)
	return m.tokens(), err
}

// ask puts a question to the core. A core that is away or restarts is Unavailable.
func ask[Out any](ctx context.Context, c *Client, path string, in any) (out Out, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://link"+path, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	res, err := c.client().Do(req)
	if err != nil {
		return out, errs.Wrap(err, errs.KindUnavailable, "the platform's core is away: try again in a moment")
	}
	defer res.Body.Close()
	dec := json.NewDecoder(io.LimitReader(res.Body, 1<<20))
	if res.StatusCode != http.StatusOK {
		var m errorMessage
		if err := dec.Decode(&m); err != nil {
			return out, errs.Wrap(err, errs.KindUnavailable, "the platform's core answers %s", res.Status)
		}
		return out, &errs.Error{Kind: errs.ParseKind(m.Kind), Message: m.Message}
	}
	if err := dec.Decode(&out); err != nil {
		return out, errs.Wrap(err, errs.KindUnavailable, "the platform's core broke off its answer")
	}
	return out, nil
}

func (c *Client) beat() time.Duration {
	if c.Beat > 0 {
		return c.Beat
	}
	return defaultBeat
}

func (c *Client) client() *http.Client {
	c.setUp.Do(func() {
		c.http = &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return c.Dialer.Dial(ctx, c.Endpoint)
			},
			MaxIdleConnsPerHost: 16,
			IdleConnTimeout:     time.Minute,
			DisableCompression:  true,
		}}
	})
	return c.http
}
