package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/rig"
)

// TestSampleApps pushes one small real app of each kind and uses it as a
// viewer does.
func TestSampleApps(t *testing.T) {
	w := newWorld(t)
	page, err := rig.Browse(t.Context())
	ok(t, err)
	t.Cleanup(page.Close)
	ok(t, page.Goto(w.in.Hosts.API()+"/portal"))
	ok(t, page.SignIn("alice", password("alice")))
	ok(t, page.See("body", "alice"))

	for _, tt := range []struct {
		sample string
		use    func(t *testing.T, url string) error
	}{
		{"dash-auth-025", func(_ *testing.T, url string) error { return whoLooks(page, url) }},
		{"dash-auth-026", func(_ *testing.T, url string) error { return whoLooks(page, url) }},
		{"dash-prefix", func(_ *testing.T, url string) error {
			if err := page.Goto(url + "dash/"); err != nil {
				return err
			}
			return page.See("#out", "got x")
		}},
		{"streamlit", func(_ *testing.T, url string) error {
			if err := page.Goto(url); err != nil {
				return err
			}
			if err := page.See("body", "counted 0"); err != nil { // rendered over its WebSocket
				return err
			}
			if err := page.Click("[data-testid=stButton] button, .stButton button"); err != nil {
				return err
			}
			return page.See("body", "counted 1")
		}},
		{"fastapi", func(t *testing.T, url string) error { return streams(t, w, url) }},
	} {
		t.Run(tt.sample, func(t *testing.T) {
			name := strings.TrimSuffix(tt.sample, "-app")
			push(t, w, tt.sample, name)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the app's log:\n%s", w.run(t, "alice", "", "logs", name))
				}
			})
			ok(t, tt.use(t, w.in.Hosts.App(name, false)))
		})
	}
}

func push(t *testing.T, w *world, sample, name string) {
	t.Helper()
	alice := rig.Person{Name: "alice", Password: password("alice"), Home: filepath.Join(w.home, "alice")}
	repo, err := w.in.NewRepo(t.Context(), alice, filepath.Join(w.root, "test", "apps", sample), filepath.Join(t.TempDir(), name), name)
	ok(t, err)
	out, err := repo.Push(t.Context(), "first")
	ok(t, err, out)
}

// whoLooks sees the viewer's name in a callback and in a background callback.
func whoLooks(page *rig.Page, url string) error {
	if err := page.Goto(url); err != nil {
		return err
	}
	if err := page.See("#now", "now alice"); err != nil {
		return err
	}
	return page.See("#later", "later alice")
}

// streams checks that nothing is held back in either direction: events come
// while the app still works, and a body is echoed while it is still sent.
func streams(t *testing.T, w *world, url string) error {
	t.Helper()
	c, err := w.client("alice")
	if err != nil {
		return err
	}
	// Opening the page first gives the app's host its own session.
	res, err := w.in.Follow(t.Context(), c, url)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"stream", nil)
	if err != nil {
		return err
	}
	began := time.Now()
	if res, err = c.Do(req); err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	var first, last time.Duration
	n := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data: ") {
			if n++; n == 1 {
				first = time.Since(began)
			}
			last = time.Since(began)
		}
	}
	if n != 5 || last-first < 500*time.Millisecond {
		return fmt.Errorf("%d events, the first after %s, the last after %s: they were held back", n, first, last)
	}
	return echoWhileSending(t.Context(), c, url+"upload/")
}

func echoWhileSending(ctx context.Context, c *http.Client, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, feed := io.Pipe()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, body)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = feed.CloseWithError(ctx.Err()) })
	defer stop()
	first := func(context.Context) error {
		_, err := io.WriteString(feed, "part 0\n")
		return err
	}
	return loop.Run(ctx, first, func(context.Context) error {
		res, err := c.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		for n := range 3 {
			want := fmt.Sprintf("part %d\n", n)
			if n > 0 {
				if _, err := io.WriteString(feed, want); err != nil {
					return err
				}
			}
			buf := make([]byte, len(want))
			if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != want {
				return fmt.Errorf("the echo of %q is %q: %w", want, buf, err)
			}
		}
		return feed.Close()
	})
}
