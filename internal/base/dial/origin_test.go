package dial_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
)

// What follows the origin is left for whoever reads on.
func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"192.0.2.1", "2001:db8::7", "fe80::1%eth0"} {
		a, b := net.Pipe()
		if err := loop.Run(t.Context(), func(context.Context) error {
			defer a.Close()
			if err := dial.SendOrigin(a, netip.MustParseAddr(addr)); err != nil {
				return err
			}
			_, err := io.WriteString(a, "SSH-2.0-x\n")
			return err
		}, func(context.Context) error {
			got, err := dial.Origin(b)
			if err != nil || got.String() != addr {
				t.Errorf("%s came as %s %v", addr, got, err)
			}
			rest, err := io.ReadAll(b)
			if string(rest) != "SSH-2.0-x\n" {
				t.Errorf("after it came %q", rest)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	}
}

// Nothing else is taken for one.
func TestNoOrigin(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "192.0.2.1", "\n", "SSH-2.0-OpenSSH_9.2p1\r\n", "192.0.2.1:22\n", strings.Repeat("1", 100) + "\n"} {
		a, b := net.Pipe()
		if err := loop.Run(t.Context(), func(context.Context) error {
			_, _ = io.WriteString(a, text) // it may stop reading
			return a.Close()
		}, func(context.Context) error {
			if got, err := dial.Origin(b); err == nil {
				t.Errorf("%q was taken for %s", text, got)
			}
			return b.Close()
		}); err != nil {
			t.Error(err)
		}
	}
}
