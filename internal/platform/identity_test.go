package platform_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/platform"
)

// identity writes what the installer would, and opens it.
func identity(t *testing.T, dir, name string, life time.Duration, ca *platform.Authority) *platform.Identity {
	t.Helper()
	writeIdentity(t, dir, name, life, ca)
	id, err := platform.OpenIdentity(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func writeIdentity(t *testing.T, dir, name string, life time.Duration, ca *platform.Authority) {
	t.Helper()
	leaf, err := ca.Issue(name, life)
	if err != nil {
		t.Fatal(err)
	}
	root, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		platform.IdentityCert: string(leaf.Cert), platform.IdentityKey: leaf.Key.Reveal(), platform.IdentityCA: string(root.Cert),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func authority(t *testing.T) *platform.Authority {
	t.Helper()
	ca, err := platform.NewAuthority("Slipway internal CA")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// greeter says hello to everybody whom the listener lets in; what it refuses
// is in the channel.
func greeter(t *testing.T, cfg *tls.Config) (endpoint string, refused <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	errors := make(chan error, 16)
	g := loop.New(context.Background(), slog.New(slog.DiscardHandler))
	g.Spawn("greeter", func(context.Context) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return nil
			}
			s := tls.Server(c, cfg)
			if err := s.Handshake(); err != nil {
				errors <- err
			} else {
				_, _ = io.WriteString(s, "hello")
			}
			_ = s.Close()
		}
	})
	t.Cleanup(func() { l.Close(); _ = g.Stop() })
	return "tls://" + l.Addr().String(), errors
}

// greet returns what the greeter said.
func greet(t *testing.T, endpoint string, id *platform.Identity, peer string) (string, error) {
	t.Helper()
	c, err := dial.Dialer{TLS: func() *tls.Config { return id.Client(peer) }}.Dial(t.Context(), endpoint)
	if err != nil {
		return "", err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	return string(said), err
}

func TestPartsKnowEachOther(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	core := identity(t, t.TempDir(), platform.NameCore, time.Hour, ca)
	endpoint, refused := greeter(t, core.Server(platform.NameGateway))

	said, err := greet(t, endpoint, identity(t, t.TempDir(), platform.NameGateway, time.Hour, ca), platform.NameCore)
	if err != nil || said != "hello" {
		t.Fatalf("a gateway hears %q from the core: %v", said, err)
	}
	for name, tt := range map[string]struct {
		id   *platform.Identity
		want string // what the core says of it
	}{
		"another part":      {identity(t, t.TempDir(), platform.NamePull, time.Hour, ca), "pull.slipway.internal may not connect here, only gateway.slipway.internal"},
		"expired":           {identity(t, t.TempDir(), platform.NameGateway, -time.Minute, ca), "expired"},
		"another authority": {identity(t, t.TempDir(), platform.NameGateway, time.Hour, authority(t)), ""},
	} {
		if said, err := greet(t, endpoint, tt.id, platform.NameCore); err == nil {
			t.Errorf("%s: let in, heard %q", name, said)
		}
		if err := <-refused; !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: the core's reason is %q, without %q", name, err, tt.want)
		}
	}
	c, err := tls.Dial("tcp", strings.TrimPrefix(endpoint, "tls://"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a stranger without certificate
	if err == nil {
		_, err = io.ReadAll(c)
		_ = c.Close()
	}
	if err == nil {
		t.Error("a stranger without a certificate is let in")
	}
}

func TestGatewaysCheckTheCoresName(t *testing.T) {
	t.Parallel()
	ca := authority(t)
	impostor := identity(t, t.TempDir(), platform.NamePull, time.Hour, ca)
	endpoint, _ := greeter(t, impostor.Server(platform.NameGateway))
	_, err := greet(t, endpoint, identity(t, t.TempDir(), platform.NameGateway, time.Hour, ca), platform.NameCore)
	var wrong *tls.CertificateVerificationError
	if !errors.As(err, &wrong) {
		t.Fatalf("the gateway talks to %s as to the core: %v", platform.NamePull, err)
	}
}

func TestNewCertificatesAreUsedAtOnce(t *testing.T) {
	t.Parallel()
	old, next := authority(t), authority(t)
	coreDir, gatewayDir := t.TempDir(), t.TempDir()
	core := identity(t, coreDir, platform.NameCore, time.Hour, old)
	gateway := identity(t, gatewayDir, platform.NameGateway, time.Hour, old)
	endpoint, _ := greeter(t, core.Server(platform.NameGateway))
	if _, err := greet(t, endpoint, gateway, platform.NameCore); err != nil {
		t.Fatal(err)
	}
	writeIdentity(t, coreDir, platform.NameCore, 2*time.Hour, next)
	if _, err := greet(t, endpoint, gateway, platform.NameCore); err == nil {
		t.Fatal("the core still shows the old certificate")
	}
	writeIdentity(t, gatewayDir, platform.NameGateway, 2*time.Hour, next)
	if said, err := greet(t, endpoint, gateway, platform.NameCore); err != nil || said != "hello" {
		t.Fatalf("after both changed: %q, %v", said, err)
	}
	ends := core.Ends()
	if err := os.WriteFile(filepath.Join(coreDir, platform.IdentityKey), bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := greet(t, endpoint, gateway, platform.NameCore); err != nil || !core.Ends().Equal(ends) {
		t.Fatalf("a torn key puts the good certificate out of force: %v", err)
	}
}

func TestAnIdentityThatIsMissingIsExplained(t *testing.T) {
	t.Parallel()
	_, err := platform.OpenIdentity(t.TempDir(), slog.New(slog.DiscardHandler))
	if !errs.Is(err, errs.KindInvalid) || !strings.Contains(err.Error(), "slipway install") {
		t.Fatalf("%v", err)
	}
}
