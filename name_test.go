package slipway_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

func TestParseAppName(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"iris": true, "a": true, "sales-2024": true, strings.Repeat("a", 30): true,
		"": false, "Iris": false, "2024": false, "-a": false, "a-": false, "a_b": false, "a.b": false, "a/b": false, "ä": false,
		"portal": false, "api": false, "git": false, "ws": false, "_x": false, strings.Repeat("a", 31): false,
	} {
		_, err := slipway.ParseAppName(name)
		if (err == nil) != good {
			t.Errorf("app name %q: %v", name, err)
		}
		if err != nil && !errs.Is(err, errs.KindInvalid) {
			t.Errorf("app name %q: kind %s", name, errs.KindOf(err))
		}
	}
}

func TestParseUserName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Ada": "ada", " ada@example.com ": "ada@example.com", "": "", "a b": "", ".a": "", "<script>": "", strings.Repeat("a", 65): "",
	} {
		got, err := slipway.ParseUserName(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("user name %q is %q, %v", in, got, err)
		}
	}
}

func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		id := slipway.NewID("app")
		if seen[id] || !strings.HasPrefix(id, "app_") || len(id) != 30 {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	h := slipway.Hosts{Scheme: "https", Base: "apps.example.com", Port: "8443"}
	for host, want := range map[string][2]string{
		"apps.example.com": {"base", ""}, "api-apps.example.com": {"api", ""}, "registry-apps.example.com": {"registry", ""},
		"sales-apps.example.com": {"", "sales"}, "example.com": {"", ""}, "apps.example.com.evil.org": {"", ""}, "": {"", ""},
	} {
		kind, app := h.Kind(host)
		if kind != want[0] || app != want[1] {
			t.Errorf("%q is kind %q, app %q", host, kind, app)
		}
	}
	if got := h.App("sales", false); got != "https://apps.example.com:8443/sales/" {
		t.Error(got)
	}
	if got := h.App("sales", true); got != "https://sales-apps.example.com:8443/sales/" {
		t.Error(got)
	}
	if len(h.All()) != 7 || !slices.Contains(h.All(), "ws-apps.example.com") {
		t.Errorf("not seven names: %v", h.All())
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	var nobody *slipway.User
	u := &slipway.User{Roles: []slipway.Role{slipway.RoleLicensed}}
	off := &slipway.User{Roles: []slipway.Role{slipway.RoleAdmin}, Disabled: true}
	for _, tt := range []struct {
		u    *slipway.User
		r    slipway.Role
		want bool
	}{
		{nobody, slipway.RoleViewer, false},
		{u, slipway.RoleViewer, true},
		{u, slipway.RoleLicensed, true},
		{u, slipway.RoleAdmin, false},
		{off, slipway.RoleAdmin, false},
		{off, slipway.RoleViewer, false},
	} {
		if got := tt.u.Has(tt.r); got != tt.want {
			t.Errorf("%+v has %s: %v", tt.u, tt.r, got)
		}
	}
}
