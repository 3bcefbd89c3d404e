package rig

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"slipway.dev/slipway/internal/base/loop"
)

// Load asks an address again and again, and counts what fails.
type Load struct {
	group  *loop.Group
	cancel context.CancelFunc

	Sent, Failed atomic.Int64
	mu           sync.Mutex
	first        string // what went wrong first
}

// StartLoad sends rps requests a second with the client's cookies. A status
// other than 200 and every error is a failure. Stop ends it.
func StartLoad(ctx context.Context, c *http.Client, target string, rps int) *Load {
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{group: loop.New(context.WithoutCancel(ctx), slog.Default()), cancel: cancel}
	l.group.Go("load", func(context.Context) error {
		tick := time.NewTicker(time.Second / time.Duration(rps))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			// The request outlives the load: the last ones are counted too.
			l.group.Spawn("request", func(ctx context.Context) error {
				l.Sent.Add(1)
				if err := ask(ctx, c, target); err != nil {
					l.fail(err)
				}
				return nil
			})
		}
	})
	return l
}

func ask(ctx context.Context, c *http.Client, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %.300s", res.Status, body)
	}
	return nil
}

func (l *Load) fail(err error) {
	l.Failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == "" {
		l.first = time.Now().Format("15:04:05.000 ") + err.Error()
	}
}

// Stop ends the load, waits for the requests under way, and reports failures.
func (l *Load) Stop() error {
	l.cancel()
	_ = l.group.Wait() // failures are counted
	if n := l.Failed.Load(); n > 0 {
		return fmt.Errorf("%d of %d requests failed, first: %s", n, l.Sent.Load(), l.first)
	}
	return nil
}

// WebSocket opens a WebSocket with the client's cookies.
func (in *Instance) WebSocket(ctx context.Context, c *http.Client, target string) (*websocket.Conn, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	origin := u.Scheme + "://" + u.Host
	ws := "ws" + strings.TrimPrefix(target, "http")
	tr, ok := c.Transport.(*http.Transport)
	if !ok {
		return nil, fmt.Errorf("not a client of the rig: %T", c.Transport)
	}
	tr = tr.Clone()
	tr.ForceAttemptHTTP2 = false // WebSocket needs HTTP/1.1
	tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
	conn, res, err := websocket.Dial(ctx, ws, &websocket.DialOptions{ //nolint:bodyclose // the library closes it
		HTTPClient: &http.Client{Transport: tr, Jar: c.Jar}, HTTPHeader: http.Header{"Origin": {origin}},
	})
	if err != nil && res != nil {
		return nil, fmt.Errorf("%w (%s)", err, res.Status)
	}
	return conn, err
}
