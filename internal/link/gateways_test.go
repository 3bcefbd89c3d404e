package link_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/platform"
)

// identities makes one certificate for each name.
func identities(t *testing.T, names ...string) []*platform.Identity {
	t.Helper()
	ca, err := platform.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	root, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*platform.Identity, len(names))
	for i, name := range names {
		leaf, err := ca.Issue(name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for file, text := range map[string]string{
			platform.IdentityCert: string(leaf.Cert), platform.IdentityKey: leaf.Key.Reveal(), platform.IdentityCA: string(root.Cert),
		} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out[i], err = platform.OpenIdentity(dir, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// cluster is a hub on TCP with certificates.
func cluster(t *testing.T, h *link.Hub) (endpoint string, d dial.Dialer) {
	t.Helper()
	ids := identities(t, platform.NameCore, platform.NameGateway)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h.Handler(backend{})}
	g := loop.New(context.Background(), quiet)
	g.Spawn("hub", func(context.Context) error {
		_ = srv.Serve(tls.NewListener(l, ids[0].Server(platform.NameGateway)))
		return nil
	})
	t.Cleanup(func() { _ = srv.Close(); _ = g.Stop() })
	return "tls://" + l.Addr().String(), dial.Dialer{TLS: func() *tls.Config { return ids[1].Client(platform.NameCore) }}
}

// stream connects a gateway that acknowledges nothing.
func stream(t *testing.T, endpoint string, d dial.Dialer, gateway string) (leave func()) {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, endpoint) }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://link/link/policy?gateway="+gateway, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	leave = func() { res.Body.Close(); tr.CloseIdleConnections() }
	t.Cleanup(leave)
	return leave
}

// Two gateways over TCP with certificates: a change counts once both have it,
// and one that goes is waited for no more.
func TestSeveralGateways(t *testing.T) {
	h := newHub()
	h.Open()
	endpoint, d := cluster(t, h)
	var clients []*link.Client
	var stops []func()
	for range 2 {
		c := &link.Client{Endpoint: endpoint, Dialer: d, File: filepath.Join(t.TempDir(), "policy.json")}
		stops, clients = append(stops, run(t, c)), append(clients, c)
		until(t, "a gateway's first table", func() bool { return version(c) > 0 })
	}
	for release := range 20 {
		v := h.SetRoute(link.Route{App: "app_1", Name: "iris", Release: release})
		if err := h.Acked(t.Context(), v); err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			if got := version(c); got != v {
				t.Fatalf("acknowledged, but gateway %d has version %d, not %d", i, got, v)
			}
		}
	}
	if token, _, err := clients[1].Exchange(t.Context(), "good", "x"); err != nil || token != "token for x" {
		t.Errorf("the second gateway's question: %q, %v", token, err)
	}
	stops[0]()
	v := h.SetRoute(link.Route{App: "app_1", Name: "iris", Release: 99})
	if err := h.Acked(t.Context(), v); err != nil {
		t.Errorf("a gateway that has gone is still waited for: %v", err)
	}
	if got := version(clients[1]); got != v {
		t.Errorf("the gateway that stayed has version %d, not %d", got, v)
	}
}

// A deploy waits for each gateway: one that is quick does not speak for the other.
func TestTheSlowGatewayCounts(t *testing.T) {
	h := newHub()
	h.Open()
	endpoint, d := cluster(t, h)
	quick := &link.Client{Endpoint: endpoint, Dialer: d, File: filepath.Join(t.TempDir(), "policy.json")}
	run(t, quick)
	until(t, "the first table", func() bool { return version(quick) > 0 })
	leave := stream(t, endpoint, d, "mute")

	v := h.SetRoute(link.Route{Name: "iris"})
	until(t, "the change at the quick one", func() bool { return version(quick) == v })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Acked(ctx, v); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the mute gateway was not waited for: %v", err)
	}
	leave()
	if err := h.Acked(t.Context(), v); err != nil {
		t.Errorf("the mute gateway has gone and is still waited for: %v", err)
	}
}

// A gateway whose connection died unseen comes back on a new one: what is left
// of the old one holds nobody up.
func TestAGatewayReconnects(t *testing.T) {
	h := newHub()
	h.Open()
	endpoint, d := cluster(t, h)
	stream(t, endpoint, d, "gw") // stays open, as after a power cut
	stream(t, endpoint, d, "gw")
	v := h.SetRoute(link.Route{Name: "iris"})
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx, endpoint) }}}
	defer c.CloseIdleConnections()
	res, err := c.Post("http://link/link/ack", "application/json", ack("gw", h.Snapshot().Epoch, v))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := h.Acked(t.Context(), v); err != nil {
		t.Errorf("the dead connection of a gateway that is back is waited for: %v", err)
	}
}

func ack(gateway, epoch string, version uint64) io.Reader {
	return strings.NewReader(fmt.Sprintf(`{"gateway":%q,"epoch":%q,"version":%d}`, gateway, epoch, version))
}

// What one gateway was told of a viewer serves at all of them while the core is
// away, but never after the viewer has become another.
func TestTokensReachEveryGateway(t *testing.T) {
	h := newHub()
	h.Open()
	endpoint, d := cluster(t, h)
	gateway := func() *link.Client {
		c := &link.Client{Endpoint: endpoint, Dialer: d, File: filepath.Join(t.TempDir(), "policy.json")}
		run(t, c)
		until(t, "a gateway's first table", func() bool { return version(c) > 0 })
		return c
	}
	asks := func(c *link.Client, sid slipway.SessionID) bool { // true = known without the core
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got, err := c.AppTokens(ctx, sid, "app_1")
		if err == nil && (got.IDToken.Reveal() != "id app_1" || got.AccessToken.Reveal() != "access") {
			t.Errorf("handed on: %q, %q", got.IDToken.Reveal(), got.AccessToken.Reveal())
		}
		return err == nil
	}
	first, second := gateway(), gateway()
	if asks(second, "ses_1") {
		t.Fatal("a gateway knows tokens that nobody asked for")
	}
	if _, err := first.AppTokens(t.Context(), "ses_1", "app_1"); err != nil {
		t.Fatal(err)
	}
	until(t, "the tokens at the second gateway", func() bool { return asks(second, "ses_1") })
	third := gateway()
	until(t, "the tokens at a gateway that came later", func() bool { return asks(third, "ses_1") })

	v := h.SetPerson("user_a", &link.Person{Name: "alice", Epoch: 1, Roles: []slipway.Role{slipway.RoleAdmin}})
	if err := h.Acked(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	fourth := gateway()
	for i, c := range []*link.Client{first, second, third, fourth} {
		if asks(c, "ses_1") {
			t.Errorf("gateway %d still tells what was true before the person's roles changed", i)
		}
	}
	table, err := os.ReadFile(second.File)
	if err != nil || strings.Contains(string(table), "access_token") {
		t.Errorf("tokens on the disk: %v", err)
	}
}
