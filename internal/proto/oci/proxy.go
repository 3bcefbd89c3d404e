package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/internal/base/errs"
)

// ProxyOptions of a Proxy.
type ProxyOptions struct {
	Upstream string       // https://core:5000
	Client   *http.Client // shows the proxy's certificate
	Repos    []string     // that may be read, with all below them
	Dir      string       // cache; only this process uses it
	MaxBytes int64        // of the cache
	Log      *slog.Logger
}

// Proxy lets a node's kubelet pull from another machine's registry by an
// address on the node itself: no name to resolve, no authority to trust, no
// password. It reads only, only by digest, and serves what it has kept while
// the registry is away.
type Proxy struct {
	ProxyOptions
	routes *mux.Router
	mu     sync.Mutex // one eviction at a time
}

// NewProxy makes a proxy and its cache's folder.
func NewProxy(o ProxyOptions) (*Proxy, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "the cache %s cannot be made", o.Dir)
	}
	half, err := filepath.Glob(filepath.Join(o.Dir, ".new-*"))
	if err != nil {
		return nil, err
	}
	for _, f := range half { // of a crash
		if err := os.Remove(f); err != nil {
			return nil, err
		}
	}
	return &Proxy{ProxyOptions: o, routes: v2.Router()}, nil
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.serve(w, r); err != nil {
		code := errcode.ErrorCodeDenied
		switch errs.KindOf(err) {
		case errs.KindUnavailable:
			code = errcode.ErrorCodeUnavailable
		case errs.KindNotFound:
			code = errcode.ErrorCodeManifestUnknown
		default:
		}
		_ = errcode.ServeJSON(w, code.WithMessage(errs.Message(err)))
	}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) error {
	t, err := (&Server{routes: p.routes}).route(r)
	switch {
	case err != nil:
		return err
	case t.writes():
		return errs.Denied("this address only reads")
	case t.kind == v2.RouteNameBase:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
		return nil
	case !below(t.repo, p.Repos), t.kind != v2.RouteNameBlob && t.kind != v2.RouteNameManifest:
		return errs.Denied("this address reads only %s", strings.Join(p.Repos, ", "))
	}
	d := digest.Digest(t.reference)
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
		return errs.NotFound("this address reads by digest only")
	}
	file := filepath.Join(p.Dir, d.Encoded())
	if p.fromCache(w, r, t, d, file) {
		return nil
	}
	return p.fetch(w, r, t, d, file)
}

func (p *Proxy) fromCache(w http.ResponseWriter, r *http.Request, t target, d digest.Digest, file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	now := time.Now()
	_ = os.Chtimes(file, now, now) // for the eviction
	kind := "application/octet-stream"
	if t.kind == v2.RouteNameManifest {
		var m struct {
			MediaType string `json:"mediaType"`
		}
		if json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&m) == nil {
			kind = m.MediaType
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return false
		}
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", d.String())
	http.ServeContent(w, r, "", time.Time{}, f)
	return true
}

// fetch passes content on while it comes, and keeps it when it is all there
// and is what was asked for.
func (p *Proxy) fetch(w http.ResponseWriter, r *http.Request, t target, d digest.Digest, file string) error {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, strings.TrimSuffix(p.Upstream, "/")+r.URL.EscapedPath(), nil)
	if err != nil {
		return err
	}
	for _, h := range []string{"Accept", "Range"} {
		req.Header[h] = r.Header.Values(h)
	}
	res, err := p.Client.Do(req)
	if err != nil {
		p.Log.WarnContext(r.Context(), "the registry is away", "error", err)
		return errs.Wrap(err, errs.KindUnavailable, "the registry is away: try again")
	}
	defer res.Body.Close()
	for _, h := range []string{"Content-Type", "Content-Length", "Content-Range", "Docker-Content-Digest", "Accept-Ranges"} {
		if v := res.Header.Get(h); v != "" {
			w.Header().Set(h, v)
		}
	}
	w.WriteHeader(res.StatusCode)
	if r.Method != http.MethodGet || res.StatusCode != http.StatusOK || res.ContentLength > p.MaxBytes {
		_, _ = io.Copy(w, res.Body)
		return nil
	}
	if err := p.tee(r.Context(), w, res.Body, d, file); err != nil {
		p.Log.WarnContext(r.Context(), "not kept", "digest", d.String(), "error", err)
	}
	return nil
}

// tee sends the content on and keeps it. A cache that cannot be written stops nobody.
func (p *Proxy) tee(ctx context.Context, w io.Writer, body io.Reader, d digest.Digest, file string) error {
	f, err := os.CreateTemp(p.Dir, ".new-*")
	if err != nil {
		_, _ = io.Copy(w, body)
		return err
	}
	defer os.Remove(f.Name()) // when it was not renamed
	check := d.Verifier()
	keep := &sink{w: io.MultiWriter(f, check)}
	_, err = io.Copy(io.MultiWriter(w, keep), body)
	if err = errors.Join(err, keep.err, f.Close(), ctx.Err()); err != nil {
		return err
	}
	if !check.Verified() {
		return fmt.Errorf("the registry sent something else")
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return p.evict()
}

// sink remembers an error instead of telling it.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	return len(b), nil
}

// evict deletes what was not asked for the longest until the cache fits.
func (p *Proxy) evict() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, err := os.ReadDir(p.Dir)
	if err != nil {
		return err
	}
	var files []os.FileInfo
	var total int64
	for _, e := range dir {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		files = append(files, info)
		total += info.Size()
	}
	slices.SortFunc(files, func(a, b os.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files {
		if total <= p.MaxBytes {
			break
		}
		if err := os.Remove(filepath.Join(p.Dir, f.Name())); err != nil {
			return err
		}
		total -= f.Size()
	}
	return nil
}
