package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"slipway.dev/slipway/test/rig"
)

// TestAcceptance is the promise of the product in one go: under 200 requests a
// second and 20 open WebSockets, a change is pushed, the core is killed in the
// middle of a deploy, the gateway is killed, and the release is rolled back.
func TestAcceptance(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	dir := t.TempDir()
	alice := rig.Person{Name: "alice", Password: password("alice"), Home: filepath.Join(w.home, "alice")}
	repo, err := w.in.NewRepo(ctx, alice, filepath.Join(w.root, "test", "apps", "fastapi"), filepath.Join(dir, "busy"), "busy")
	ok(t, err)
	out, err := repo.Push(ctx, "first")
	ok(t, err, out)
	client, err := w.client("alice")
	ok(t, err)
	app := w.in.Hosts.App("busy", false)
	version := func(want string) error {
		return rig.Until(ctx, patience(60*time.Second), func() error {
			text, err := w.fetch([]string{"alice", app + "version"})
			if err == nil {
				err = matches(text, []string{"^" + want + "$"})
			}
			return err
		})
	}
	ok(t, version("one"))
	sockets := openSockets(t, w, client, app+"ws", 20)
	load := rig.StartLoad(ctx, client, app+"version", 200)

	// A change under load.
	ok(t, repo.Edit("main.py", `VERSION = "one"`, `VERSION = "two"`))
	out, err = repo.Push(ctx, "second")
	ok(t, err, out)
	ok(t, version("two"))
	for i, c := range sockets {
		if err := echo(ctx, c, fmt.Sprint("still here ", i)); err != nil {
			t.Errorf("WebSocket %d after the deploy: %v", i, err)
		}
	}

	// The core dies in the middle of a deploy, which completes all the same.
	ok(t, repo.Edit("main.py", `VERSION = "two"`, `VERSION = "three"`))
	cmd, err := repo.Command(ctx, "commit", "-q", "-a", "-m", "third")
	ok(t, err)
	ok(t, cmd.Run())
	cmd, err = repo.Command(ctx, "push", "slipway", "main")
	ok(t, err)
	lines, err := cmd.StderrPipe()
	ok(t, err)
	ok(t, cmd.Start())
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), "start") {
		n, err := lines.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Fatalf("the push ended too early: %v\n%s", err, seen.String())
		}
	}
	ok(t, w.in.KillChild("core"))
	_, _ = io.Copy(&seen, lines) // the push only watched: how it ends does not matter
	_ = cmd.Wait()
	ok(t, version("three"))

	// Back to the first release under load.
	w.run(t, "alice", "", "rollback", "busy", "1")
	ok(t, version("one"))
	ok(t, load.Stop())
	t.Logf("%d requests, none failed", load.Sent.Load())

	// The gateway dies, and is back in a moment (how soon is logged: a busy
	// machine must not fail the test).
	ok(t, w.in.KillChild("gateway"))
	began := time.Now()
	ok(t, rig.Until(ctx, patience(10*time.Second), func() error {
		_, err := w.fetch([]string{"alice", app + "version"})
		return err
	}))
	t.Logf("the gateway was away for %s", time.Since(began).Round(time.Millisecond))
	var text string
	ok(t, rig.Until(ctx, patience(10*time.Second), func() error { // where there are several, another answered so far
		text, err = w.fetch([]string{"bob", app})
		return err
	}))
	ok(t, matches(text, []string{"^HTTP 404"}))
}

func openSockets(t *testing.T, w *world, c *http.Client, target string, n int) []*websocket.Conn {
	t.Helper()
	conns := make([]*websocket.Conn, n)
	for i := range conns {
		c, err := w.in.WebSocket(t.Context(), c, target)
		ok(t, err)
		t.Cleanup(func() { _ = c.CloseNow() })
		ok(t, echo(t.Context(), c, "hello"))
		conns[i] = c
	}
	return conns
}

func echo(ctx context.Context, c *websocket.Conn, text string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		return err
	}
	_, got, err := c.Read(ctx)
	if err == nil && string(got) != text {
		err = fmt.Errorf("echo of %q is %q", text, got)
	}
	return err
}

func ok(t *testing.T, err error, detail ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(append([]any{err}, anys(detail)...)...)
	}
}

func anys(s []string) []any {
	out := make([]any, len(s))
	for i := range s {
		out[i] = "\n" + s[i]
	}
	return out
}

// TestMain stops with a hint when the binary was not built, and takes the
// platform off the cluster in the end.
func TestMain(m *testing.M) {
	if _, err := os.Stat("../../bin/slipway"); err != nil {
		fmt.Fprintln(os.Stderr, "run `make build` first:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := uninstall(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}
