package platform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

const (
	leafLife = 90 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // before the end
	maxLeafs = 10_000
)

// Certificates gives the edge its certificates: the administrator's, or from
// a local CA one for each of our host names, made when it is first asked for.
type Certificates struct {
	hosts slipway.Hosts
	own   *ownCertificate // the administrator's; nil with a local CA

	ca      *Authority
	leafKey *ecdsa.PrivateKey

	mu    sync.Mutex
	leafs map[string]*tls.Certificate
}

// OpenCertificates loads the administrator's certificate, whose files may be
// replaced at any time, or the local CA in dir, which it makes when there is none.
func OpenCertificates(dir string, own TLS, hosts slipway.Hosts, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{hosts: hosts, leafs: map[string]*tls.Certificate{}}
	if own.CertFile != "" {
		c.own = &ownCertificate{files: own, log: log}
		return c, c.own.load(own.mark())
	}
	err := c.openCA(dir)
	if errors.Is(err, os.ErrNotExist) {
		err = makeCA(dir)
		if err == nil {
			err = c.openCA(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the local CA in %s: %w", dir, err)
	}
	c.leafKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return c, err
}

// Check reads the administrator's certificate, if there is one.
func (t TLS) Check() error {
	if t.CertFile == "" {
		return nil
	}
	_, err := t.load()
	return err
}

// mark tells one state of the files from another.
func (t TLS) mark() string {
	var b strings.Builder
	for _, name := range []string{t.CertFile, t.KeyFile} {
		if info, err := os.Stat(name); err == nil {
			fmt.Fprintf(&b, "%d %d\n", info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

// ownCertificate is the administrator's. Files that cannot be used leave the
// last ones in force: the two may be written one by one.
type ownCertificate struct {
	files TLS
	log   *slog.Logger

	mu    sync.Mutex
	tried string // mark of the files that were tried last
	pair  *tls.Certificate
}

func (o *ownCertificate) current() *tls.Certificate {
	mark := o.files.mark()
	o.mu.Lock()
	same := mark == o.tried
	o.mu.Unlock()
	if !same {
		if err := o.load(mark); err != nil {
			o.log.Error("the new certificate for browsers cannot be used: the last one stays", "error", err)
		} else {
			o.log.Info("the certificate for browsers was replaced")
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.pair
}

func (o *ownCertificate) load(mark string) error {
	pair, err := o.files.load()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tried = mark
	if err == nil {
		o.pair = &pair
	}
	return err
}

func (t TLS) load() (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		err = errs.Wrap(err, errs.KindInvalid,
			"cannot use tls.cert_file %s with tls.key_file %s: %v: give PEM files that belong together and that this user can read", t.CertFile, t.KeyFile, err)
	}
	return pair, err
}

// CAFile is where the root of the local CA is.
func CAFile(dir string) string { return filepath.Join(dir, "ca.crt") }

func caKeyFile(dir string) string { return filepath.Join(dir, "ca.key") }

func (c *Certificates) openCA(dir string) error {
	cert, err := os.ReadFile(CAFile(dir))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(caKeyFile(dir))
	if err == nil {
		c.ca, err = ParseAuthority(Pair{cert, secret.New(string(key))})
	}
	return err
}

// makeCA writes the key first: a certificate without its key would stand in
// the way of the next attempt.
func makeCA(dir string) error {
	host, _ := os.Hostname()
	ca, err := NewAuthority("Slipway local CA " + host)
	if err != nil {
		return err
	}
	pair, err := ca.PEM()
	if err != nil {
		return err
	}
	if err := os.WriteFile(caKeyFile(dir), []byte(pair.Key.Reveal()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(CAFile(dir), pair.Cert, 0o644)
}

// Fingerprint is the SHA-256 of the local CA's root, as browsers show it;
// empty with the administrator's certificate.
func (c *Certificates) Fingerprint() string {
	if c.ca == nil {
		return ""
	}
	sum := sha256.Sum256(c.ca.cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Config is for the edge: GCM and ChaCha20 only, TLS 1.2 and later.
func (c *Certificates) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: c.get,
	}
}

var errForeign = errors.New("no certificate for this name")

func (c *Certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.own != nil {
		return c.own.current(), nil
	}
	name := strings.ToLower(hello.ServerName)
	if name == "" {
		name = c.hosts.Base
	}
	if kind, app := c.hosts.Kind(name); kind == "" {
		if _, err := slipway.ParseAppName(app); err != nil {
			return nil, errForeign
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if leaf := c.leafs[name]; leaf != nil && time.Now().Before(leaf.Leaf.NotAfter.Add(-renewal)) {
		return leaf, nil
	}
	leaf, err := c.issue(name)
	if err != nil {
		return nil, err
	}
	if len(c.leafs) >= maxLeafs {
		clear(c.leafs) // anybody can ask for any app's name: bound what that costs
	}
	c.leafs[name] = leaf
	return leaf, nil
}

func (c *Certificates) issue(name string) (*tls.Certificate, error) {
	leaf, err := c.ca.sign(leafTemplate(name, leafLife), c.leafKey.Public())
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw, c.ca.cert.Raw}, PrivateKey: c.leafKey, Leaf: leaf}, nil
}
