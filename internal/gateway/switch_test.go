package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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

func target(id string, s *httptest.Server) link.Target {
	return link.Target{ID: id, Endpoint: "tcp://" + s.Listener.Addr().String()}
}

// No request fails while replicas take turns under load, GET or POST.
func TestSwitchUnderLoad(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g := loop.New(ctx, quiet)
	tr := r.transport()
	var done, failed atomic.Int64
	var rounds [8]atomic.Int64 // of each who asks
	for i := range rounds {
		g.Go("load", func(ctx context.Context) error {
			for ctx.Err() == nil {
				rounds[i].Add(1)
				method := []string{"GET", "POST"}[i%2]
				var body io.Reader
				if method == "POST" {
					body = strings.NewReader("data")
				}
				req, _ := http.NewRequest(method, origin+"/iris/x", body)
				res, err := tr.RoundTrip(req)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					if res.StatusCode != 200 {
						err = errors.New(res.Status)
					}
				}
				if done.Add(1); err != nil {
					failed.Add(1)
					t.Error(method, err)
				}
			}
			return nil
		})
	}
	var old *httptest.Server
	for n := range 20 {
		s := httptest.NewServer(http.HandlerFunc(echo))
		r.route("iris", func(x *link.Route) { x.Release, x.Targets = n, []link.Target{target(fmt.Sprintf("web-v%d.0", n), s)} })
		if old != nil {
			// The drain: nobody is in a request that began before the switch.
			for i := range rounds {
				before := rounds[i].Load()
				until(t, "everybody at the new replica", func() bool { return rounds[i].Load() >= before+2 })
			}
			_ = old.Config.Shutdown(t.Context()) // as TERM does, after the drain
			old.Close()
		}
		old = s
	}
	cancel()
	_ = g.Wait()
	old.Close()
	if done.Load() < 400 || failed.Load() != 0 {
		t.Errorf("%d of %d failed", failed.Load(), done.Load())
	}
}

// A replica that has left the table finishes what it has and gets nothing new.
func TestDrainedReplica(t *testing.T) {
	r := start(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	var later atomic.Int64
	r.app("iris", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/slow" {
			later.Add(1)
			return
		}
		close(begun)
		<-finish
		io.WriteString(w, "old")
	})
	got := make(chan answer, 1)
	g := loop.New(t.Context(), quiet)
	g.Go("slow", func(context.Context) error { got <- r.ask("GET", origin+"/iris/slow"); return nil })
	<-begun
	fresh := httptest.NewServer(http.HandlerFunc(echo))
	defer fresh.Close()
	r.route("iris", func(x *link.Route) { x.Targets = []link.Target{target("web-v2.0", fresh)} })
	for range 10 {
		if a := r.ask("GET", origin+"/iris/x"); a.body != "app:" {
			t.Error(a.Status, a.body)
		}
	}
	_ = loop.Sleep(t.Context(), 600*time.Millisecond) // the pool is dropped meanwhile
	close(finish)
	if a := <-got; a.body != "old" || later.Load() != 0 {
		t.Error(a.Status, a.body, later.Load())
	}
	_ = g.Wait()
}

func TestLeastBusy(t *testing.T) {
	r := start(t)
	finish := make(chan struct{})
	var began [2]atomic.Int64
	var targets []link.Target
	for i := range 2 {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { began[i].Add(1); <-finish }))
		t.Cleanup(s.Close)
		targets = append(targets, target(fmt.Sprintf("web-v1.%d", i), s))
	}
	r.app("iris", echo)
	r.route("iris", func(x *link.Route) { x.Targets = targets })
	g := loop.New(t.Context(), quiet)
	for n := range 10 {
		g.Go("request", func(context.Context) error { r.ask("GET", origin+"/iris/"); return nil })
		until(t, "the request", func() bool { return began[0].Load()+began[1].Load() == int64(n+1) })
	}
	close(finish)
	_ = g.Wait()
	if began[0].Load() != 5 || began[1].Load() != 5 {
		t.Errorf("10 requests went %d to %d", began[0].Load(), began[1].Load())
	}
}

// A replica that does not listen is passed over, with a body too: nothing of
// it was sent.
func TestRefusedConnection(t *testing.T) {
	r := start(t)
	s := r.app("iris", echo)
	dead := httptest.NewServer(nil)
	dead.Close()
	r.route("iris", func(x *link.Route) {
		x.Targets = []link.Target{target("web-v1.0", dead), target("web-v1.1", s), target("web-v1.2", dead)}
	})
	for range 20 {
		if a := r.send("POST", origin+"/iris/", strings.NewReader("data")); a.StatusCode != 200 || a.body != "app:data" {
			t.Fatal(a.Status, a.body)
		}
	}
	r.route("iris", func(x *link.Route) { x.Targets = []link.Target{target("web-v1.0", dead)} })
	if a := r.send("POST", origin+"/iris/", strings.NewReader("data")); a.StatusCode != 503 {
		t.Error(a.Status)
	}
}

// hangUp accepts, reads a request and closes without an answer, n times; then
// it serves.
func hangUp(t *testing.T, n int64) (endpoint string, seen *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen = new(atomic.Int64)
	g := loop.New(context.Background(), quiet)
	g.Go("app", func(context.Context) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return nil
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil && seen.Add(1) > n {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			}
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); _ = g.Stop() })
	return "tcp://" + l.Addr().String(), seen
}

func TestRepeats(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	for _, c := range []struct {
		method, body string
		lost         int64
		status       int
		seen         int64
	}{
		{"GET", "", 1, 200, 2},
		{"GET", "", 2, 502, 2},
		{"POST", "", 1, 502, 1},
		{"PUT", "x", 1, 502, 1},
		{"GET", "x", 1, 502, 1},
	} {
		endpoint, seen := hangUp(t, c.lost)
		r.route("iris", func(x *link.Route) {
			x.Targets = []link.Target{{ID: "a", Endpoint: endpoint}, {ID: "b", Endpoint: endpoint}}
		})
		var body io.Reader
		if c.body != "" {
			body = strings.NewReader(c.body)
		}
		if a := r.send(c.method, origin+"/iris/", body); a.StatusCode != c.status || seen.Load() != c.seen {
			t.Errorf("%s %q after %d lost: %s, sent %d times", c.method, c.body, c.lost, a.Status, seen.Load())
		}
	}
}

func TestHold(t *testing.T) {
	r := start(t, func(o *gateway.Options) { o.Hold = 10 * time.Second })
	s := r.app("iris", echo)
	wait := func(state slipway.AppState, headers ...string) answer {
		r.route("iris", func(x *link.Route) { x.State, x.Targets = state, nil })
		g := loop.New(t.Context(), quiet)
		g.Go("later", func(ctx context.Context) error {
			_ = loop.Sleep(ctx, 100*time.Millisecond)
			r.route("iris", func(x *link.Route) { x.State, x.Targets = slipway.AppRunning, []link.Target{target("web-v1.0", s)} })
			return nil
		})
		defer func() { _ = g.Wait() }()
		return r.ask("GET", origin+"/iris/", headers...)
	}
	if a := wait(slipway.AppStarting); a.StatusCode != 200 {
		t.Error("starting:", a.Status)
	}
	if a := wait(slipway.AppRunning, page); a.StatusCode != 200 {
		t.Error("between two replicas:", a.Status)
	}
	r.route("iris", func(x *link.Route) { x.Progress = []string{"building"} })
	if a := wait(slipway.AppStarting, page); a.StatusCode != 503 || !strings.Contains(a.body, "building") || !strings.Contains(a.body, `http-equiv="refresh"`) {
		t.Error("a first deploy shows its progress:", a.Status, a.body)
	}
	if a := wait(slipway.AppStarting); a.StatusCode != 200 {
		t.Error("a program waits all the same:", a.Status)
	}
	for _, state := range []slipway.AppState{slipway.AppPaused, slipway.AppCrashed, slipway.AppEmpty} {
		if a := wait(state); a.StatusCode != 503 {
			t.Error(state, a.Status)
		}
	}
}

// A gateway that has no table yet lets requests wait for it.
func TestFirstTable(t *testing.T) {
	r := start(t, func(o *gateway.Options) { o.Hold = 10 * time.Second })
	r.app("iris", echo)
	p := r.policy.Swap(nil)
	ready := func() int {
		w := httptest.NewRecorder()
		r.srv.Admin().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	if got := ready(); got != 503 {
		t.Error("ready without a table:", got)
	}
	g := loop.New(t.Context(), quiet)
	g.Go("later", func(ctx context.Context) error {
		_ = loop.Sleep(ctx, 100*time.Millisecond)
		r.policy.Store(p)
		return nil
	})
	if a := r.ask("GET", origin+"/iris/"); a.StatusCode != 200 {
		t.Error(a.Status)
	}
	_ = g.Wait()
	if got := ready(); got != 200 {
		t.Error("not ready with a table:", got)
	}
}

func TestAdmin(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	r.ask("GET", origin+"/iris/")
	r.ask("GET", origin+"/strangers-path/")
	get := func(path string) string {
		w := httptest.NewRecorder()
		r.srv.Admin().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Body.String()
	}
	if got := get("/healthz"); got != "ok\n" {
		t.Error(got)
	}
	until(t, "the counts", func() bool {
		m := get("/metrics")
		return strings.Contains(m, `slipway_gateway_requests_total{app="iris",class="2xx"} 1`) &&
			strings.Contains(m, `slipway_gateway_requests_total{app="",class="4xx"} 1`) &&
			strings.Contains(m, "slipway_gateway_request_seconds_count 2") && strings.Contains(m, "slipway_gateway_requests_in_flight 0")
	})
	if strings.Contains(get("/metrics"), "strangers") {
		t.Error("strangers make series")
	}
}
