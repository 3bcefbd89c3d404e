package gitd

import (
	"cmp"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
	"slipway.dev/slipway/internal/base/secret"
)

// relay stands between git and a server that somebody named. git asks it over
// loopback, and it asks the server: git itself resolves no name, opens no
// connection to the outside and never sees the token. What goes wrong is known
// here as an error of Go, not as words of git.
type relay struct {
	key    secret.String // that git shows; others on this machine do not have it
	remote Remote
	client *http.Client
	stall  time.Duration
	limit  int64

	mu    sync.Mutex
	base  url.URL // of the repository; a server may say that it is elsewhere on the same host
	taken int64   // bytes of answers
	why   error   // the first failure
}

const relayKey = "X-Slipway-Relay"

// newRelay finds the server, whose addresses then stay the same.
func (s *Server) newRelay(ctx context.Context, r Remote) (*relay, error) {
	base, err := url.Parse(r.URL)
	if err != nil || base.Scheme != "https" || base.User != nil || base.Hostname() == "" {
		return nil, wrongURL(nil, "it must begin with https:// and hold no user name or password")
	}
	addrs, err := s.Outside.Find(ctx, base.Hostname())
	if err != nil {
		return nil, wrongURL(err, "%s", errs.Message(err))
	}
	port := base.Port()
	if port == "" {
		port = "443"
	}
	base.RawQuery, base.Fragment = "", ""
	out := &relay{key: secret.Random(32), remote: r, base: *base, stall: cmp.Or(s.Stall, 30*time.Second), limit: s.maxBytes()}
	out.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         outside.Dialer(base.Hostname(), port, addrs),
			TLSClientConfig:     &tls.Config{RootCAs: s.Roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: time.Minute, // for what goes on when nobody waits any more
			ForceAttemptHTTP2:   true, DisableCompression: true, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: out.mayFollow,
	}
	return out, nil
}

func wrongURL(cause error, format string, args ...any) error {
	return wrongField(cause, "url", format, args...)
}

func wrongField(cause error, field, format string, args ...any) error {
	return &errs.Error{
		Kind: errs.KindInvalid, Message: "the repository cannot be fetched", Err: cause,
		Fields: []errs.Field{{Name: field, Message: fmt.Sprintf(format, args...)}},
	}
}

const ledAway = "the server leads to another address: give that one, if you trust it"

var errRedirect = errors.New("redirected")

// mayFollow lets a server move a repository on the same host, as many do for
// addresses without .git. What leads elsewhere was not checked, nor is the
// token for it.
func (r *relay) mayFollow(req *http.Request, via []*http.Request) error {
	if len(via) > 3 || req.Method != http.MethodGet || req.URL.Scheme != "https" || req.URL.Host != r.base.Host || req.URL.User != nil {
		return errRedirect
	}
	return nil
}

// fail keeps the first failure.
func (r *relay) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil {
		r.why = err
	}
}

func (r *relay) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why
}

// target is what git asks for at the server; git asks for nothing else.
func (r *relay) target(req *http.Request) *url.URL {
	r.mu.Lock()
	to := r.base
	r.mu.Unlock()
	switch {
	case req.Method == http.MethodGet && req.URL.Path == "/info/refs" && req.URL.RawQuery == "service="+uploadPack:
		to.RawQuery = req.URL.RawQuery
	case req.Method == http.MethodPost && req.URL.Path == "/"+uploadPack:
	default:
		return nil
	}
	return to.JoinPath(req.URL.Path)
}

// ServeHTTP implements http.Handler.
func (r *relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	to := r.target(req)
	if to == nil || subtle.ConstantTimeCompare([]byte(req.Header.Get(relayKey)), []byte(r.key.Reveal())) != 1 {
		http.NotFound(w, req)
		return
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	watch := time.AfterFunc(r.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	begun, err := r.pass(ctx, w, req, to, func() { watch.Reset(r.stall) })
	if err == nil && ctx.Err() == nil { // an answer that is given up may look like one that is at its end
		return
	}
	if errors.Is(context.Cause(ctx), errStalled) {
		err = wrongURL(err, "the server sent nothing for %s: try again later", r.stall)
	}
	r.fail(cmp.Or(err, ctx.Err()))
	if begun {
		panic(http.ErrAbortHandler) // so that git takes no part for the whole
	}
	w.WriteHeader(http.StatusBadGateway)
}

var errStalled = errors.New("the server sent nothing")

// pass asks the server and streams its answer; begun tells whether git has
// some of it. alive is called whenever the server sends something.
func (r *relay) pass(ctx context.Context, w http.ResponseWriter, req *http.Request, to *url.URL, alive func()) (begun bool, err error) {
	out, err := http.NewRequestWithContext(ctx, req.Method, to.String(), req.Body)
	if err != nil {
		return false, err
	}
	out.ContentLength = req.ContentLength
	for _, h := range []string{"Accept", "Content-Type", "Content-Encoding", "Git-Protocol"} {
		if v := req.Header.Get(h); v != "" {
			out.Header.Set(h, v)
		}
	}
	out.Header.Set("User-Agent", "git/2 (slipway)") // some servers serve git to git only
	if !r.remote.Token.Empty() {
		user := r.remote.User
		if user == "" {
			user = "git" // with a token most servers take any
		}
		out.SetBasicAuth(user, r.remote.Token.Reveal())
	}
	res, err := r.client.Do(out)
	if err != nil {
		return false, r.unreachable(err)
	}
	defer res.Body.Close()
	alive()
	if err := r.judge(res, req.Method); err != nil {
		return false, err
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	return true, r.copy(w, res.Body, alive)
}

func (r *relay) unreachable(err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.Is(err, errRedirect):
		return wrongURL(err, ledAway)
	case errors.As(err, &cert):
		return wrongURL(err, "the server's certificate is not one that the platform trusts")
	case errors.As(err, &op) && op.Op == "dial":
		return wrongURL(err, "the server cannot be reached")
	}
	return wrongURL(err, "the server does not answer as one with HTTPS does")
}

// judge says what an answer without a repository means.
func (r *relay) judge(res *http.Response, method string) error {
	hasToken := !r.remote.Token.Empty()
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		if hasToken {
			return wrongField(nil, "token", "the server does not accept the user name and token for this repository")
		}
		return wrongURL(nil, "there is no such repository, or it is private: then give an access token")
	case code == http.StatusNotFound || code == http.StatusGone:
		if hasToken {
			return wrongURL(nil, "there is no such repository, or the token does not open it")
		}
		return wrongURL(nil, "there is no such repository, or it is private: then give an access token")
	case code >= 300 && code < 400: // of a question with a body
		return wrongURL(nil, ledAway)
	case code != http.StatusOK:
		return wrongURL(nil, "the server answers with status %d: try again later", code)
	}
	kind := "result"
	if method == http.MethodGet {
		kind = "advertisement"
	}
	at := res.Request.URL
	path, isRefs := strings.CutSuffix(at.Path, "/info/refs")
	if res.Header.Get("Content-Type") != "application/x-"+uploadPack+"-"+kind || res.Header.Get("Content-Encoding") != "" || method == http.MethodGet && !isRefs {
		return wrongURL(nil, "there is no git repository that speaks git's smart protocol")
	}
	if method == http.MethodGet {
		r.mu.Lock()
		r.base.Path, r.base.RawPath = path, "" // where git's next question goes
		r.mu.Unlock()
	}
	return nil
}

// copy sends an answer on as it comes, within the limit of the whole fetch.
func (r *relay) copy(w http.ResponseWriter, body io.Reader, alive func()) error {
	out := &flusher{w: w}
	out.duplex()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			alive()
			r.mu.Lock()
			r.taken += int64(n)
			over := r.taken > r.limit
			r.mu.Unlock()
			if over {
				return errs.Exhausted("the repository is larger than %d MB: that is more than the platform takes", r.limit>>20)
			}
			_, _ = out.Write(buf[:n]) // git that is gone ends the request
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return wrongURL(err, "the server broke off in the middle: try again")
		}
	}
}

// listen opens the relay's own port on loopback.
func (r *relay) listen(ctx context.Context) (net.Listener, *http.Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	return l, &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}, err
}
