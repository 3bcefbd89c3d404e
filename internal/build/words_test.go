package build_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	b := build.New(build.Options{})
	for name, tt := range map[string]struct {
		exit engine.Exit
		tail string
		want string
	}{
		"oom":       {engine.Exit{Signal: 9, OOM: true}, "x", "out of memory, with 2048 MB"},
		"late":      {engine.Exit{Message: "it took longer than 20m0s"}, "", "took longer than 20m0s"},
		"sandbox":   {engine.Exit{Code: 125, Message: "the sandbox could not be started: x"}, "", "could not run"},
		"no name":   {engine.Exit{Code: 1}, "  × No solution found when resolving dependencies:\n  ╰─▶ Because no-such-thing was not found in the package registry and\n      you require no-such-thing==1.0, we can conclude that your requirements\n      are unsatisfiable.", "there is no package named no-such-thing"},
		"version":   {engine.Exit{Code: 1}, "  ╰─▶ Because there is no version of dash==99.0.0 and you require\n      dash==99.0.0, we can", "no version 99.0.0 of dash exists"},
		"conflict":  {engine.Exit{Code: 1}, "Because flask==3.1.3 depends on werkzeug>=3.1.0 and you require\n      werkzeug==1.0, we can conclude that your requirements are unsatisfiable.", "contradict each other: flask==3.1.3 depends on werkzeug>=3.1.0 and you require werkzeug==1.0"},
		"python":    {engine.Exit{Code: 1}, "Because the current Python version (3.11.2) does not satisfy Python>=3.12 and foo==2 depends on Python>=3.12, we can", "foo 2 needs Python >=3.12, and the app runs on 3.11.2"},
		"compile":   {engine.Exit{Code: 1}, "  × Failed to build `psycopg2==2.9.9`\n  ├─▶ The build backend returned an error", "psycopg2==2.9.9 has no ready-made wheel"},
		"network":   {engine.Exit{Code: 2}, "error: Failed to fetch: `https://u:p@index.example/simple/dash/`\n  Caused by: dns error: failed to lookup address", "cannot be reached"},
		"refused":   {engine.Exit{Code: 2}, "HTTP status client error (403 Forbidden) for url", "refused us (403)"},
		"disk":      {engine.Exit{Code: 2}, "Caused by: No space left on device (os error 28)", "disk is full"},
		"something": {engine.Exit{Code: 7}, "last words https://u:p@h/\n\n", "status 7: last words https://…@h/"},
		"silence":   {engine.Exit{Code: 7}, "", "said nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := b.Explain(tt.exit, strings.Split(tt.tail, "\n"))
			if !strings.Contains(got, tt.want) || strings.Contains(got, "u:p") {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func values(vars []engine.Var) map[string]string {
	m := map[string]string{}
	for _, v := range vars {
		m[v.Name] = v.Value.Reveal()
	}
	return m
}

func TestIndexConfig(t *testing.T) {
	t.Parallel()
	got := values(build.IndexConfig(
		[]string{"PIP_EXTRA_INDEX_URL=https://a/ https://b/", "PIP_FIND_LINKS=/opt/wheels", "PIP_CERT=/root/ca.pem", "HOME=/root", "SSL_CERT_FILE=/etc/ssl/certs/ca.crt", "UV_CACHE_DIR=/x", "PIP_DEFAULT_TIMEOUT=9"},
		"global.index-url='https://u:p@index.example/simple'\nglobal.timeout='5'\nglobal.find-links='/usr/share/wheels\\nhttps://w/'\n:env:.cert='/x'\nlist.format='json'\n"))
	want := map[string]string{
		"UV_INDEX": "https://a/ https://b/", "UV_DEFAULT_INDEX": "https://u:p@index.example/simple", "UV_HTTP_TIMEOUT": "9",
		"SSL_CERT_FILE": "/etc/ssl/certs/ca.crt", "UV_FIND_LINKS": "/usr/share/wheels,https://w/",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestRuntimeEnv(t *testing.T) {
	t.Parallel()
	f := build.Facts{App: "iris", Process: "web", Port: 8050, Base: "slipway.localhost", JWKSURL: "http://127.0.0.1:7500/certs", Secret: secret.New("s")}
	vars := build.RuntimeEnv(f)
	got := values(vars)
	for k, v := range map[string]string{
		"PORT": "8050", "DASH_APP_NAME": "iris", "DASH_JWKS_URL": "http://127.0.0.1:7500/certs", "DASH_SECRET_KEY": "s", "DYNO": "web.1", "UVICORN_ROOT_PATH": "/iris",
	} {
		if got[k] != v {
			t.Errorf("%s is %q, want %q", k, got[k], v)
		}
	}
	// Dash raises, and Streamlit and Bokeh answer 404, with these.
	for _, k := range []string{"SCRIPT_NAME", "DASH_URL_BASE_PATHNAME", "DASH_REQUESTS_PATHNAME_PREFIX", "STREAMLIT_SERVER_BASE_URL_PATH", "BOKEH_PREFIX"} {
		if _, ok := got[k]; ok {
			t.Errorf("%s is set", k)
		}
	}
	f.DashPrefix = true
	if got := values(build.RuntimeEnv(f)); got["DASH_REQUESTS_PATHNAME_PREFIX"] != "/iris/" {
		t.Errorf("the prefix is %q", got["DASH_REQUESTS_PATHNAME_PREFIX"])
	}
	if slices.ContainsFunc(vars, func(v engine.Var) bool { return v.Name == "" }) {
		t.Error("a variable has no name")
	}
}
