package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"

	"slipway.dev/slipway"
)

// longBody is from where on a body counts as a long exchange, which the watch
// must know; so does one of unknown length.
const longBody = 1 << 20

func isLong(length int64) bool { return length < 0 || length > longBody }

// newProxy makes a proxy; how a request gets upstream is s.roundTrip's.
func (s *Server) newProxy(rewrite func(*httputil.ProxyRequest), modify func(*http.Response) error) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      roundTripper(s.roundTrip),
		FlushInterval:  -1, // streams must not wait
		BufferPool:     &bufferPool{sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}},
		ErrorLog:       slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ErrorHandler:   s.proxyFailed,
		ModifyResponse: modify,
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte  { return *p.pool.Get().(*[]byte) }
func (p *bufferPool) Put(b []byte) { p.pool.Put(&b) }

// rewriteCommon makes the request upstream: what the client says of itself in
// our name goes, what we say comes last.
func rewriteCommon(pr *httputil.ProxyRequest) *exchange {
	x := exchangeOf(pr.In.Context())
	out := pr.Out
	out.URL.Scheme, out.URL.Host = "http", "app"
	out.URL.RawQuery = pr.In.URL.RawQuery // as it came; the proxy drops what it cannot parse
	out.Host = pr.In.Host
	out.Trailer = nil
	h := out.Header
	scrub(h)
	h["X-Forwarded-For"] = []string{x.client}
	h["X-Forwarded-Host"] = []string{pr.In.Host}
	h["X-Forwarded-Proto"] = []string{x.policy.Hosts.Scheme}
	h["X-Request-Id"] = []string{x.id}
	return x
}

func (s *Server) rewritePlatform(pr *httputil.ProxyRequest) { rewriteCommon(pr) }

func (s *Server) rewriteApp(pr *httputil.ProxyRequest) {
	x := rewriteCommon(pr)
	h := pr.Out.Header
	if x.prefixed {
		stripSegment(pr.Out.URL)
		h["X-Forwarded-Prefix"] = []string{"/" + x.app}
	}
	appCookies(h, x.identity)
	if id := x.identity; id != nil {
		h["X-Forwarded-User"] = []string{id.user}
		if id.email != "" {
			h["X-Forwarded-Email"] = []string{id.email}
		}
		if id.groups != "" {
			h["X-Forwarded-Groups"] = []string{id.groups}
		}
		h[userData] = []string{id.data}
	}
}

// appMayNot lists headers that would act on every app of the host, or on us.
var appMayNot = []string{
	"Service-Worker-Allowed", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc",
	"Nel", "Report-To", "Reporting-Endpoints", "Public-Key-Pins", "Public-Key-Pins-Report-Only",
}

// modifyApp holds an app's answer to its own part of the address space.
func (s *Server) modifyApp(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	if isLong(res.ContentLength) && res.StatusCode != http.StatusSwitchingProtocols {
		x.after(s.live.add(x.visitor, x.cut))
	}
	h := res.Header
	for _, name := range appMayNot {
		delete(h, name)
	}
	if cookies, ok := h["Set-Cookie"]; ok {
		kept := cookies[:0]
		for _, c := range cookies {
			if c, ok := appCookie(c, x.app, x.isolated); ok {
				kept = append(kept, c)
			}
		}
		h["Set-Cookie"] = kept
	}
	if to := h.Get("Location"); to != "" {
		h.Set("Location", appLocation(to, x))
	}
	return nil
}

// appCookie rewrites a cookie that an app sets: for this host only and, on the
// shared host, for this app only. False when the app may not set it.
func appCookie(line, app string, isolated bool) (string, bool) {
	pair, attributes, _ := strings.Cut(line, ";")
	name, value, ok := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	// A cookie without a name could carry one in its value.
	if !ok || !isToken(name) || reservedCookie(name) {
		return "", false
	}
	var b strings.Builder
	b.WriteString(name + "=" + strings.Trim(value, " \t"))
	path := "/"
	for attribute := range strings.SplitSeq(attributes, ";") {
		attribute = strings.Trim(attribute, " \t")
		key, v, _ := strings.Cut(attribute, "=")
		switch strings.ToLower(strings.Trim(key, " \t")) {
		case "", "domain":
			continue
		case "path":
			if !isolated {
				path = strings.Trim(v, " \t")
				continue
			}
		}
		b.WriteString("; " + attribute)
	}
	if !isolated {
		b.WriteString("; Path=" + underApp(path, app))
	}
	return b.String(), true
}

// underApp maps a path as the app knows it to one below its prefix.
func underApp(path, app string) string {
	prefix := "/" + app
	switch {
	case strings.HasPrefix(path, prefix+"/"):
		return path
	case path == prefix, !strings.HasPrefix(path, "/"):
		return prefix + "/"
	}
	return prefix + path
}

// appLocation keeps an app's redirects to itself below its prefix: the app
// does not see the prefix, so many redirect to "/login". Redirects to other
// hosts pass.
func appLocation(to string, x *exchange) string {
	u, err := url.Parse(to)
	if err != nil || u.Opaque != "" {
		return to
	}
	if u.Host != "" {
		name, ok := hostName(u.Host)
		if !ok || name != x.host || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" {
			return to
		}
		u.Scheme, u.Host, u.User = "", "", nil // apps guess the scheme wrongly
		if !strings.HasPrefix(u.Path, "/") {
			u.Path = "/"
		}
	}
	if !strings.HasPrefix(u.Path, "/") || strings.HasPrefix(u.Path, "//") {
		return to
	}
	first, _, _ := firstSegment(u.Path)
	if x.prefixed && first != x.app && first != ours {
		u.Path = "/" + x.app + u.Path
		if u.RawPath != "" {
			u.RawPath = "/" + x.app + u.RawPath
		}
	}
	return u.String()
}

// watchedBody notes what goes wrong while the body is read, and that it was.
type watchedBody struct {
	io.ReadCloser
	x *exchange
}

func (b watchedBody) Read(p []byte) (int, error) {
	b.x.touched.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.x.bodyErr.CompareAndSwap(nil, &err)
	}
	return n, err
}

// watchBody lets the answer begin before the body has ended, as apps that
// stream both ways need it.
func (s *Server) watchBody(w http.ResponseWriter, r *http.Request, x *exchange) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	control := http.NewResponseController(w)
	if s.BodyRate > 0 {
		r.Body = &pacedBody{r.Body, control, s.BodyRate, s.BodyGrace, s.BodyGrace}
	}
	r.Body = watchedBody{r.Body, x}
	control.EnableFullDuplex() //nolint:errcheck // HTTP/2 always is
}

// proxyFailed answers when no answer came from upstream. What the request's
// body had to do with it is only in the exchange: the error here may be the
// transport's reaction to it.
func (s *Server) proxyFailed(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	var none *noTargetError
	switch {
	case x.bodyErr.Load() != nil && errors.Is(*x.bodyErr.Load(), errSlowBody):
		x.last = true
		s.problem(w, r, http.StatusRequestTimeout, "The request's body came too slowly.")
	case x.bodyErr.Load() != nil:
		x.last = true
		s.problem(w, r, http.StatusBadRequest, "The request's body cannot be read.")
	case errors.Is(r.Context().Err(), context.Canceled):
		// The client has gone, or its right has: there is nobody to answer.
	case errors.As(err, &none) && x.kind == "":
		s.notServing(w, r, x, none)
	case x.kind != "":
		s.Log.WarnContext(r.Context(), "the core did not answer", "error", err)
		if x.kind == slipway.HostGit {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8") // git shows it to the person
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(http.StatusServiceUnavailable)
			io.WriteString(w, "The platform is restarting. Nothing was changed: try again in a moment.\n")
			return
		}
		s.away(w, r)
	default:
		s.Log.WarnContext(r.Context(), "an app broke a request off", "app", x.app, "error", err)
		s.page(w, r, http.StatusBadGateway, view{
			Title: "The app did not answer", Text: "It ended the connection before it had answered. Try again; if that does not help, its log may say why.", RequestID: x.id,
		})
	}
}
