package gateway

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/link"
)

//go:embed pages/page.html
var pageHTML string

//go:embed pages/page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// view is what a page of the gateway shows.
type view struct {
	Title, Text    string
	Steps          []string // what is done and under way
	Code           []string // lines of a log, or commands
	Link, LinkText string
	Refresh        int // seconds until the page asks again
	RequestID      string
	Brand, Logo    string // what the platform is called here, and its picture
	Style          template.CSS
}

// dress gives the page the platform's looks, and returns the policy that lets
// a browser show just these.
func (v *view) dress(p *link.Policy) string {
	style, pictures := pageCSS, "'none'"
	if p != nil {
		v.Brand = p.Brand.Name
		if light, dark := p.Brand.Shades(); light != "" {
			style += ":root{--link:" + light + "}@media(prefers-color-scheme:dark){:root{--link:" + dark + "}}"
		}
		if p.Brand.Logo != "" {
			pictures = p.Hosts.API()
			v.Logo = pictures + "/v1/branding/logo?v=" + p.Brand.Logo
		}
	}
	v.Style = template.CSS(style)
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src " + pictures + "; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}

// page answers people with a page, and programs with a problem.
func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, v view) {
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(max(v.Refresh, 2)))
	}
	if !wantsPage(r) {
		s.problem(w, r, status, v.Title+". "+v.Text)
		return
	}
	policy := v.dress(s.Policy.Policy())
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, v); err != nil {
		s.Log.ErrorContext(r.Context(), "a page could not be made", "error", err)
		s.problem(w, r, status, v.Title)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	write(w, status, b.Bytes())
}

// problem is the one renderer of errors for programs (RFC 9457).
func (s *Server) problem(w http.ResponseWriter, _ *http.Request, status int, detail string) {
	body, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(status), status, detail})
	if err != nil { // text always encodes
		body = nil
	}
	w.Header().Set("Content-Type", "application/problem+json")
	write(w, status, body)
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}

// notFound says the same of what is not there and of what may not be seen.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusNotFound, view{
		Title: "Not found", Text: "There is nothing here, or nothing that you may open. The address may be misspelt; an app's owner can share it with you.",
	})
}

// away says that the core is needed and does not answer.
func (s *Server) away(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusServiceUnavailable, view{
		Title: "Back in a moment", Text: "A part of the platform that this page needs is not answering. The page tries again by itself.", Refresh: 3,
	})
}

// notServing says why an app takes no requests: in a word to everybody who may
// open it, with the log and what to do to those who manage it.
func (s *Server) notServing(w http.ResponseWriter, r *http.Request, x *exchange, none *noTargetError) {
	if none.gone {
		s.notFound(w, r)
		return
	}
	route := none.route
	owner := x.session != nil && manages(&route, x.session.User, x.person)
	v := view{Refresh: 2}
	switch route.State {
	case slipway.AppEmpty:
		v = view{Title: "Nothing is deployed yet", Text: "This app has no release yet.", Refresh: 10}
		if owner {
			v.Text = "This app has no release yet. Push one from the folder that holds its code:"
			v.Code = []string{"git remote add slipway " + x.policy.Hosts.GitRemote(route.Name), "git push slipway main"}
			if ssh := x.policy.Hosts.SSHRemote(route.Name); ssh != "" {
				v.Code = append(v.Code, "", "# or with an SSH key", "git remote add slipway "+ssh)
			}
		}
	case slipway.AppCrashed:
		v = view{Title: "This app has crashed", Text: "It keeps ending right after its start. Its owner can see why.", Refresh: 10}
		if owner {
			v.Text = "It keeps ending right after its start. These are the last lines of its log:"
			v.Code = route.LogTail
		}
	case slipway.AppPaused:
		v = view{Title: "This app is paused", Text: "Its owner has paused it; it can be resumed at any time."}
	case slipway.AppStarting:
		v.Title, v.Text, v.Steps = "Starting", "The app is on its way. This page follows it.", route.Progress
	default:
		v.Title, v.Text = "The app does not answer", "None of its replicas takes requests at this moment. The page tries again by itself."
	}
	s.page(w, r, http.StatusServiceUnavailable, v)
}
