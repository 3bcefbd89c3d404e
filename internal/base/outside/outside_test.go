package outside_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
)

// answers resolves every name to the same addresses.
func answers(addrs ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	allowed, err := outside.ParseAllowed([]string{"GitLab.example.com.", "10.20.0.0/16", "127.0.0.5", "fd12::/48"})
	if err != nil {
		t.Fatal(err)
	}
	allowed.Shut = []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24")}
	allowed.Own = func(host string) bool { return host == "api-apps.example.com" }
	for _, tt := range []struct {
		host  string
		addrs string
		ok    bool
	}{
		// The internet.
		{"git.example.org", "1.1.1.1", true},
		{"git.example.org", "140.82.121.4", true},
		{"git.example.org", "2606:50c0:8000::153", true},
		{"git.example.org", "1.1.1.1 2606:4700::1111", true},
		{"1.1.1.1", "", true},
		{"2606:4700::1111", "", true},
		{"git.example.org", "::ffff:1.1.1.1", true},
		{"git.example.org", "64:ff9b::101:101", true},
		// This machine.
		{"git.example.org", "127.0.0.1", false},
		{"git.example.org", "127.255.255.254", false},
		{"git.example.org", "0.0.0.0", false},
		{"git.example.org", "0.1.2.3", false},
		{"git.example.org", "::1", false},
		{"git.example.org", "::", false},
		{"git.example.org", "::ffff:127.0.0.1", false},
		{"git.example.org", "::127.0.0.1", false},
		{"git.example.org", "64:ff9b::7f00:1", false},
		{"127.0.0.1", "", false},
		{"::1", "", false},
		{"::ffff:127.0.0.1", "", false},
		{"fe80::1%lo", "", false},
		// Networks of one's own.
		{"git.example.org", "10.0.0.1", false},
		{"git.example.org", "172.16.0.1", false},
		{"git.example.org", "172.31.255.255", false},
		{"git.example.org", "192.168.1.1", false},
		{"git.example.org", "100.64.0.1", false},
		{"git.example.org", "100.127.255.255", false},
		{"git.example.org", "fc00::1", false},
		{"git.example.org", "fd34::1", false},
		{"git.example.org", "fec0::1", false},
		{"git.example.org", "64:ff9b::a00:1", false},
		{"git.example.org", "64:ff9b:1::a00:1", false},
		{"git.example.org", "2002:a00:1::1", false}, // 6to4 of 10.0.0.1
		{"git.example.org", "2001:0:a00:1::1", false},
		{"git.example.org", "::ffff:0:10.0.0.1", false},
		// Link-local, with the clouds' metadata; and theirs elsewhere.
		{"git.example.org", "169.254.169.254", false},
		{"git.example.org", "::ffff:169.254.169.254", false},
		{"git.example.org", "64:ff9b::a9fe:a9fe", false},
		{"git.example.org", "fe80::1", false},
		{"git.example.org", "fd00:ec2::254", false},
		{"git.example.org", "168.63.129.16", false},
		// Many at once, reserved, examples.
		{"git.example.org", "224.0.0.1", false},
		{"git.example.org", "239.255.255.255", false},
		{"git.example.org", "ff02::1", false},
		{"git.example.org", "240.0.0.1", false},
		{"git.example.org", "255.255.255.255", false},
		{"git.example.org", "192.0.0.1", false},
		{"git.example.org", "192.0.2.1", false},
		{"git.example.org", "198.18.0.1", false},
		{"git.example.org", "198.51.100.1", false},
		{"git.example.org", "203.0.113.1", false},
		{"git.example.org", "192.88.99.1", false},
		{"git.example.org", "2001:db8::1", false},
		{"git.example.org", "4000::1", false},
		// One bad address spoils a name.
		{"git.example.org", "1.1.1.1 127.0.0.1", false},
		{"git.example.org", "1.1.1.1 ::1", false},
		{"git.example.org", "", false},
		// What an administrator allows: a name opens private networks only.
		{"gitlab.example.com", "10.0.0.1", true},
		{"GITLAB.example.com.", "192.168.1.1", true},
		{"gitlab.example.com", "fd34::1", true},
		{"gitlab.example.com", "127.0.0.1", false},
		{"gitlab.example.com", "169.254.169.254", false},
		{"gitlab.example.com", "100.100.100.200", false},
		{"gitlab.example.com", "fd00:ec2::254", false},
		{"gitlab.example.com", "fe80::1", false},
		{"gitlab.example.com.evil.org", "10.0.0.1", false},
		{"evil-gitlab.example.com", "10.0.0.1", false},
		// A network opens whatever is in it, however it is written.
		{"git.example.org", "10.20.1.1", true},
		{"git.example.org", "::ffff:10.20.1.1", true},
		{"git.example.org", "10.21.1.1", false},
		{"git.example.org", "127.0.0.5", true},
		{"127.0.0.5", "", true},
		{"git.example.org", "fd12::1", true},
		// What is shut, and the platform itself.
		{"git.example.org", "9.9.9.9", false},
		{"api-apps.example.com", "1.1.1.1", false},
		{"API-apps.example.com.", "1.1.1.1", false},
	} {
		r := allowed
		r.Resolve = answers(strings.Fields(tt.addrs)...)
		_, err := r.Find(t.Context(), tt.host)
		if (err == nil) != tt.ok {
			t.Errorf("%s at %q: %v, want ok %v", tt.host, tt.addrs, err, tt.ok)
		}
		if err != nil && !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s at %q: %v is not Invalid", tt.host, tt.addrs, err)
		}
	}
}

// A name that is not known and one that leads inside get the same answer.
func TestNamesOfANetworkAreNotTold(t *testing.T) {
	t.Parallel()
	unknown := outside.Rule{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") }}
	_, err := unknown.Find(t.Context(), "db.corp")
	_, err2 := outside.Rule{Resolve: answers("10.1.2.3")}.Find(t.Context(), "db.corp")
	if errs.Message(err) != errs.Message(err2) || strings.Contains(errs.Message(err2), "10.1.2.3") {
		t.Errorf("%q and %q", errs.Message(err), errs.Message(err2))
	}
}

// This machine's own addresses are inside, also those that look like the internet's.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	list, err := net.InterfaceAddrs()
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	for _, a := range list {
		addr := netip.MustParsePrefix(a.String()).Addr()
		r := outside.Rule{Hosts: []string{"git.example.org"}, Resolve: answers(addr.String())}
		if _, err := r.Find(t.Context(), "git.example.org"); err == nil {
			t.Errorf("%s may be reached", addr)
		}
	}
}

func TestParseAllowed(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "*", "*.example.com", "https://gitlab.example.com", "gitlab.example.com:8443", "10.0.0.0/33", "a b", "fe80::1%eth0"} {
		if _, err := outside.ParseAllowed([]string{s}); err == nil {
			t.Errorf("%q is allowed", s)
		}
	}
}

// A dialer connects where it was told, and nowhere else.
func TestDialer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	dial := outside.Dialer("git.example.org", port, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	c, err := dial(t.Context(), "tcp", "git.example.org:"+port)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, other := range []string{"127.0.0.1:" + port, "localhost:" + port, "git.example.org:1"} {
		if c, err := dial(t.Context(), "tcp", other); err == nil {
			c.Close()
			t.Errorf("%s was reached", other)
		}
	}
}
