package platform

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 90 * 24 * time.Hour
	renewal  = 30 * 24 * time.Hour // before the end
	maxLeafs = 10_000
)

// Certificates gives the edge its certificates: the administrator's, or from
// a local CA one for each of our host names, made when it is first asked for.
type Certificates struct {
	hosts slipway.Hosts
	fixed *tls.Certificate

	ca      *x509.Certificate
	caKey   *ecdsa.PrivateKey
	leafKey *ecdsa.PrivateKey

	mu    sync.Mutex
	leafs map[string]*tls.Certificate
}

// OpenCertificates loads the administrator's certificate, or the local CA in
// dir, which it makes when there is none.
func OpenCertificates(dir string, own TLS, hosts slipway.Hosts) (*Certificates, error) {
	c := &Certificates{hosts: hosts, leafs: map[string]*tls.Certificate{}}
	if own.CertFile != "" {
		pair, err := own.load()
		if err != nil {
			return nil, err
		}
		c.fixed = &pair
		return c, nil
	}
	err := c.openCA(dir)
	if errors.Is(err, os.ErrNotExist) {
		err = errors.Join(makeCA(dir))
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

func (c *Certificates) openCA(dir string) error {
	pair, err := tls.LoadX509KeyPair(CAFile(dir), filepath.Join(dir, "ca.key"))
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("ca.key is not an ECDSA key")
	}
	c.ca, c.caKey = pair.Leaf, key
	return nil
}

// makeCA writes the key first: a certificate without its key would stand in
// the way of the next attempt.
func makeCA(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Slipway local CA " + host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(dir, "ca.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600)
	if err != nil {
		return err
	}
	return os.WriteFile(CAFile(dir), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}

// Fingerprint is the SHA-256 of the local CA's root, as browsers show it;
// empty with the administrator's certificate.
func (c *Certificates) Fingerprint() string {
	if c.ca == nil {
		return ""
	}
	sum := sha256.Sum256(c.ca.Raw)
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
	if c.fixed != nil {
		return c.fixed, nil
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
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.ca, c.leafKey.Public(), c.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.ca.Raw}, PrivateKey: c.leafKey, Leaf: leaf}, nil
}
