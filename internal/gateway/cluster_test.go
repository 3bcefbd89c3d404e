package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
)

// seen is what a gateway sees of a cluster.
type seen struct{ ready atomic.Pointer[[]string] }

func (s *seen) set(endpoints ...string) { s.ready.Store(&endpoints) }

func (s *seen) look(app slipway.AppID, workload string) ([]string, bool) {
	p := s.ready.Load()
	return *p, len(*p) > 0 && app != "" && workload == "web-v1"
}

// A replica that was replaced while the core is away is found; while the core
// is there, only what has passed its check takes requests.
func TestFindsReplicasItself(t *testing.T) {
	t.Parallel()
	var s seen
	r := start(t, func(o *gateway.Options) { o.Endpoints = s.look })
	old := r.app("iris", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "old") })
	next := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "new") }))
	t.Cleanup(next.Close)
	r.route("iris", func(rt *link.Route) { rt.Targets = []link.Target{target("web-v1.0", old)} })
	oldAt, newAt := target("", old).Endpoint, target("", next).Endpoint
	ask := func() string { return r.ask("GET", origin+"/iris/").body }

	s.set()
	if got := ask(); got != "old" {
		t.Fatalf("with nothing seen: %q", got)
	}
	s.set(oldAt, newAt)
	for range 10 {
		if got := ask(); got != "old" {
			t.Fatalf("what the core has not checked takes requests: %q", got)
		}
	}
	r.silent.Store(int64(time.Minute)) // the core is away
	s.set(newAt)
	if got := ask(); got != "new" {
		t.Fatalf("the replaced replica is not found: %q", got)
	}
	old.Close()
	s.set(oldAt)
	next.Close()
}

// A replica on a machine that does not answer is tried last for a while.
func TestShunsTheUnreachable(t *testing.T) {
	t.Parallel()
	r := start(t)
	var asked atomic.Int64
	good := r.app("iris", func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); io.WriteString(w, "ok") })
	r.route("iris", func(rt *link.Route) {
		rt.Targets = []link.Target{target("web-v1.0", good), {ID: "web-v1.1", Endpoint: "unix:///nowhere/at/all.sock"}}
	})
	for range 50 {
		if a := r.ask("GET", origin+"/iris/"); a.StatusCode != http.StatusOK {
			t.Fatal(a.Status)
		}
	}
	if asked.Load() != 50 {
		t.Errorf("%d of 50 requests reached the good replica", asked.Load())
	}
}

// While it lingers it serves, says that it is not ready, and sends clients to
// another gateway.
func TestLingers(t *testing.T) {
	t.Parallel()
	linger, end := context.WithCancel(context.Background())
	r := start(t, func(o *gateway.Options) { o.Linger = func(context.Context) { <-linger.Done() } })
	defer end()
	r.app("iris", echo)
	ready := func() int {
		w := httptest.NewRecorder()
		r.srv.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code
	}
	if a := r.ask("GET", origin+"/iris/"); a.StatusCode != 200 || a.Close || ready() != 200 {
		t.Fatal("before:", a.Status, a.Close, ready())
	}
	g := loop.New(context.Background(), quiet)
	g.Spawn("stop", func(context.Context) error { r.stop(); return nil })
	t.Cleanup(func() { _ = g.Wait() })
	until(t, "not ready", func() bool { return ready() == 503 })
	if a := r.ask("GET", origin+"/iris/"); a.StatusCode != 200 || !a.Close {
		t.Error("while it lingers:", a.Status, "closes:", a.Close)
	}
}

// Who speaks plain HTTP where TLS is spoken is sent to the same page with TLS.
func TestPlainIsSentToTLS(t *testing.T) {
	t.Parallel()
	r := start(t, withTLS)
	r.change(func(p *link.Policy) { p.Hosts.Port = "8443" })
	c := r.dial()
	io.WriteString(c, "GET /iris/?a=1 HTTP/1.1\r\nHost: "+base+"\r\n\r\n")
	res, _ := readAnswer(t, c, bufio.NewReader(c))
	if res.StatusCode != http.StatusPermanentRedirect || res.Header.Get("Location") != "https://"+base+":8443/iris/?a=1" {
		t.Error(res.Status, res.Header.Get("Location"))
	}
}

// git shows plain text to the person, and nothing else.
func TestGitIsToldToTryAgain(t *testing.T) {
	t.Parallel()
	r := start(t, func(o *gateway.Options) { o.CoreHold = 50 * time.Millisecond })
	r.change(func(p *link.Policy) { p.Platform[slipway.HostGit] = "unix:///nowhere/core.sock" })
	a := r.ask("GET", "http://git-"+base+"/iris/info/refs?service=git-receive-pack")
	if a.StatusCode != 503 || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") || !strings.Contains(a.body, "try again") {
		t.Error(a.Status, a.Header.Get("Content-Type"), a.body)
	}
}
