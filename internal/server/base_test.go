package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/oci"
)

// The installer gives the core its base image once, by its own certificate; no
// other part may.
func TestGiveBase(t *testing.T) {
	ca, err := platform.NewAuthority("test CA")
	if err != nil {
		t.Fatal(err)
	}
	root, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root.Cert)
	as := func(name string) *tls.Config {
		t.Helper()
		leaf, err := ca.Issue(name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(leaf.Cert, []byte(leaf.Key.Reveal()))
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: platform.NameCore}
	}
	store, err := oci.Open(t.Context(), oci.Storage{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	handler := oci.NewInternal(t.Context(), oci.InternalOptions{Store: store, Pull: []string{image.AppsRepo}, Push: []string{image.BaseRepo}, May: mayPull})
	t.Cleanup(func() { _ = handler.Close() })
	srv := httptest.NewUnstartedServer(handler)
	srv.TLS = as(platform.NameCore)
	srv.TLS.ClientAuth, srv.TLS.ClientCAs = tls.RequireAndVerifyClientCert, roots
	srv.StartTLS()
	t.Cleanup(srv.Close)

	var out bytes.Buffer
	give := func(who, from string) error {
		t.Helper()
		out.Reset()
		return giveBaseTo(t.Context(), &out, srv.Listener.Addr().String(), as(who), from)
	}
	if err := give(platform.NameInstaller, ""); err != nil || !strings.Contains(out.String(), "There is no base image") {
		t.Errorf("without an image: %q, %v", out.String(), err)
	}
	img, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "base.tar")
	if _, err := image.WriteFile(img, file, "slipway.test/base:1"); err != nil {
		t.Fatal(err)
	}
	if err := give(platform.NamePull, file); err == nil {
		t.Error("a pull proxy gave a base image")
	}
	if err := give(platform.NameInstaller, file); err != nil || !strings.Contains(out.String(), "Base image of apps sha256:") {
		t.Errorf("%q, %v", out.String(), err)
	}
	if _, err := store.Manifest(t.Context(), image.BaseRepo, image.BaseTag); err != nil {
		t.Errorf("the core has no base image: %v", err)
	}
	for _, from := range []string{file, ""} {
		if err := give(platform.NameInstaller, from); err != nil || out.String() != "" {
			t.Errorf("again with %q: %q, %v", from, out.String(), err)
		}
	}
	if err := give(platform.NameInstaller, filepath.Join(t.TempDir(), "none.tar")); !errs.Is(err, errs.KindInvalid) && !errs.Is(err, errs.KindUnavailable) {
		t.Errorf("a file that is not there: %v", err)
	}
}
