package oci_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/proto/oci"
)

// behind is a proxy before a registry that has images of apps, and others.
func behind(t *testing.T, max int64) (proxy, upstream *httptest.Server, dir string, img v1.Image) {
	t.Helper()
	store, err := oci.Open(t.Context(), oci.Storage{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	internal := oci.NewInternal(t.Context(), oci.InternalOptions{Store: store, Pull: []string{"apps", "other"}, Push: []string{"apps", "other"}})
	upstream = httptest.NewServer(internal)
	t.Cleanup(func() {
		upstream.Close()
		if err := internal.Close(); err != nil {
			t.Error(err)
		}
	})
	img = image(t, 50_000, 3)
	for _, repo := range []string{"apps/one", "other/one"} {
		ref, err := name.ParseReference(upstream.Listener.Addr().String() + "/" + repo + ":v1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, img); err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	p, err := oci.NewProxy(oci.ProxyOptions{
		Upstream: upstream.URL, Client: upstream.Client(), Repos: []string{"apps"}, Dir: dir, MaxBytes: max, Log: logs.New(t.Output(), "text", 0, "pull"),
	})
	if err != nil {
		t.Fatal(err)
	}
	proxy = httptest.NewServer(p)
	t.Cleanup(proxy.Close)
	return proxy, upstream, dir, img
}

func pull(t *testing.T, s *httptest.Server, repo string, img v1.Image) error {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(s.Listener.Addr().String() + "/" + repo + "@" + d.String())
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Image(ref)
	if err != nil {
		return err
	}
	return validate.Image(got)
}

func TestProxyServesWhatItKeptWhileTheRegistryIsAway(t *testing.T) {
	proxy, upstream, _, img := behind(t, 1<<20)
	if err := pull(t, proxy, "apps/one", img); err != nil {
		t.Fatal(err)
	}
	upstream.Close()
	if err := pull(t, proxy, "apps/one", img); err != nil {
		t.Errorf("with the registry away: %v", err)
	}
	if err := pull(t, proxy, "apps/one", image(t, 1000, 1)); status(err) != http.StatusServiceUnavailable {
		t.Errorf("what was not kept: %v", err)
	}
}

func TestProxyOnlyReadsAppsByDigest(t *testing.T) {
	proxy, _, _, img := behind(t, 1<<20)
	if err := pull(t, proxy, "other/one", img); status(err) != http.StatusForbidden {
		t.Errorf("another repository: %v", err)
	}
	for _, tc := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v2/", 200},
		{"GET", "/v2/apps/one/manifests/v1", 404},
		{"GET", "/v2/apps/one/tags/list", 403},
		{"GET", "/v2/_catalog", 403},
		{"GET", "/v2/apps/../other/one/tags/list", 403},
		{"POST", "/v2/apps/one/blobs/uploads/", 403},
		{"DELETE", "/v2/apps/one/manifests/v1", 403},
		{"GET", "/", 403},
	} {
		req, err := http.NewRequestWithContext(t.Context(), tc.method, proxy.URL+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := *proxy.Client()
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != tc.want || tc.want >= 400 && !strings.Contains(string(body), `"errors"`) {
			t.Errorf("%s %s: %s %s", tc.method, tc.path, res.Status, body)
		}
	}
}

func TestProxyKeepsItsBound(t *testing.T) {
	proxy, _, dir, img := behind(t, 120_000)
	if err := pull(t, proxy, "apps/one", img); err != nil { // 150 KB of layers
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	if total == 0 || total > 120_000 {
		t.Errorf("the cache has %d bytes in %d files", total, len(entries))
	}
}
