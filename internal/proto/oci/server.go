package oci

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

const (
	tokenPath    = "/token"
	maxManifest  = 4 << 20
	actionPull   = "pull"
	actionPush   = "push"
	actionDelete = "delete"
)

// Options of a Server.
type Options struct {
	Store *Store
	// Origin is where clients reach the server: https://registry.example.com.
	Origin string
	// Authenticate returns for whom the name and password are good, in a form
	// that Authorize understands. It is kept sealed in the client's token.
	Authenticate func(ctx context.Context, user string, password secret.String) (subject secret.String, err error)
	// Authorize says whether the subject may do all actions (pull, push, delete)
	// to the repository, which may not exist yet. It is asked for every request.
	// Without a repository it says whether the subject may still sign in.
	Authorize func(ctx context.Context, subject secret.String, repo string, actions []string) error
	// Quota returns a prefix of the repository's name and how many bytes may be
	// kept below it; 0 = no limit.
	Quota func(ctx context.Context, repo string) (prefix string, bytes int64)
	// Box seals tokens. It must stay the same over restarts and replicas.
	Box *secret.Box
	// HTTPSecret signs the state of uploads; stays the same like Box.
	HTTPSecret secret.String
	Log        *slog.Logger
}

// Server is the handler for people's clients: docker, podman, skopeo, crane.
type Server struct {
	Options
	app    *handlers.App
	routes *mux.Router
}

// New makes a server. Close it in the end.
func New(ctx context.Context, o Options) *Server {
	return &Server{Options: o, app: newApp(ctx, o.Store, o.HTTPSecret), routes: v2.Router()}
}

// newApp makes distribution's handler, which asks nobody: who calls it has.
func newApp(ctx context.Context, s *Store, key secret.String) *handlers.App {
	c := &configuration.Configuration{Storage: s.where.config()}
	c.HTTP.Secret = key.Reveal()
	c.HTTP.RelativeURLs = true // whatever name and port the client used
	c.Catalog.MaxEntries = 1000
	return handlers.NewApp(ctx, c)
}

// Close ends what runs in the background.
func (s *Server) Close() error { return s.app.Shutdown() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	w.Header().Set("X-Content-Type-Options", "nosniff") // blobs are what people pushed
	w.Header().Set("Content-Security-Policy", "sandbox")
	if r.URL.Path == tokenPath {
		s.serveToken(w, r)
		return
	}
	if err := s.admit(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// admit checks the right, guards what a push relies on from being collected,
// and lets distribution answer.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) error {
	subject, err := s.subject(r)
	if err != nil {
		return err
	}
	at, err := s.route(r)
	if err != nil {
		return err
	}
	if err := s.Authorize(r.Context(), subject, at.repo, at.actions()); err != nil {
		return err
	}
	if at.kind == v2.RouteNameBase {
		s.app.ServeHTTP(w, r)
		return nil
	}
	if from := r.FormValue("from"); from != "" && s.Authorize(r.Context(), subject, from, []string{actionPull}) != nil {
		// The client may not read there: it sends the content itself.
		q := r.URL.Query()
		q.Del("from")
		q.Del("mount")
		r.URL.RawQuery, r.Form, r.PostForm = q.Encode(), q, nil
	}
	for _, d := range []string{at.reference, r.FormValue("digest"), r.FormValue("mount")} {
		if d := digest.Digest(d); d.Validate() == nil {
			s.Store.touch(d)
		}
	}
	switch {
	case at.kind == v2.RouteNameManifest && r.Method == http.MethodPut:
		return s.putManifest(w, r)
	case at.kind == v2.RouteNameManifest && at.writes():
		s.Store.sweep.RLock()
		defer s.Store.sweep.RUnlock()
	case at.uploads():
		return s.upload(w, r, at)
	}
	s.app.ServeHTTP(w, r)
	return nil
}

// target is what a request is about.
type target struct {
	kind, method, repo, reference string
}

func (s *Server) route(r *http.Request) (target, error) {
	var m mux.RouteMatch
	if !s.routes.Match(r, &m) || m.Route == nil {
		return target{}, errs.Denied("nothing here: this address is for clients of a container registry, such as docker")
	}
	t := target{kind: m.Route.GetName(), method: r.Method, repo: m.Vars["name"], reference: m.Vars["digest"]}
	if t.kind == v2.RouteNameManifest {
		t.reference = m.Vars["reference"]
	}
	if t.kind == v2.RouteNameBase {
		return t, nil
	}
	if t.kind == v2.RouteNameCatalog || t.repo == "" {
		return t, errs.Unsupported("this registry does not list its repositories")
	}
	return t, nil
}

func (t target) actions() []string {
	switch {
	case t.repo == "":
		return nil
	case t.method == http.MethodGet, t.method == http.MethodHead:
		return []string{actionPull}
	case t.method == http.MethodDelete && !t.uploads():
		return []string{actionDelete}
	}
	return []string{actionPull, actionPush}
}

func (t target) uploads() bool {
	return t.kind == v2.RouteNameBlobUpload || t.kind == v2.RouteNameBlobUploadChunk
}

// putManifest ends a push. Nothing is collected while it looks at what was sent.
func (s *Server) putManifest(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxManifest+1))
	if err != nil {
		return errs.Wrap(err, errs.KindUnavailable, "the request broke off")
	}
	if len(body) > maxManifest {
		return errs.Invalid("the manifest is larger than %d MB", maxManifest>>20)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	s.Store.sweep.RLock()
	defer s.Store.sweep.RUnlock()
	s.app.ServeHTTP(w, r)
	return nil
}

// upload streams a blob in, as far as the quota goes.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, at target) error {
	if s.Quota == nil || r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
		s.app.ServeHTTP(w, r)
		return nil
	}
	prefix, limit := s.Quota(r.Context(), at.repo)
	if limit <= 0 {
		s.app.ServeHTTP(w, r)
		return nil
	}
	used, err := s.Store.Usage(r.Context(), prefix)
	if err != nil {
		return err
	}
	full := errs.Exhausted("%s may keep %s in the registry and keeps %s: delete images that are not needed, or ask an administrator for more",
		prefix, bytesText(limit), bytesText(used))
	if used >= limit || r.ContentLength > limit-used {
		return full
	}
	body := &bounded{ReadCloser: r.Body, left: limit - used}
	r.Body = body
	s.app.ServeHTTP(&refusing{w, func() error {
		if body.over {
			return full
		}
		return nil
	}, func(err error) { s.fail(w, r, err) }, false}, r)
	return nil
}

// bounded ends a body that is too long with an error.
type bounded struct {
	io.ReadCloser
	left int64
	over bool
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.over = true
		return 0, fmt.Errorf("the quota is used up")
	}
	return n, err
}

// refusing replaces the answer to a body that was too long.
type refusing struct {
	http.ResponseWriter
	why    func() error
	fail   func(error)
	failed bool
}

func (w *refusing) WriteHeader(code int) {
	if err := w.why(); err != nil && !w.failed {
		w.failed = true
		w.fail(err)
	}
	if !w.failed {
		w.ResponseWriter.WriteHeader(code)
	}
}

func (w *refusing) Write(b []byte) (int, error) {
	if w.failed {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d bytes", n)
}

// challenge tells a client where tokens come from, and for what it needs one.
func (s *Server) challenge(r *http.Request) string {
	c := fmt.Sprintf(`Bearer realm="%s%s",service="%s"`, s.Origin, tokenPath, strings.TrimPrefix(strings.TrimPrefix(s.Origin, "https://"), "http://"))
	if t, err := s.route(r); err == nil && t.repo != "" {
		c += fmt.Sprintf(`,scope="repository:%s:%s"`, t.repo, strings.Join(t.actions(), ","))
	}
	return c
}
