// Package pages serves what people see before there is an app: sign-in,
// sign-out and errors, in plain HTML that works without scripts; and who gets
// the web UI. Writes must come from a page of the same origin; nothing is
// decided here but where a browser goes next.
package pages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/session"
	"slipway.dev/slipway/internal/web"
)

//go:embed html/*.html
var htmlFiles embed.FS

//go:embed html/style.css
var styleSheet []byte

//go:embed html/mark.svg
var mark []byte

// Options are what the pages are made of.
type Options struct {
	People *people.Service
	UI     *web.UI // the pages of the management host
	Brand  func(context.Context) (slipway.Branding, error)
	Hosts  slipway.Hosts
	Log    *slog.Logger
}

type handler struct {
	Options
	cross     *http.CrossOriginProtection
	pages     map[string]*template.Template
	styleName string // changes with its content, so that browsers may keep it
}

// Auth serves the sign-in host, auth-<base>, but for the OpenID provider.
func Auth(o Options) http.Handler {
	h := newHandler(o)
	mux := h.mux()
	profile := func(w http.ResponseWriter, r *http.Request) error { return h.go303(w, r, o.Hosts.API()+"/profile") }
	h.on(mux, "GET /{$}", profile)
	h.on(mux, "GET /account", profile)
	h.on(mux, "GET /login", h.loginPage)
	h.on(mux, "POST /login", h.login)
	h.on(mux, "GET /login/handoff", h.handoff)
	h.on(mux, "GET /logout", h.logoutPage)
	h.on(mux, "POST /logout", h.logout)
	return h.around(mux, cookieName(o.Hosts, "auth"), o.People.Session)
}

// Manage serves the pages of the management host, api-<base>.
func Manage(o Options) http.Handler {
	h := newHandler(o)
	mux := h.mux()
	to := func(where string) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return h.go303(w, r, where) }
	}
	h.on(mux, "GET /{$}", to("/portal"))
	for _, page := range []string{"/portal", "/apps", "/apps/", "/profile", "/admin", "/admin/"} {
		h.on(mux, "GET "+page, h.document)
	}
	mux.HandleFunc("GET /assets/", o.UI.Asset)
	h.on(mux, "GET /account", to("/profile"))
	h.on(mux, "GET /_slipway/session", h.takeSession)
	h.on(mux, "GET /_slipway/logout", to(o.Hosts.Auth()+"/logout"))
	return h.around(mux, cookieName(o.Hosts, "api"), o.People.ActorFromAPICookie)
}

// document begins the web UI for whoever has signed in.
func (h *handler) document(w http.ResponseWriter, r *http.Request) error {
	if slipway.ActorFrom(r.Context()).User == nil {
		return h.go303(w, r, session.Handoff(w, r, h.Hosts, h.Hosts.API()+r.URL.RequestURI(), false))
	}
	h.UI.Document(w, r)
	return nil
}

func newHandler(o Options) *handler {
	sum := sha256.Sum256(styleSheet)
	h := &handler{
		Options: o, cross: http.NewCrossOriginProtection(), pages: map[string]*template.Template{},
		styleName: "/_slipway/style-" + hex.EncodeToString(sum[:6]) + ".css",
	}
	layout := template.Must(template.New("layout.html").Funcs(template.FuncMap{"initial": initial, "hue": hue}).ParseFS(htmlFiles, "html/layout.html"))
	for _, name := range []string{"login", "logout", "error"} {
		h.pages[name] = template.Must(template.Must(layout.Clone()).ParseFS(htmlFiles, "html/"+name+".html"))
	}
	return h
}

// cookieName is that of a host's session. With TLS browsers themselves refuse
// to set it for more than this host.
func cookieName(hosts slipway.Hosts, host string) string {
	if hosts.Scheme == "https" {
		return "__Host-slipway-" + host
	}
	return "slipway-" + host
}

func (h *handler) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+h.styleName, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(styleSheet) // a browser that is gone sees nothing
	})
	h.on(mux, "GET "+brandSheet, func(w http.ResponseWriter, r *http.Request) error {
		b, err := h.Brand(r.Context())
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		if light, dark := b.Shades(); light != "" {
			const rule = ":root { --accent: %[1]s; --focus: %[1]s; }\n@media (prefers-color-scheme: dark) { :root { --accent: %[2]s; --focus: %[2]s; } }\n"
			fmt.Fprintf(w, rule, light, dark)
		}
		return nil
	})
	mux.HandleFunc("GET /_slipway/mark.svg", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Cache-Control", "public, max-age=86400")
		_, _ = w.Write(mark) // as above
	})
	h.on(mux, "/", func(http.ResponseWriter, *http.Request) error { return errs.NotFound("there is no such page") })
	return mux
}

// on adds a page; what it returns as an error becomes an error page.
func (h *handler) on(mux *http.ServeMux, pattern string, fn func(http.ResponseWriter, *http.Request) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := fn(w, r); err != nil {
			h.refuse(w, r, err)
		}
	})
}

// around is what every request passes: its id, who asks, and where a write
// comes from.
func (h *handler) around(next http.Handler, cookie string, session func(context.Context, string) (slipway.Actor, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-Id") // the gateway's: it drops the client's
		if id == "" || len(id) > 64 {
			id = slipway.NewID("req")
		}
		actor := slipway.Actor{Addr: clientAddr(r)}
		r = r.WithContext(slipway.WithActor(logs.WithRequest(r.Context(), id), actor))
		w.Header().Set("X-Request-Id", id)
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // the value by which net/http knows it
					panic(p)
				}
				h.refuse(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		if err := h.cross.Check(r); err != nil {
			h.refuse(w, r, errs.Wrap(err, errs.KindDenied, "this form was sent from a page of another site: open the page again and retry"))
			return
		}
		if c, err := r.Cookie(cookie); err == nil {
			a, err := session(r.Context(), c.Value)
			if err != nil && !errs.Is(err, errs.KindUnauthenticated) {
				h.refuse(w, r, err)
				return
			}
			a.Addr = actor.Addr
			r = r.WithContext(slipway.WithActor(r.Context(), a))
		}
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

// clientAddr is the last address in the chain: the one that the gateway saw.
func clientAddr(r *http.Request) string {
	f := r.Header.Values("X-Forwarded-For")
	if len(f) == 0 {
		return ""
	}
	list := strings.Split(f[len(f)-1], ",")
	return strings.TrimSpace(list[len(list)-1])
}

// brandSheet is the style sheet that holds what administrators chose.
const brandSheet = "/_slipway/brand.css"

// view is what a template gets.
type view struct {
	Brand   slipway.Branding
	Title   string
	User    *slipway.User
	Hosts   slipway.Hosts
	Style   string
	Notice  string            // what went well
	Problem string            // what did not
	Fields  map[string]string // what is wrong with single fields
	Request string            // id
	Data    any

	formAction string // where forms may lead, beside this origin
}

// show answers with a page.
func (h *handler) show(w http.ResponseWriter, r *http.Request, status int, page string, v view) error {
	brand, err := h.Brand(r.Context())
	if err != nil { // the page matters more
		brand = slipway.Branding{Name: "Slipway"}
	}
	v.Brand = brand
	v.User, v.Hosts, v.Style, v.Request = slipway.ActorFrom(r.Context()).User, h.Hosts, h.styleName, logs.Request(r.Context())
	var b bytes.Buffer
	if err := h.pages[page].Execute(&b, v); err != nil {
		return err
	}
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Length", strconv.Itoa(b.Len()))
	head.Set("Cache-Control", "no-store")
	head.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; style-src 'self'; img-src 'self' "+h.Hosts.API()+"; base-uri 'none'; "+
		"frame-ancestors 'none'; form-action 'self' "+v.formAction))
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin") // not no-referrer: forms would then send Origin: null
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a browser that is gone sees nothing
	return nil
}

// go303 sends the browser on with a GET.
func (h *handler) go303(w http.ResponseWriter, r *http.Request, to string) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

func statusOf(k errs.Kind) int {
	switch k {
	case errs.KindInvalid:
		return http.StatusBadRequest
	case errs.KindUnauthenticated:
		return http.StatusUnauthorized
	case errs.KindDenied:
		return http.StatusForbidden
	case errs.KindNotFound:
		return http.StatusNotFound
	case errs.KindConflict:
		return http.StatusConflict
	case errs.KindExhausted:
		return http.StatusTooManyRequests
	case errs.KindUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// refuse answers with an error page. It is the one renderer of this protocol,
// and the edge where our own failures are logged.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	kind := errs.KindOf(err)
	title := "That did not work"
	switch kind {
	case errs.KindNotFound:
		title = "Not found"
	case errs.KindDenied:
		title = "Not allowed"
	case errs.KindUnavailable:
		title = "Back in a moment"
	case errs.KindInternal:
		title = "Something went wrong"
		h.Log.ErrorContext(r.Context(), "a page failed", "path", r.URL.Path, "error", err)
	default:
	}
	if shown := h.show(w, r, statusOf(kind), "error", view{Title: title, Problem: sentence(errs.Message(err))}); shown != nil {
		h.Log.ErrorContext(r.Context(), "the error page failed", "error", shown)
		w.WriteHeader(statusOf(kind))
	}
}

// problem puts an error that a form can mend into the form's view.
func (v *view) problem(err error) {
	v.Problem, v.Fields = sentence(errs.Message(err)), map[string]string{}
	for _, f := range errs.FieldsOf(err) {
		v.Fields[f.Name] = sentence(f.Message)
	}
}

// mendable: a form can be sent again with other values.
func mendable(err error) bool {
	switch errs.KindOf(err) {
	case errs.KindInvalid, errs.KindExhausted, errs.KindUnauthenticated, errs.KindConflict:
		return true
	default:
		return false
	}
}

// sentence begins with a capital and ends with a stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// initial is the letter that stands for a name.
func initial(s string) string {
	for _, r := range s {
		return strings.ToUpper(string(r))
	}
	return "?"
}

// hue is one of eight colours that always goes with the same name.
func hue(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "hue-" + strconv.Itoa(int(sum[0]%8))
}

// target is an address of ours that a browser asks to go to.
type target struct {
	kind   string // of the host; empty for an isolated app
	host   string // without port
	origin string
	path   string // with its query
}

func (t target) String() string { return t.origin + t.path }

// parseTarget accepts only addresses of our own hosts: everything else would
// make the sign-in page send people, or their sessions, to strangers.
func (h *handler) parseTarget(to string) (target, bool) {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != h.Hosts.Scheme || u.User != nil || u.Opaque != "" || strings.ContainsAny(to, "\\\r\n\t ") {
		return target{}, false
	}
	port := map[string]string{"https": "443", "http": "80"}[u.Scheme]
	mine, theirs := h.Hosts.Port, u.Port()
	if mine == "" {
		mine = port
	}
	if theirs == "" {
		theirs = port
	}
	host := strings.ToLower(u.Hostname())
	kind, app := h.Hosts.Kind(host)
	switch kind {
	case slipway.HostBase, slipway.HostAPI, slipway.HostAuth:
	case "":
		if _, err := slipway.ParseAppName(app); err != nil {
			return target{}, false
		}
	default:
		return target{}, false
	}
	path := u.RequestURI()
	if mine != theirs || !strings.HasPrefix(path, "/") {
		return target{}, false
	}
	origin := h.Hosts.Scheme + "://" + host
	if h.Hosts.Port != "" {
		origin += ":" + h.Hosts.Port
	}
	return target{kind, host, origin, path}, true
}

// localPath is a path on the same host, or the Portal's.
func localPath(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/portal"
	}
	return to
}
