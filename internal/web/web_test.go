package web_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"slipway.dev/slipway/internal/web"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func get(t *testing.T, h http.HandlerFunc, target, encodings string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	r.Header.Set("Accept-Encoding", encodings)
	w := httptest.NewRecorder()
	h(w, r)
	return w
}

func TestDocument(t *testing.T) {
	ui := web.New(fstest.MapFS{"index.html": file(`<meta nonce="__SLIPWAY_NONCE__"><script src="/assets/a.js" nonce="__SLIPWAY_NONCE__">`)})
	nonce := regexp.MustCompile(`nonce="([A-Z0-9]{20,})"`)
	seen := map[string]bool{}
	for range 3 {
		w := get(t, ui.Document, "/portal", "")
		all := nonce.FindAllStringSubmatch(w.Body.String(), -1)
		if w.Code != http.StatusOK || len(all) != 2 || all[0][1] != all[1][1] || seen[all[0][1]] {
			t.Fatalf("status %d, nonces %v", w.Code, all)
		}
		seen[all[0][1]] = true
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(policy, "style-src 'self' 'nonce-"+all[0][1]+"'") || strings.Contains(policy, "unsafe") {
			t.Errorf("policy %q", policy)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("Cache-Control %q: the nonce would be kept", got)
		}
	}
}

func TestWithoutBuild(t *testing.T) {
	ui := web.New(fstest.MapFS{})
	w := get(t, ui.Document, "/portal", "")
	if ui.Complete() || w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "make build") {
		t.Errorf("complete %v, status %d\n%s", ui.Complete(), w.Code, w.Body)
	}
}

func TestAssets(t *testing.T) {
	ui := web.New(fstest.MapFS{
		"index.html": file("document"), "secret.js": file("secret"),
		"assets/app-1.js": file("plain"), "assets/app-1.js.br": file("brotli"), "assets/app-1.js.gz": file("gzip"),
		"assets/logo-2.svg": file("<svg/>"),
	})
	for _, tt := range []struct {
		target, encodings string
		status            int
		body, coding      string
	}{
		{"/assets/app-1.js", "gzip, deflate, br, zstd", 200, "brotli", "br"},
		{"/assets/app-1.js", "gzip;q=0.5, br;q=0", 200, "gzip", "gzip"},
		{"/assets/app-1.js", "", 200, "plain", ""},
		{"/assets/logo-2.svg", "br", 200, "<svg/>", ""},
		{"/assets/app-1.js.br", "br", 404, "", ""},
		{"/assets/none.js", "br", 404, "", ""},
		{"/assets/../secret.js", "", 404, "", ""},
		{"/assets/", "", 404, "", ""},
		{"/index.html", "", 404, "", ""},
	} {
		w := get(t, ui.Asset, tt.target, tt.encodings)
		head := w.Header()
		if w.Code != tt.status || head.Get("Content-Encoding") != tt.coding || tt.status == 200 && w.Body.String() != tt.body {
			t.Errorf("%s with %q: %d %q %q", tt.target, tt.encodings, w.Code, head.Get("Content-Encoding"), w.Body)
		}
		immutable := strings.Contains(head.Get("Cache-Control"), "immutable")
		if immutable != (tt.status == 200) || immutable && head.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: Cache-Control %q, Vary %q", tt.target, head.Get("Cache-Control"), head.Get("Vary"))
		}
	}
}
