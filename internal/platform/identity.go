package platform

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

// Names of the parts of the platform in their certificates. They are in no DNS.
const (
	NameCore    = "core.slipway.internal"
	NameGateway = "gateway.slipway.internal"
	NamePull    = "pull.slipway.internal"
	// NameInstaller is who installs the platform: it gives the core the base image.
	NameInstaller = "installer.slipway.internal"
)

// Files of an Identity's folder, as in a Secret of type kubernetes.io/tls.
const (
	IdentityCert = "tls.crt"
	IdentityKey  = "tls.key"
	IdentityCA   = "ca.crt" // may hold several authorities, while one takes over from another
)

// Identity is how a part of the platform shows the others who it is: a
// certificate of the internal CA. Its files may be replaced at any time; the
// next connection uses them.
type Identity struct {
	dir string
	log *slog.Logger

	mu    sync.Mutex
	mark  string // of the files that were read last
	tried string // of the files that were tried last
	cert  *tls.Certificate
	roots *x509.CertPool
}

// OpenIdentity reads the folder's files.
func OpenIdentity(dir string, log *slog.Logger) (*Identity, error) {
	i := &Identity{dir: dir, log: log}
	if err := i.load(i.stat()); err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid,
			"this process cannot show who it is: %v: %s needs %s, %s and %s, which `slipway install` makes", err, dir, IdentityCert, IdentityKey, IdentityCA)
	}
	return i, nil
}

// Ends is when the certificate in use ends.
func (i *Identity) Ends() time.Time {
	cert, _ := i.current()
	return cert.Leaf.NotAfter
}

// Client returns what a connection to the named part needs. Take it anew for
// each connection.
func (i *Identity) Client(peer string) *tls.Config {
	cert, roots := i.current()
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, RootCAs: roots, ServerName: peer}
}

// Server returns what a listener needs that only the named parts may connect to.
func (i *Identity) Server(peers ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, roots := i.current()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert},
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, SessionTicketsDisabled: true,
				VerifyConnection: func(s tls.ConnectionState) error {
					names := s.PeerCertificates[0].DNSNames
					if slices.ContainsFunc(names, func(n string) bool { return slices.Contains(peers, n) }) {
						return nil
					}
					return fmt.Errorf("%s may not connect here, only %s", strings.Join(names, ", "), strings.Join(peers, ", "))
				},
			}, nil
		},
	}
}

// current reads the files again when they have changed. Files that cannot be
// used leave the last ones in force, for the three may be written one by one.
func (i *Identity) current() (*tls.Certificate, *x509.CertPool) {
	mark := i.stat()
	i.mu.Lock()
	same := mark == i.mark || mark == i.tried
	i.mu.Unlock()
	if !same {
		if err := i.load(mark); err != nil {
			i.log.Error("the new internal certificate cannot be used: the last one stays", "dir", i.dir, "error", err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert, i.roots
}

// stat tells one state of the files from another.
func (i *Identity) stat() string {
	var b strings.Builder
	for _, name := range []string{IdentityCert, IdentityKey, IdentityCA} {
		if info, err := os.Stat(filepath.Join(i.dir, name)); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", name, info.ModTime().UnixNano(), info.Size())
		}
	}
	return b.String()
}

func (i *Identity) load(mark string) error {
	cert, roots, err := i.read()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tried = mark
	if err == nil {
		i.mark, i.cert, i.roots = mark, cert, roots
	}
	return err
}

func (i *Identity) read() (*tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(i.dir, IdentityCert), filepath.Join(i.dir, IdentityKey))
	if err != nil {
		return nil, nil, err
	}
	ca, err := os.ReadFile(filepath.Join(i.dir, IdentityCA))
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, nil, errors.New("ca.crt holds no certificate")
	}
	return &pair, roots, nil
}
