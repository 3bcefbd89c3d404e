package link_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/link"
)

var quiet = slog.New(slog.DiscardHandler)

var farAway = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

type backend struct{}

func (backend) Exchange(_ context.Context, code, host string) (string, time.Time, error) {
	if code != "good" {
		return "", time.Time{}, errs.NotFound("no such code")
	}
	return "token for " + host, time.Unix(1000, 0).UTC(), nil
}

func (backend) AppTokens(_ context.Context, sid slipway.SessionID, app slipway.AppID) (link.Tokens, error) {
	if sid == "broken" {
		return link.Tokens{}, errors.New("internal detail")
	}
	return link.Tokens{User: "user_a", IDToken: secret.New("id " + string(app)), AccessToken: secret.New("access"), Expires: farAway}, nil
}

func newHub() *link.Hub {
	h := link.NewHub(slipway.Hosts{Scheme: "https", Base: "slipway.localhost"}, quiet)
	h.SetKeys([]link.SessionKey{{ID: "k1", Public: []byte("pub")}}, json.RawMessage(`{"keys":[]}`))
	h.SetPlatform(map[string]string{"api": "unix:///core.sock"})
	h.SetPerson("user_a", &link.Person{Name: "alice", Epoch: 1})
	return h
}

// serve answers on the socket until stop is called or the test ends.
func serve(t *testing.T, h http.Handler, socket string) (stop func()) {
	t.Helper()
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	g := loop.New(t.Context(), quiet)
	g.Spawn("link", func(context.Context) error { _ = srv.Serve(l); return nil })
	stop = func() { _ = srv.Close(); _ = g.Stop() }
	t.Cleanup(stop)
	return stop
}

func run(t *testing.T, c *link.Client) (stop func()) {
	t.Helper()
	c.Log = quiet
	g := loop.New(context.Background(), quiet)
	g.Go("client", c.Run)
	stop = func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !fn(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		_ = loop.Sleep(t.Context(), 2*time.Millisecond)
	}
}

func version(c *link.Client) uint64 {
	if p := c.Policy(); p != nil {
		return p.Version
	}
	return 0
}

func TestFollowsTheTable(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	h := newHub()
	serve(t, h.Handler(backend{}), socket)
	c := &link.Client{Endpoint: "unix://" + socket, File: filepath.Join(t.TempDir(), "policy.json")}
	run(t, c)

	if err := h.Acked(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	until(t, "contact", func() bool { return time.Since(c.Contact()) < time.Minute })
	if c.Policy() != nil {
		t.Fatal("a hub that is not open handed out a table")
	}
	h.Open()
	until(t, "first table", func() bool { return version(c) > 0 })

	v := h.SetRoute(link.Route{App: "app_1", Name: "iris", State: slipway.AppRunning, Targets: []link.Target{{ID: "web-v1.0", Endpoint: "tcp://127.0.0.1:1"}}})
	if err := h.Acked(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	before := c.Policy()
	if before.Routes["iris"].App != "app_1" || before.People["user_a"].Name != "alice" || before.Platform["api"] == "" || before.Keys[0].ID != "k1" || string(before.JWKS) != `{"keys":[]}` {
		t.Fatalf("table: %+v", before)
	}
	if again := h.SetRoute(h.Snapshot().Routes["iris"]); again != v {
		t.Errorf("setting the same route made version %d of %d", again, v)
	}
	v = h.Revoke("ses_1", time.Now().Add(time.Hour))
	h.SetPerson("user_a", nil)
	v = max(v, h.RemoveRoute("iris"))
	if err := h.Acked(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	p := c.Policy()
	if len(p.Routes) != 0 || len(p.People) != 0 || p.Revoked["ses_1"].IsZero() {
		t.Errorf("after the changes: %+v", p)
	}
	if len(before.Routes) != 1 || len(before.People) != 1 {
		t.Error("an earlier snapshot changed")
	}
	h.SetBrand(slipway.Branding{Name: "Orchard"})
	h.SetKeys(before.Keys, json.RawMessage(`{"keys":[{}]}`))
	until(t, "other keys for apps", func() bool { return string(c.Policy().JWKS) == `{"keys":[{}]}` })
	h.SetPlatform(map[string]string{"git": "unix:///other.sock"})
	until(t, "the platform's endpoints", func() bool { return c.Policy().Platform["git"] != "" })
}

func TestAsks(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	serve(t, newHub().Handler(backend{}), socket)
	c := &link.Client{Endpoint: "unix://" + socket, Log: quiet}
	token, expires, err := c.Exchange(t.Context(), "good", "slipway.localhost")
	if err != nil || token != "token for slipway.localhost" || !expires.Equal(time.Unix(1000, 0)) {
		t.Error(token, expires, err)
	}
	if _, _, err := c.Exchange(t.Context(), "bad", "x"); !errs.Is(err, errs.KindNotFound) || errs.Message(err) != "no such code" {
		t.Error("a core's error lost its kind or message:", err)
	}
	tokens, err := c.AppTokens(t.Context(), "ses", "app_1")
	if err != nil || tokens.IDToken.Reveal() != "id app_1" || tokens.AccessToken.Reveal() != "access" || !tokens.Expires.Equal(farAway) {
		t.Error(tokens, err)
	}
	if _, err := c.AppTokens(t.Context(), "broken", "app_1"); !errs.Is(err, errs.KindInternal) || errs.Message(err) == "internal detail" {
		t.Error(err)
	}
	nobody := &link.Client{Endpoint: "unix://" + filepath.Join(t.TempDir(), "none.sock"), Log: quiet}
	if _, err := nobody.AppTokens(t.Context(), "ses", "app_1"); !errs.Is(err, errs.KindUnavailable) {
		t.Error(err)
	}
}

// A hub that closes ends its streams at once; gateways keep their table.
func TestClose(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	h := newHub()
	serve(t, h.Handler(backend{}), socket)
	h.Open()
	h.SetRoute(link.Route{App: "app_1", Name: "iris"})
	c := &link.Client{Endpoint: "unix://" + socket, File: filepath.Join(t.TempDir(), "policy.json")}
	run(t, c)
	until(t, "the table", func() bool { return version(c) > 0 })
	until(t, "the connection", func() bool { n, _ := h.Gateways(); return n == 1 })
	h.Close()
	until(t, "the end of the stream", func() bool { n, _ := h.Gateways(); return n == 0 })
	if c.Policy().Routes["iris"].App != "app_1" {
		t.Error("the table went with the hub")
	}
}

func TestRestartOfTheCore(t *testing.T) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "link.sock"), filepath.Join(dir, "policy.json")
	first := newHub()
	first.SetRoute(link.Route{App: "app_1", Name: "old"})
	first.Open()
	stop := serve(t, first.Handler(backend{}), socket)
	c := &link.Client{Endpoint: "unix://" + socket, File: file}
	stopClient := run(t, c)
	until(t, "first table", func() bool { return version(c) > 0 })
	stop()

	second := newHub()
	serve(t, second.Handler(backend{}), socket)
	second.SetRoute(link.Route{App: "app_2", Name: "new"})
	if c.Policy().Routes["old"].App != "app_1" {
		t.Error("the table was lost while the core was away")
	}
	second.Open()
	until(t, "the new epoch's table", func() bool { return c.Policy().Routes["new"].App == "app_2" })
	if _, ok := c.Policy().Routes["old"]; ok {
		t.Error("the old epoch's route is still there")
	}
	v := second.SetRoute(link.Route{App: "app_3", Name: "third"})
	if err := second.Acked(t.Context(), v); err != nil || c.Policy().Routes["third"].App != "app_3" {
		t.Error(err)
	}
	stopClient()

	// A gateway that starts without the core has the last table.
	orphan := &link.Client{Endpoint: "unix://" + filepath.Join(dir, "none.sock"), File: file}
	run(t, orphan)
	until(t, "the table on disk", func() bool { return orphan.Policy() != nil && orphan.Policy().Routes["third"].App == "app_3" })
	if d := time.Since(orphan.Contact()); d > time.Minute || d < 0 {
		t.Error("contact was", d, "ago")
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// A stream whose deltas skip a version must lead to a whole table.
func TestGap(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	asked := make(chan string, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /link/ack", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	mux.HandleFunc("GET /link/policy", func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("epoch")
		if len(asked) == 1 {
			io.WriteString(w, `{"policy":{"version":4,"epoch":"e"}}`+"\n"+`{"delta":{"version":6,"routes":{"x":{"app":"app_x"}}}}`+"\n")
			return
		}
		io.WriteString(w, `{"policy":{"version":6,"epoch":"e","routes":{"y":{"app":"app_y"}}}}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	serve(t, mux, socket)
	c := &link.Client{Endpoint: "unix://" + socket, File: filepath.Join(t.TempDir(), "policy.json")}
	run(t, c)
	until(t, "the whole table", func() bool { return version(c) == 6 })
	if _, ok := c.Policy().Routes["x"]; ok {
		t.Error("a delta was applied over a gap")
	}
	<-asked
	if e := <-asked; e != "" {
		t.Errorf("after the gap it asked to go on from epoch %q", e)
	}
}

// A gateway that missed more than the hub keeps, or reconnects, catches up.
func TestCatchesUp(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	h := newHub()
	h.Open()
	stop := serve(t, h.Handler(backend{}), socket)
	c := &link.Client{Endpoint: "unix://" + socket, File: filepath.Join(t.TempDir(), "policy.json")}
	run(t, c)
	until(t, "first table", func() bool { return version(c) > 0 })
	for _, n := range []int{3, 3000} {
		stop()
		var v uint64
		for i := range n {
			v = h.SetRoute(link.Route{App: "app_1", Name: "iris", Release: n + i})
		}
		stop = serve(t, h.Handler(backend{}), socket)
		until(t, "the last change", func() bool { return version(c) == v })
		if got := c.Policy().Routes["iris"].Release; got != 2*n-1 {
			t.Errorf("release %d after %d changes", got, n)
		}
	}
}

func TestAckedWaits(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	h := newHub()
	h.Open()
	serve(t, h.Handler(backend{}), socket)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/link/policy?gateway=mute", nil)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	v := h.SetRoute(link.Route{Name: "iris"})
	if err := h.Acked(ctx, v); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("a gateway that acknowledged nothing was not waited for:", err)
	}
	res.Body.Close()
	tr.CloseIdleConnections()
	if err := h.Acked(t.Context(), v); err != nil {
		t.Error("a gateway that has gone is still waited for:", err)
	}
}

// A peer that is connected but silent is noticed: the client turns to a new
// connection, without which a hung core would freeze the table.
func TestSilentHub(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "link.sock")
	asked := make(chan struct{}, 10)
	serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/link/policy" {
			asked <- struct{}{}
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}), socket)
	run(t, &link.Client{Endpoint: "unix://" + socket, File: filepath.Join(t.TempDir(), "policy.json"), Beat: 20 * time.Millisecond})
	for range 2 {
		select {
		case <-asked:
		case <-time.After(10 * time.Second):
			t.Fatal("the client waits for ever")
		}
	}
}
