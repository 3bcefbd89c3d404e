package e2e_test

import (
	"testing"
)

// TestPlainHTTP runs the platform as it runs behind a proxy that ends TLS:
// sign-in, an app, a push and a write by a page of ours all work, and cookies
// have the names that browsers take without TLS.
func TestPlainHTTP(t *testing.T) {
	oneMachine(t, "an installation has TLS")
	w := newWorld(t, "--http")
	if h := w.in.Hosts; h.Scheme != "http" || w.in.CAFile != "" {
		t.Fatalf("%+v, CA %q", h, w.in.CAFile)
	}
	push(t, w, "probe", "plain")
	app, api := w.in.Hosts.App("plain", false), w.in.Hosts.API()
	headers := func(origin string, more ...string) []string {
		return append([]string{"-H", "Content-Type: application/json", "-H", "Origin: " + origin}, more...)
	}
	write := func(name string, headers ...string) []string {
		args := append([]string{"alice", "-xhr", "-X", "POST", "-d", `{"name":"` + name + `"}`}, headers...)
		return append(args, api+"/v1/apps")
	}
	for _, tt := range []struct {
		what string
		args []string
		want []string
	}{
		{"a stranger is sent to sign in", []string{"anon", "-once", app}, []string{"^HTTP 302", "^Set-Cookie: slipway-handoff=[^;]+; Path=/; Max-Age=600; HttpOnly; SameSite=Lax$"}},
		{"a script gets 401", []string{"anon", "-xhr", app}, []string{"^HTTP 401"}},
		{"alice opens her app", []string{"alice", app + "headers"}, []string{"^HTTP 200", "(?i)^X-Forwarded-User: alice", "(?i)^X-Forwarded-Proto: http$"}},
		{"the Portal shows it", []string{"alice", api + "/v1/apps?portal=true"}, []string{"^HTTP 200", app}},
		{"our page writes", write("written", headers(api, "-H", "Sec-Fetch-Site: same-origin")...), []string{"^HTTP 201"}},
		{"our page writes, in a browser that tells less", write("written-too", headers(api)...), []string{"^HTTP 201"}},
		{"a page of an app does not", write("stolen", headers(w.in.Hosts.Apps())...), []string{"^HTTP 403"}},
		{"nor when the browser tells it", write("stolen", headers(w.in.Hosts.Apps(), "-H", "Sec-Fetch-Site: same-site")...), []string{"^HTTP 403"}},
	} {
		text, err := w.fetch(tt.args)
		if err == nil {
			err = matches(text, tt.want)
		}
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
		}
	}
}
