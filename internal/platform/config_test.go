package platform_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/platform"
)

func read(t *testing.T, text string) (platform.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "slipway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := platform.ReadConfig(file)
	if err == nil {
		err = c.Complete()
	}
	return c, err
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	c, err := read(t, "")
	if err != nil {
		t.Fatal(err)
	}
	h := c.Hosts()
	if got, want := h.Apps(), "https://slipway.localhost:8443"; got != want {
		t.Errorf("apps are at %s, not %s", got, want)
	}
	if got, want := h.API(), "https://api-slipway.localhost:8443"; got != want {
		t.Errorf("the API is at %s, not %s", got, want)
	}
}

func TestOwnPortIsNotNamed(t *testing.T) {
	t.Parallel()
	c, err := read(t, "base: apps.example.com\nlisten: 0.0.0.0:443\n")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Hosts().Git(), "https://git-apps.example.com"; got != want {
		t.Errorf("git is at %s, not %s", got, want)
	}
}

// Git over SSH is beside the one port, unless it is somewhere else or off.
func TestSSHListen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, listen, address, known string }{
		{"", "127.0.0.1:2222", "ssh://git@git-slipway.localhost:2222", "[git-slipway.localhost]:2222 KEY"},
		{"listen: 0.0.0.0:443\nbase: a.example.com\n", "0.0.0.0:2222", "ssh://git@git-a.example.com:2222", "[git-a.example.com]:2222 KEY"},
		{"listen: 127.0.0.1:0\n", "127.0.0.1:0", "ssh://git@git-slipway.localhost:0", "[git-slipway.localhost]:0 KEY"},
		{"ssh_listen: '[::1]:22'\n", "[::1]:22", "ssh://git@git-slipway.localhost", "git-slipway.localhost KEY"},
		{"ssh_public_port: 22\n", "127.0.0.1:2222", "ssh://git@git-slipway.localhost", "git-slipway.localhost KEY"},
		{"ssh_listen: off\n", "off", "", ""},
		{"engine: kube\n", "off", "", ""},
	} {
		c, err := read(t, tt.text)
		if err != nil {
			t.Fatal(err)
		}
		h := c.Hosts()
		if c.SSHListen != tt.listen || h.SSH() != tt.address || c.SSH() != (tt.address != "") {
			t.Errorf("%q listens on %s and is %s", tt.text, c.SSHListen, h.SSH())
		}
		remote := h.SSHRemote("iris")
		if tt.address == "" && remote != "" || tt.address != "" && (remote != tt.address+"/iris" || h.KnownHost("KEY") != tt.known) {
			t.Errorf("%q: the remote is %q, known as %q", tt.text, remote, h.KnownHost("KEY"))
		}
	}
}

// The host key is made once: people know the platform by it.
func TestHostKey(t *testing.T) {
	t.Parallel()
	file := platform.Folder(t.TempDir()).SSHHostKey()
	first, err := platform.OpenHostKey(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := platform.OpenHostKey(file)
	if err != nil || !bytes.Equal(first.PublicKey().Marshal(), again.PublicKey().Marshal()) || first.PublicKey().Type() != "ssh-ed25519" {
		t.Errorf("%v %v, then %v", err, first.PublicKey(), again)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := platform.OpenHostKey(file); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a key that cannot be read: %v", err)
	}
}

func TestProblemsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"unknown keys", "bas: x\nlisten: 127.0.0.1:1\nfoo: 1\n", []string{"bas", "foo"}},
		{"wrong values", "base: nodot\nlisten: nowhere\nisolation: perhaps\ntrusted_proxies: [ten]\n", []string{"nodot", "nowhere", "perhaps", "ten"}},
		{"half a certificate", "tls: {cert_file: a.pem}\n", []string{"go together"}},
		{"not YAML", "{", []string{"YAML"}},
		{"a database that is no URL", "database: host=db password=s3cr3t\n", []string{"database", "no URL"}},
		{"a database of another kind", "database: mysql://db/slipway\n", []string{"no URL"}},
		{"a password in the URL", "database: postgres://u:s3cr3t@db/slipway\n", []string{"database_password_file"}},
		{"a password behind the URL", "database: postgres://u@db/slipway?password=s3cr3t\n", []string{"database_password_file"}},
		{"no git host", "git_hosts: [\"https://gitlab.example.com\"]\n", []string{"git_hosts"}},
		{"a password for nothing", "database_password_file: pw\n", []string{"database_password_file"}},
		{"no address of SSH", "ssh_listen: here\n", []string{"ssh_listen", "nor off"}},
		{"too little memory", "app_memory_mb: 1\n", []string{"too little"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := read(t, tt.text)
			if !errs.Is(err, errs.KindInvalid) {
				t.Fatalf("error is %v", err)
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("it tells the password: %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
		})
	}
}

// The administrator's certificate may be replaced while the gateway runs.
func TestOwnCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	own := platform.TLS{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	ca := authority(t)
	write := func() string {
		t.Helper()
		leaf, err := ca.Issue("slipway.example.com", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{own.CertFile: string(leaf.Cert), own.KeyFile: leaf.Key.Reveal()} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pair, err := tls.LoadX509KeyPair(own.CertFile, own.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.SerialNumber.String()
	}
	first := write()
	c, err := platform.OpenCertificates(dir, own, slipway.Hosts{Scheme: "https", Base: "slipway.example.com"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		leaf, err := c.Config().GetCertificate(&tls.ClientHelloInfo{ServerName: "slipway.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		return leaf.Leaf.SerialNumber.String()
	}
	if got := serial(); got != first {
		t.Errorf("serial %s, not %s", got, first)
	}
	if err := os.WriteFile(own.KeyFile, []byte("half of it"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != first {
		t.Error("a file that cannot be used took the last certificate away")
	}
	second := write()
	if got := serial(); got != second || first == second {
		t.Errorf("serial %s, not the new %s", got, second)
	}
	if _, err := platform.OpenCertificates(dir, platform.TLS{CertFile: filepath.Join(dir, "none"), KeyFile: own.KeyFile}, slipway.Hosts{}, slog.New(slog.DiscardHandler)); !errs.Is(err, errs.KindInvalid) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestLocalCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, err := read(t, "")
	if err != nil {
		t.Fatal(err)
	}
	first, err := platform.OpenCertificates(dir, platform.TLS{}, c.Hosts(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	again, err := platform.OpenCertificates(dir, platform.TLS{}, c.Hosts(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if first.Fingerprint() == "" || first.Fingerprint() != again.Fingerprint() {
		t.Errorf("the CA changed from %s to %s", first.Fingerprint(), again.Fingerprint())
	}
	root, err := os.ReadFile(platform.CAFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	for name, want := range map[string]bool{
		"slipway.localhost": true, "api-slipway.localhost": true, "sales-slipway.localhost": true,
		"": true, "example.com": false, "a.b-slipway.localhost": false,
	} {
		leaf, err := again.Config().GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if (err == nil) != want {
			t.Errorf("certificate for %q: %v", name, err)
			continue
		}
		if err != nil || name == "" {
			continue
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("certificate for %q: %v", name, err)
		}
	}
}

func TestGitRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if pool, err := (platform.Config{}).GitRoots(); pool != nil || err != nil {
		t.Errorf("%v, %v: want the system's", pool, err)
	}
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(dir, "none.pem")} {
		if _, err := (platform.Config{GitCAFile: file}).GitRoots(); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: %v", file, err)
		}
	}
}
