// Package gateway is the edge: it ends TLS, judges every request before it is
// routed, decides by the policy that the core hands out who may open which
// app, adds the viewer's identity, and forwards. It reads policy from memory
// only and works on while the core is away. Apps are untrusted: what they
// answer is held to their own part of the address space.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
)

// Source is where policy comes from, and who answers what only the core can.
// link.Client is one.
type Source interface {
	// Policy returns an immutable snapshot; nil when there is none yet.
	Policy() *link.Policy
	// Contact returns when the core was last heard.
	Contact() time.Time
	Exchange(ctx context.Context, code, host string) (token string, expires time.Time, err error)
	AppTokens(ctx context.Context, sid slipway.SessionID, app slipway.AppID) (link.Tokens, error)
}

// Options are what a gateway is made of. Zero times take their defaults.
type Options struct {
	Policy Source
	Verify func(keys []link.SessionKey, token string, now time.Time) (session.Claims, error) // session.Verify when nil
	Log    *slog.Logger
	Dialer dial.Dialer // opens endpoints of replicas and of the core
	TLS    *tls.Config // nil: plain HTTP, told by everything that is sent to browsers
	// Endpoints tells where the ready replicas of a workload are, where the edge
	// can see that itself; known is false for one that it has not heard of. Nil
	// when there is only the table.
	Endpoints func(app slipway.AppID, workload string) (ready []string, known bool)
	// Linger, when set, is called when the gateway is asked to stop: it serves on
	// until Linger returns, says that it is not ready, and sends clients elsewhere.
	Linger         func(ctx context.Context)
	TrustedProxies []netip.Prefix // may say who the client is
	// SSH takes connections of git over SSH, which go on to the endpoint CoreSSH
	// of the core as they are; nil where there are none.
	SSH     net.Listener
	CoreSSH string
	Metrics *prometheus.Registry
	Report  func(ctx context.Context, list []link.Used) error // takes what was counted by app and minute; may be nil

	Hold        time.Duration // how long a request waits for a starting app (10 s)
	CoreHold    time.Duration // how long a request waits for the core (as Hold)
	HeadTimeout time.Duration // to send the head of a request (10 s)
	IdleTimeout time.Duration // between requests (60 s)
	DrainTime   time.Duration // for requests under way when the gateway stops (10 s)
	AwayLimit   time.Duration // how long sessions count while the core is away (15 min)

	// BodyRate is the least that a request's body must bring, in bytes a second;
	// a pause of BodyGrace is free. 0 = 240; less than 0 = any.
	BodyRate  int
	BodyGrace time.Duration // (30 s)
	// AddressConns is how many connections one address may have, but for
	// TrustedProxies. 0 = 1024; less than 0 = any number.
	AddressConns int
}

// Server is the gateway.
type Server struct {
	Options
	up       *upstreams
	live     *liveSet
	tokens   *tokenCache
	sessions *sessionCache
	leaving  atomic.Bool // asked to stop: clients are told to go elsewhere
	met      *metrics
	usage    *usage
	apps     http.Handler // forwards to apps
	platform http.Handler // forwards to the core
}

// New checks the options and makes a gateway. Serve starts it.
func New(o Options) (*Server, error) {
	if o.Policy == nil || o.Log == nil {
		return nil, errs.Invalid("a gateway needs a source of policy and a log")
	}
	if o.Verify == nil {
		o.Verify = session.Verify
	}
	setDefault(&o.Hold, 10*time.Second)
	setDefault(&o.CoreHold, o.Hold)
	setDefault(&o.HeadTimeout, 10*time.Second)
	setDefault(&o.IdleTimeout, time.Minute)
	setDefault(&o.DrainTime, 10*time.Second)
	setDefault(&o.AwayLimit, 15*time.Minute)
	setDefault(&o.BodyGrace, 30*time.Second)
	if o.BodyRate == 0 {
		o.BodyRate = 240
	}
	if o.AddressConns == 0 {
		o.AddressConns = 1024
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	met, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		Options:  o,
		up:       newUpstreams(o.Dialer),
		live:     newLiveSet(),
		tokens:   newTokenCache(o.Policy.AppTokens, o.CoreHold),
		sessions: newSessionCache(o.Verify),
		met:      met,
		usage:    newUsage(),
	}
	s.apps = s.newProxy(s.rewriteApp, s.modifyApp)
	s.platform = s.newProxy(s.rewritePlatform, nil)
	return s, nil
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Serve answers on the listeners until ctx ends; after Linger, it takes no more
// connections and lets the requests under way finish within DrainTime. The
// listeners' sockets may live on in the supervisor.
func (s *Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	hs := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            s.HeadTimeout,
		IdleTimeout:                  s.IdleTimeout,
		MaxHeaderBytes:               maxHead - serverSlop,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ConnContext:                  withHeadConn,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: 250},
	}
	front := newFront(s.Log, tlsConfig(s.TLS), s.HeadTimeout, s.sendToTLS)
	front.addrs = &addressLimit{most: s.AddressConns, free: s.TrustedProxies, open: map[netip.Addr]int{}}
	g := loop.New(context.WithoutCancel(ctx), s.Log)
	for _, l := range listeners {
		g.Go("accept", func(context.Context) error { return front.accept(g, l, func(c net.Conn) { front.take(g, c) }) })
	}
	tunnels := s.newTunnels(ctx)
	if s.SSH != nil {
		g.Go("accept SSH", func(context.Context) error { return front.accept(g, s.SSH, tunnels.take) })
		listeners = append(listeners, s.SSH)
	}
	g.Go("serve", func(context.Context) error {
		if err := hs.Serve(front); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go("watch", s.watch)
	if s.Report != nil {
		g.Go("report", s.report)
	}
	select {
	case <-ctx.Done():
		if s.Linger != nil {
			s.leaving.Store(true)
			s.Linger(g.Context())
		}
	case <-g.Context().Done():
	}
	front.drain()
	for _, l := range listeners {
		l.Close() // nothing more is accepted either way
	}
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.DrainTime)
	defer cancel()
	tunnels.end(late)
	hs.Shutdown(late) //nolint:errcheck // what did not finish is cut next
	s.live.cutAll()
	hs.Close() //nolint:errcheck // the process ends
	front.shut()
	return errors.Join(tunnels.wait(), g.Stop())
}

// watch drops what the policy no longer allows: connections whose session or
// right has ended, and replicas that are gone.
func (s *Server) watch(ctx context.Context) error {
	var last *link.Policy
	for loop.Sleep(ctx, sweepEvery) == nil {
		p := s.Policy.Policy()
		if p == nil {
			continue
		}
		s.live.cut(func(v visitor) bool { return s.stillAllowed(p, v) })
		if p != last {
			s.up.prune(p)
			last = p
		}
		s.tokens.sweep(time.Now())
	}
	return nil
}

// tlsConfig offers forward-secret authenticated ciphers only.
func tlsConfig(base *tls.Config) *tls.Config {
	if base == nil {
		return nil
	}
	c := base.Clone()
	c.MinVersion = tls.VersionTLS12
	c.CipherSuites = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
	c.NextProtos = []string{"h2", "http/1.1"}
	return c
}
