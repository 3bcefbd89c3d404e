package apps

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
)

const (
	checkMin     = 25 * time.Millisecond
	checkSoon    = 50 * time.Millisecond // while nothing listens: asking costs a refused connection
	checkMax     = 500 * time.Millisecond
	checkTimeout = 15 * time.Second // of one request: first answers may be slow
	young        = 10 * time.Second
)

// check asks one life of a replica until it answers.
type check struct {
	life   life
	cancel context.CancelFunc

	mu  sync.Mutex
	why string
}

func (c *check) failure() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why
}

// sync forgets lives that are over, starts checks of new ones, and returns who
// is ready.
func (a *appLoop) sync(ctx context.Context, w wanted, s engine.Snapshot) map[engine.ReplicaRef]bool {
	seen := map[engine.ReplicaRef]engine.Replica{}
	for _, wl := range a.own(s) {
		process, n, ok := plan.Parse(wl.ID)
		if !ok || process != slipway.WebProcess {
			continue
		}
		for _, r := range wl.Replicas {
			if r.Phase == engine.PhaseRunning && r.Endpoint != "" {
				seen[r.ID] = r
				if n == w.app.Current {
					a.adopt(ctx, w, r)
				}
			}
		}
	}
	a.adopted = true
	a.mu.Lock()
	defer a.mu.Unlock()
	for ref, l := range a.ready {
		if r, ok := seen[ref]; !ok || lifeOf(r) != l {
			delete(a.ready, ref)
		}
	}
	for ref, c := range a.watches {
		if r, ok := seen[ref]; !ok || lifeOf(r) != c.life {
			c.cancel()
			delete(a.watches, ref)
		}
	}
	for ref, c := range a.checks {
		if r, ok := seen[ref]; !ok || lifeOf(r) != c.life {
			c.cancel()
			delete(a.checks, ref)
		}
	}
	out := map[engine.ReplicaRef]bool{}
	for ref, r := range seen {
		if _, ok := a.ready[ref]; ok {
			out[ref] = true
			if a.watches[ref] == nil && a.s.Limits.Silent > 0 {
				if c := a.begin(r, "watch ", func(ctx context.Context, _ *check) { a.watch(ctx, w, r) }); c != nil {
					a.watches[ref] = c
				}
			}
		} else if a.checks[ref] == nil {
			if c := a.begin(r, "check ", func(ctx context.Context, c *check) { a.check(ctx, w, r, c) }); c != nil {
				a.checks[ref] = c
			}
		}
	}
	return out
}

// adopt trusts a replica of the current release that a core before this one
// had checked; one that began a moment ago is asked once.
func (a *appLoop) adopt(ctx context.Context, w wanted, r engine.Replica) {
	if a.adopted {
		return
	}
	if a.s.now().Sub(r.Since) < young {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if a.s.ask(ctx, r.Endpoint, w) != "" {
			return
		}
	}
	a.mu.Lock()
	a.ready[r.ID] = lifeOf(r)
	a.mu.Unlock()
}

// begin is called with the lock held. While the service does not run yet,
// nothing is begun.
func (a *appLoop) begin(r engine.Replica, what string, fn func(context.Context, *check)) *check {
	c := &check{life: lifeOf(r)}
	run, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	started := a.s.spawn(what+r.ID.Ref.String(), func(ctx context.Context) error {
		ctx, done := context.WithCancel(ctx)
		defer done()
		defer context.AfterFunc(run, done)()
		fn(ctx, c)
		return nil
	})
	if !started {
		cancel()
		return nil
	}
	return c
}

func (a *appLoop) check(ctx context.Context, w wanted, r engine.Replica, c *check) {
	closed, next := loop.Backoff{Min: checkMin, Max: checkSoon}, loop.Backoff{Min: checkMin, Max: checkMax}
	for ctx.Err() == nil {
		why := a.s.ask(ctx, r.Endpoint, w)
		if ctx.Err() != nil {
			return
		}
		if why == "" {
			a.mu.Lock()
			if a.checks[r.ID] == c {
				delete(a.checks, r.ID)
				a.ready[r.ID] = c.life
			}
			a.mu.Unlock()
			a.soon()
			return
		}
		c.mu.Lock()
		c.why = why
		c.mu.Unlock()
		again := &next
		if why == notBound {
			again = &closed
		}
		if again.Wait(ctx) != nil {
			return
		}
	}
}

// ask sends the request that a viewer would send through the gateway, and
// returns what is wrong with the answer: nothing when its status is below 500.
func (s *Service) ask(ctx context.Context, endpoint string, w wanted) string {
	status, why := s.get(ctx, endpoint, w)
	if why == "" && status >= 500 {
		return "GET " + or(w.app.HealthPath, "/") + " answered " + strconv.Itoa(status) + " " + http.StatusText(status)
	}
	return why
}

// alive is satisfied by any answer.
func (s *Service) alive(ctx context.Context, endpoint string, w wanted) string {
	_, why := s.get(ctx, endpoint, w)
	return why
}

func (s *Service) get(ctx context.Context, endpoint string, w wanted) (status int, why string) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	path := or(w.app.HealthPath, "/")
	app, err := url.Parse(s.Hosts.App(w.app.Name, w.app.Isolated))
	if err != nil {
		return 0, err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+app.Host+path, nil)
	if err != nil {
		return 0, "the health path " + path + " cannot be asked for"
	}
	req.Header = http.Header{"User-Agent": {"Slipway-Health"}, "Accept": {"*/*"}}
	forward(req.Header, app, w.app.Name)
	res, err := replicaAt(endpoint).RoundTrip(req)
	switch {
	case errors.Is(err, dial.ErrRefused), errors.Is(err, syscall.ECONNREFUSED):
		return 0, notBound
	case errors.Is(err, context.DeadlineExceeded):
		return 0, "GET " + path + " got no answer within " + checkTimeout.String()
	case err != nil:
		return 0, "GET " + path + ": " + strings.TrimPrefix(err.Error(), "http: ")
	}
	defer res.Body.Close()
	if res.ContentLength >= 0 && res.ContentLength <= 64<<10 { // lets the app finish; a stream need not end
		_, _ = io.Copy(io.Discard, res.Body)
	}
	return res.StatusCode, ""
}

const notBound = "port not bound"

// replicaAt leads to one replica, whatever the host.
func replicaAt(endpoint string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial.Dial(ctx, endpoint) },
	}
}

// forward says what a gateway says of an app that viewers know by the address.
func forward(h http.Header, outside *url.URL, app string) {
	h["X-Forwarded-For"] = []string{"127.0.0.1"}
	h["X-Forwarded-Host"] = []string{outside.Host}
	h["X-Forwarded-Proto"] = []string{outside.Scheme}
	h["X-Forwarded-Prefix"] = []string{"/" + app}
}
