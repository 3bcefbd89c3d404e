package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/link"
)

// ours is the first path segment of what the gateway answers itself, on every host.
const ours = "_slipway"

// exchange is what is known of one request. It goes along in the context.
type exchange struct {
	id     string
	began  time.Time
	policy *link.Policy
	host   string // without port, lower case
	client string // address of the one who asks
	kind   string // of a platform host, "" for apps

	visitor
	person   *link.Person // nil when anonymous
	app      string       // name of the app, for logs; set once access is granted
	isolated bool
	prefixed bool // /<app> stood first
	identity *identity

	status  int
	last    bool                  // the connection ends with the answer
	bodyErr atomic.Pointer[error] // what went wrong with the request's body
	touched atomic.Bool           // the body was read from
	atEnd   []func()              // for what the exchange holds: a replica, a place in the live set
	cut     context.CancelFunc
}

type exchangeKey struct{}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// recorder notes the status of the answer.
type recorder struct {
	http.ResponseWriter
	x *exchange
}

func (w *recorder) WriteHeader(code int) {
	if code == http.StatusContinue {
		// The server says it by itself when the body is first read, which the
		// transport does once the app has said it: relayed too, it comes twice.
		return
	}
	if code >= 200 || code == http.StatusSwitchingProtocols {
		w.x.status = code
		w.Header().Set("X-Request-Id", w.x.id)
		if w.x.last {
			w.Header().Set("Connection", "close")
		}
	} else { // relayed at once, before an app's headers were looked at
		for name := range w.Header() {
			if name != "Link" {
				w.Header().Del(name)
			}
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.x.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController the way to flush and hijack.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ServeHTTP judges, routes and answers one request.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	x := &exchange{id: secret.Random(12).Reveal(), began: time.Now()}
	ctx := logs.WithRequest(context.WithValue(r.Context(), exchangeKey{}, x), x.id)
	ctx, x.cut = context.WithCancel(ctx)
	defer x.cut()
	r = r.WithContext(ctx)
	w := &recorder{rw, x}
	s.met.inFlight.Inc()
	defer s.finish(r, x)
	if c, ok := ctx.Value(headConnKey{}).(*headConn); ok {
		// Nothing may follow on a connection that is no longer looked at. An
		// upgrade that is accepted takes the connection over.
		x.last = c.isRaw.Load() || s.leaving.Load()
	}
	host, ok := hostName(r.Host)
	if !ok || forbiddenMethod(r.Method) || !plainPath(requestPath(r.RequestURI)) {
		x.last = true
		s.problem(w, r, http.StatusBadRequest, "The request cannot be understood in only one way.")
		return
	}
	x.host = host
	x.client = clientAddr(r, s.TrustedProxies)
	if x.policy = s.waitPolicy(ctx); x.policy == nil {
		s.away(w, r)
		return
	}
	s.route(w, r, x)
}

// finish counts and logs the request. A panic goes on to net/http, which
// breaks the connection off: the proxy's way to say that an answer is torn.
func (s *Server) finish(r *http.Request, x *exchange) {
	took := time.Since(x.began)
	s.met.inFlight.Dec()
	status := x.status
	if status == 0 {
		status = 499 // nothing was answered: the client has gone
	}
	where := x.app
	if where == "" && x.kind != "" {
		where = "(" + x.kind + ")"
	}
	s.met.done(where, status, took)
	s.usage.add(r, x, status, took)
	s.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("method", r.Method), slog.String("host", x.host), slog.String("app", x.app),
		slog.Int("status", status), slog.Duration("took", took), slog.String("client", x.client))
}

// waitPolicy waits for the first table: a gateway that has just started
// without one refuses nobody before the core had time to speak.
func (s *Server) waitPolicy(ctx context.Context) *link.Policy {
	p := s.Policy.Policy()
	if p == nil {
		poll(ctx, s.Hold, func() bool { p = s.Policy.Policy(); return p != nil })
	}
	return p
}

// route finds who answers.
func (s *Server) route(w http.ResponseWriter, r *http.Request, x *exchange) {
	kind, app := x.policy.Hosts.Kind(x.host)
	switch kind {
	case slipway.HostAPI, slipway.HostAuth, slipway.HostGit, slipway.HostRegistry:
		x.kind = kind
		s.servePlatform(w, r, x)
	case slipway.HostWS, slipway.HostAdmin:
		x.kind = kind
		s.page(w, r, http.StatusNotFound, view{Title: "Not installed here", Text: "This part of the platform is not installed on this machine."})
	case slipway.HostBase:
		s.serveBase(w, r, x)
	default:
		if app == "" {
			s.page(w, r, http.StatusNotFound, view{Title: "No such host", Text: "Nothing answers under this name."})
			return
		}
		first, _, slash := firstSegment(r.URL.Path)
		if first == ours {
			s.serveOurs(w, r, x)
			return
		}
		x.isolated, x.prefixed = true, first == app
		s.serveApp(w, r, x, app, !x.prefixed || slash)
	}
}

// serveBase answers on the host that the apps share.
func (s *Server) serveBase(w http.ResponseWriter, r *http.Request, x *exchange) {
	first, _, slash := firstSegment(r.URL.Path)
	switch first {
	case ours:
		s.serveOurs(w, r, x)
	case "", "portal":
		redirect(w, r, http.StatusFound, x.policy.Hosts.API()+"/portal")
	case "apps":
		redirect(w, r, http.StatusFound, x.policy.Hosts.API()+withQuery(r.URL.EscapedPath(), r))
	default:
		x.prefixed = true
		s.serveApp(w, r, x, first, slash)
	}
}

// serveApp lets those in who may open the app. Everybody else learns nothing:
// an app that is not there and one that may not be opened look the same.
func (s *Server) serveApp(w http.ResponseWriter, r *http.Request, x *exchange, name string, slash bool) {
	s.identify(r, x)
	route, ok := x.policy.Routes[name]
	open := ok && route.Access == slipway.AccessUnauthenticated && (route.Isolated || !x.isolated)
	if open && s.coreAway() {
		x.session = nil // whose word would we take for it? The app is open all the same
	}
	switch {
	case open && x.session == nil:
	case x.session == nil:
		s.askSignIn(w, r, x)
		return
	case s.coreAway():
		s.away(w, r)
		return
	case !ok, !allowed(&route, x.session.User, x.person), x.isolated && !route.Isolated:
		s.notFound(w, r)
		return
	}
	x.app, x.visitor.app, x.visitor.name = name, route.App, name
	switch {
	case route.Isolated && !x.isolated:
		redirect(w, r, http.StatusTemporaryRedirect, strings.TrimSuffix(x.policy.Hosts.App(name, true), "/"+name+"/")+withQuery(r.URL.EscapedPath(), r))
		return
	case !slash:
		redirect(w, r, http.StatusTemporaryRedirect, withQuery("/"+name+"/", r))
		return
	}
	if x.session == nil && s.askSilently(w, r, x) || !s.checkUpgrade(w, r, x) {
		return
	}
	if x.session != nil {
		id, err := s.tokens.identity(r.Context(), x.session.Session, route.App, x.person)
		if err != nil {
			s.identityFailed(w, r, x, err)
			return
		}
		x.identity = id
	}
	s.forward(w, r, x)
}

// forward passes the request on. Long exchanges are known to the watch, which
// ends them with the visitor's right.
func (s *Server) forward(w http.ResponseWriter, r *http.Request, x *exchange) {
	s.watchBody(w, r, x)
	defer x.end()
	if isLong(r.ContentLength) || r.Header.Get("Upgrade") != "" {
		x.after(s.live.add(x.visitor, x.cut))
	}
	s.apps.ServeHTTP(w, r)
}

// servePlatform passes the request to the core, which decides itself.
func (s *Server) servePlatform(w http.ResponseWriter, r *http.Request, x *exchange) {
	if !isWebSocket(r) {
		r.Header.Del("Upgrade")
	}
	s.watchBody(w, r, x)
	defer x.end()
	s.platform.ServeHTTP(w, r)
}

// checkUpgrade lets only WebSockets through, and those only from pages of
// this host: a browser sends cookies along with a socket from anywhere.
func (s *Server) checkUpgrade(w http.ResponseWriter, r *http.Request, x *exchange) bool {
	if !isWebSocket(r) {
		r.Header.Del("Upgrade") // h2c and others: the request is served as it is
		return true
	}
	if origins := r.Header.Values("Origin"); len(origins) > 0 && !slices.Equal(origins, []string{x.policy.Hosts.Scheme + "://" + r.Host}) {
		s.problem(w, r, http.StatusForbidden, "A WebSocket may only be opened by a page of the same host.")
		return false
	}
	return true
}

func isWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket") &&
		slices.ContainsFunc(r.Header.Values("Connection"), func(v string) bool { return hasToken(v, "upgrade") })
}

// hostName returns the name of a Host header; false when it is none.
func hostName(host string) (string, bool) {
	if !validHost(host) {
		return "", false
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else if strings.Contains(host, ":") && host[0] != '[' {
		return "", false
	}
	return strings.ToLower(name), name != ""
}

func redirect(w http.ResponseWriter, r *http.Request, code int, to string) {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead && code == http.StatusFound {
		code = http.StatusSeeOther
	}
	w.WriteHeader(code)
}

func withQuery(path string, r *http.Request) string {
	if r.URL.RawQuery == "" {
		return path
	}
	return path + "?" + r.URL.RawQuery
}

// selfURL is where the browser is, for coming back to it.
func selfURL(r *http.Request, x *exchange) string {
	u := url.URL{Scheme: x.policy.Hosts.Scheme, Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	return u.String()
}

// poll asks until fn says yes, the time is over or ctx ends.
func poll(ctx context.Context, limit time.Duration, fn func() bool) bool {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		if fn() {
			return true
		}
		select {
		case <-t.C:
		case <-end.C:
			return fn()
		case <-ctx.Done():
			return false
		}
	}
}
