package client_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

func connect(t *testing.T, h http.HandlerFunc) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Host: s.URL, Token: secret.New("slp_mine")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestErrorsComeBackWithTheirKind(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, contentType, body string
		status                  int
		kind                    errs.Kind
		message                 string
	}{
		{"a problem", "application/problem+json", `{"status":404,"kind":"not_found","detail":"no app named \"x\""}`, 404, errs.KindNotFound, `no app named "x"`},
		{"our own fault", "application/problem+json", `{"status":500,"kind":"internal","detail":"d","request_id":"r1"}`, 500, errs.KindInternal, "something went wrong on our side"},
		{"something else", "text/html", "<html>", 502, errs.KindUnavailable, "not as a Slipway API does"},
		{"a redirect", "text/html", "", 302, errs.KindUnavailable, "302"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tc.contentType)
				w.Header().Set("Location", "https://evil.example/")
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			_, err := c.App(t.Context(), "x")
			if errs.KindOf(err) != tc.kind || !strings.Contains(errs.Message(err), tc.message) {
				t.Errorf("got %v %q", errs.KindOf(err), errs.Message(err))
			}
			if tc.kind == errs.KindInternal && !strings.Contains(err.Error(), "r1") {
				t.Errorf("%v does not name the request", err)
			}
		})
	}
}

func TestFollowGoesOnAfterABreak(t *testing.T) {
	t.Parallel()
	calls := 0
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch calls {
		case 1:
			fmt.Fprint(w, ": hello\n\nid: 1\nevent: line\ndata: {\"seq\":1,\"line\":\"one\"}\n\nid: 2\nevent: line\ndata: {\"seq\":2,\n")
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable) // the core is away
		default:
			if got := r.Header.Get("Last-Event-ID"); got != "1" {
				t.Errorf("Last-Event-ID %q", got)
			}
			fmt.Fprint(w, "id: 2\nevent: line\ndata: {\"seq\":2,\"line\":\"two\"}\n\nid: 3\nevent: deploy\ndata: {\"seq\":3,\"deploy\":{\"id\":\"dep_1\",\"state\":\"live\"}}\n\n")
		}
	})
	var lines []string
	d, err := c.FollowDeploy(t.Context(), "dep_1", func(e client.DeployEvent) error {
		if e.Line != "" {
			lines = append(lines, e.Line)
		}
		return nil
	})
	if err != nil || d.State != slipway.DeployLive || strings.Join(lines, " ") != "one two" {
		t.Errorf("%v %v %v", d, lines, err)
	}
}

func TestFollowEndsWithAProblem(t *testing.T) {
	t.Parallel()
	c := connect(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "event: error\ndata: {\"kind\":\"denied\",\"detail\":\"no\"}\n\n")
	})
	err := c.FollowLogs(t.Context(), "x", client.LogQuery{}, func(client.LogLine) error { return nil })
	if !errs.Is(err, errs.KindDenied) {
		t.Error(err)
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer slp_mine" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"name":"x"}`)
	}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := client.New(client.Options{Host: s.URL, Token: secret.New("slp_mine"), CAFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := known.App(t.Context(), "x"); err != nil || a.Name != "x" {
		t.Error(a, err)
	}
	unknown, err := client.New(client.Options{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unknown.App(t.Context(), "x"); !errs.Is(err, errs.KindUnavailable) || !strings.Contains(err.Error(), "--ca-file") {
		t.Error(err)
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"api-slipway.example.com": "https://api-slipway.example.com", "http://127.0.0.1:80/": "http://127.0.0.1:80",
		"": "", "ftp://x": "", "https://u:p@x": "", "https://x/v1": "", "https://": "",
	} {
		if got, err := client.ParseHost(in); got != want || (err != nil) != (want == "") {
			t.Errorf("ParseHost(%q) = %q, %v", in, got, err)
		}
	}
}
