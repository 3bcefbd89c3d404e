package gateway

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
)

const (
	dialTimeout = 5 * time.Second
	shunTime    = 3 * time.Second
	awayAfter   = 6 * time.Second // without a word of the core, replicas are looked for
	// Idle connections are given up before gunicorn and uvicorn do it (2 s
	// and 5 s): a POST on a connection that the app just closed is lost.
	appIdle      = 1500 * time.Millisecond
	platformIdle = time.Minute
	sweepEvery   = 500 * time.Millisecond
)

// upstream is one replica, or one part of the platform, with its connections.
type upstream struct {
	transport *http.Transport
	busy      atomic.Int64 // requests under way
	failed    atomic.Int64 // when it was last not to be connected to, Unix nanoseconds
}

// shunned tells whether the replica could not be reached just now: others are
// tried first, for one on a dead machine costs dialTimeout to find that out.
func (u *upstream) shunned() bool { return time.Since(time.Unix(0, u.failed.Load())) < shunTime }

type upstreamKey struct {
	app          slipway.AppID // "" for the platform
	id, endpoint string
}

// upstreams has the pools of connections. A replica that leaves the table gets
// no new requests, for they choose by the table; its pool is dropped by prune
// and requests under way go on.
type upstreams struct {
	dial dial.Dialer
	mu   sync.RWMutex
	all  map[upstreamKey]*upstream
}

func newUpstreams(d dial.Dialer) *upstreams {
	return &upstreams{dial: d, all: map[upstreamKey]*upstream{}}
}

func (u *upstreams) get(key upstreamKey) *upstream {
	u.mu.RLock()
	t := u.all[key]
	u.mu.RUnlock()
	if t != nil {
		return t
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if t = u.all[key]; t == nil {
		t = &upstream{transport: newTransport(key, u.dial)}
		u.all[key] = t
	}
	return t
}

// prune drops the pools of what is in the table no more.
func (u *upstreams) prune(p *link.Policy) {
	wanted := map[upstreamKey]bool{}
	for _, r := range p.Routes {
		for _, t := range r.Targets {
			wanted[upstreamKey{r.App, t.ID, t.Endpoint}] = true
		}
	}
	for kind, endpoint := range p.Platform {
		wanted[upstreamKey{"", kind, endpoint}] = true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, t := range u.all {
		if !wanted[key] {
			delete(u.all, key)
			t.transport.CloseIdleConnections()
		}
	}
}

// dialError says that no connection was made: nothing was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connecting: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func newTransport(key upstreamKey, d dial.Dialer) *http.Transport {
	idle := appIdle
	if key.app == "" {
		idle = platformIdle
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			c, err := d.Dial(ctx, key.endpoint)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        idle,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         16 << 10,
		WriteBufferSize:        8 << 10,
	}
}

// noTargetError says that there is no replica to take the request, and what
// the route was when waiting ended.
type noTargetError struct {
	route link.Route
	gone  bool // the app was deleted, or taken away from the viewer
	err   error
}

func (e *noTargetError) Error() string { return "no replica takes requests" }
func (e *noTargetError) Unwrap() error { return e.err }

// keepOpen lets a body be sent again when the first replica refused the
// connection and so did not read of it.
type keepOpen struct{ io.ReadCloser }

func (keepOpen) Close() error { return nil }

// roundTrip sends the request to the least busy replica. Nothing listening is
// not the viewer's fault: another replica is tried, or the next one waited
// for. A request that may be repeated is, once, when no answer came.
func (s *Server) roundTrip(req *http.Request) (*http.Response, error) {
	x := exchangeOf(req.Context())
	ctx := req.Context()
	hold := s.Hold
	if x.kind != "" {
		hold = s.CoreHold
	}
	end := time.Now().Add(hold)
	var (
		refused []string // replicas that refused the connection
		again   = loop.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
		repeats int
	)
	for {
		up, id, none := s.choose(x, refused)
		if none != nil {
			if !mayWait(none, x, req) || !time.Now().Before(end) {
				return nil, none
			}
			if err := again.Wait(ctx); err != nil {
				return nil, err
			}
			refused = refused[:0]
			continue
		}
		out := *req
		if out.Body != nil && out.Body != http.NoBody {
			out.Body = keepOpen{req.Body}
		}
		up.busy.Add(1)
		res, err := up.transport.RoundTrip(&out)
		if err == nil {
			x.after(func() { up.busy.Add(-1) })
			res.Request = req
			return res, nil
		}
		up.busy.Add(-1)
		var unsent *dialError
		switch {
		case ctx.Err() != nil:
			return nil, err
		case errors.As(err, &unsent) && !x.touched.Load():
			up.failed.Store(time.Now().UnixNano())
			refused = append(refused, id)
		case repeatable(req) && repeats == 0:
			repeats++
			if x.kind == "" {
				refused = append(refused, id)
			}
		default:
			return nil, err
		}
	}
}

func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return (r.Body == nil || r.Body == http.NoBody) && r.Header.Get("Upgrade") == ""
	}
	return false
}

// choose returns the least busy replica that has not refused.
func (s *Server) choose(x *exchange, refused []string) (*upstream, string, *noTargetError) {
	p := s.Policy.Policy()
	if x.kind != "" {
		endpoint := p.Platform[x.kind]
		if endpoint == "" || len(refused) > 0 {
			return nil, "", &noTargetError{}
		}
		return s.up.get(upstreamKey{"", x.kind, endpoint}), x.kind, nil
	}
	route, ok := p.Routes[x.app]
	if !ok || route.App != x.visitor.app {
		return nil, "", &noTargetError{gone: true}
	}
	var (
		best   *upstream
		bestID string
		least  int64
	)
	targets := s.targets(&route)
	n := len(targets)
	for i, start := 0, rand.N(max(n, 1)); i < n; i++ {
		t := &targets[(start+i)%n]
		if contains(refused, t.ID) {
			continue
		}
		up := s.up.get(upstreamKey{route.App, t.ID, t.Endpoint})
		busy := up.busy.Load()
		if up.shunned() {
			busy += 1 << 32 // the last resort
		}
		if best == nil || busy < least {
			best, bestID, least = up, t.ID, busy
		}
	}
	if best == nil {
		return nil, "", &noTargetError{route: route}
	}
	return best, bestID, nil
}

// targets are the replicas that may take a request: those of the table, which
// passed the core's check, without the ones that are seen to be gone. While the
// core is away, whatever is seen to be ready takes their place.
func (s *Server) targets(route *link.Route) []link.Target {
	if s.Endpoints == nil || len(route.Targets) == 0 {
		return route.Targets
	}
	id := route.Targets[0].ID // such as web-v12.0; all are of one workload
	ready, known := s.Endpoints(route.App, id[:max(strings.LastIndexByte(id, '.'), 0)])
	if !known {
		return route.Targets
	}
	var out []link.Target
	for _, t := range route.Targets {
		if contains(ready, t.Endpoint) {
			out = append(out, t)
		}
	}
	if time.Since(s.Policy.Contact()) > awayAfter {
		for _, endpoint := range ready {
			if !slices.ContainsFunc(out, func(t link.Target) bool { return t.Endpoint == endpoint }) {
				out = append(out, link.Target{ID: endpoint, Endpoint: endpoint})
			}
		}
	}
	if len(out) == 0 {
		return route.Targets // the core may have seen them first
	}
	return out
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// mayWait: a request waits for an app that starts and for the core. A person
// who opens a page of an app's first deploy sees its progress instead.
func mayWait(none *noTargetError, x *exchange, req *http.Request) bool {
	if x.kind != "" {
		return true
	}
	switch none.route.State {
	case slipway.AppRunning:
		return true
	case slipway.AppStarting:
		return len(none.route.Progress) == 0 || !isNavigation(req)
	default:
		return false
	}
}
