package gateway_test

import (
	"context"
	"crypto/ed25519"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
)

// linked is a gateway that follows a hub over a socket.
func linked(t *testing.T) (*rig, *link.Hub) {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "link.sock"))
	if err != nil {
		t.Fatal(err)
	}
	hub := link.NewHub(slipway.Hosts{Scheme: "http", Base: base}, quiet)
	srv := &http.Server{Handler: hub.Handler(&core{expires: time.Hour})}
	client := &link.Client{Endpoint: "unix://" + l.Addr().String(), File: filepath.Join(dir, "policy.json"), Log: quiet}
	g := loop.New(context.Background(), quiet)
	g.Spawn("hub", func(context.Context) error { return srv.Serve(l) })
	g.Go("client", client.Run)
	t.Cleanup(func() { _ = srv.Close(); _ = g.Stop() })
	r := start(t, func(o *gateway.Options) { o.Policy, o.Verify, o.Hold = client, nil, 10*time.Second })
	return r, hub
}

// A real token opens an app, until the session is ended at the core.
func TestOverTheLink(t *testing.T) {
	r, hub := linked(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	hub.SetKeys([]link.SessionKey{{ID: "k1", Public: public}}, nil)
	hub.SetPerson("user_bob", &link.Person{Name: "bob", Epoch: 3})
	hub.Open()
	app := r.app("iris", echo) // in the rig's own policy, which nobody reads
	v := hub.SetRoute(link.Route{App: "app_1", Name: "iris", Access: slipway.AccessRestricted, Viewers: []slipway.UserID{"user_bob"}, State: slipway.AppRunning, Targets: []link.Target{target("web-v1.0", app)}})
	if err := hub.Acked(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	text, err := session.Sign(session.Key{ID: "k1", Private: private}, session.Claims{
		Session: "ses_1", User: "user_bob", Epoch: 3, Host: base, Issued: time.Now(), Expires: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	open := func() answer { return r.ask("GET", origin+"/iris/", "Cookie: slipway-session="+text) }
	if a := open(); a.StatusCode != 200 || a.Header.Get("Got-X-Forwarded-User") != "bob" {
		t.Fatal(a.Status, a.Header)
	}
	if err := hub.Acked(t.Context(), hub.Revoke("ses_1", time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if a := open(); a.StatusCode != 401 {
		t.Error("after the sign-out:", a.Status)
	}
}

// While the core restarts, requests for it wait in the backlog of the socket
// that the supervisor keeps; none fails.
func TestCoreRestarts(t *testing.T) {
	r, hub := linked(t)
	path := filepath.Join(t.TempDir(), "core.sock")
	kept, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close() //nolint:errcheck // the test is over
	kept.SetUnlinkOnClose(false)
	hub.SetPlatform(map[string]string{"api": "unix://" + path})
	hub.Open()
	life := func() (kill func()) {
		f, err := kept.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		l, err := net.FileListener(f)
		if err != nil {
			t.Fatal(err)
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		srv := &http.Server{Handler: http.HandlerFunc(echo)}
		g := loop.New(context.Background(), quiet)
		g.Spawn("core", func(context.Context) error { return srv.Serve(l) })
		return func() { _ = srv.Close(); _ = g.Stop() }
	}
	kill := life()
	ctx, cancel := context.WithCancel(t.Context())
	g := loop.New(ctx, quiet)
	n := 0
	g.Go("load", func(ctx context.Context) error {
		for ctx.Err() == nil {
			if a := r.ask("GET", "http://api-"+base+"/v1/apps"); a.StatusCode != 200 {
				t.Error(a.Status, a.body)
			}
			n++
		}
		return nil
	})
	for range 5 {
		_ = loop.Sleep(t.Context(), 50*time.Millisecond)
		kill()
		_ = loop.Sleep(t.Context(), 50*time.Millisecond)
		kill = life()
	}
	_ = loop.Sleep(t.Context(), 50*time.Millisecond)
	cancel()
	_ = g.Wait()
	kill()
	if n < 10 {
		t.Error("only", n, "requests")
	}
}
