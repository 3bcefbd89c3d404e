package oci

import (
	"context"
	"net/http"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// InternalOptions of an Internal.
type InternalOptions struct {
	Store *Store
	// Pull and Push name repositories that may be read, and written too, with
	// all below them.
	Pull, Push []string
	// May says what the request's sender may do: pull, and push too. nil = both.
	// It looks at the certificate that the listener has verified.
	May func(r *http.Request) (pull, push bool)
}

// Internal is the handler for parts of the platform itself: without tokens,
// behind a listener that knows who connects, such as by mTLS.
type Internal struct {
	InternalOptions
	app *handlers.App
}

// NewInternal makes a handler. Close it in the end.
func NewInternal(ctx context.Context, o InternalOptions) *Internal {
	return &Internal{o, newApp(ctx, o.Store, secret.Random(32))}
}

// Close ends what runs in the background.
func (s *Internal) Close() error { return s.app.Shutdown() }

// ServeHTTP implements http.Handler.
func (s *Internal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, err := (&Server{routes: v2.Router()}).route(r)
	if err == nil {
		err = s.check(r, t)
	}
	if err != nil {
		_ = errcode.ServeJSON(w, errcode.ErrorCodeDenied.WithMessage(errs.Message(err)))
		return
	}
	for _, d := range []string{t.reference, r.FormValue("digest")} {
		if d := digest.Digest(d); t.writes() && d.Validate() == nil {
			s.Store.touch(d)
		}
	}
	if t.kind == v2.RouteNameManifest && t.writes() {
		s.Store.sweep.RLock()
		defer s.Store.sweep.RUnlock()
	}
	s.app.ServeHTTP(w, r)
}

func (t target) writes() bool { return t.method != http.MethodGet && t.method != http.MethodHead }

func (s *Internal) check(r *http.Request, t target) error {
	pull, push := true, true
	if s.May != nil {
		pull, push = s.May(r)
	}
	switch {
	case t.repo == "" && !t.writes() && (pull || push):
		return nil
	case r.FormValue("from") != "":
		return errs.Denied("content cannot be mounted here")
	case push && below(t.repo, s.Push), pull && !t.writes() && below(t.repo, s.Pull):
		return nil
	}
	return errs.Denied("this may not be done here")
}

func below(repo string, roots []string) bool {
	for _, r := range roots {
		if repo == r || strings.HasPrefix(repo, r+"/") {
			return true
		}
	}
	return false
}
