package install

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"

	"k8s.io/client-go/tools/portforward"
	"k8s.io/klog/v2"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/platform"
)

// ToRegistry calls fn while an address of this machine leads, through the API
// server, to the core's registry, which knows the installer by the certificate
// in the configuration.
func (i *Installer) ToRegistry(ctx context.Context, p *Plan, fn func(addr string, config *tls.Config) error) error {
	config, err := p.identity()
	if err != nil {
		return err
	}
	cfg, err := p.plan.settings()
	if err != nil {
		return err
	}
	pod, ask, err := i.toPod(ctx, p.plan.Namespace, partCore, "portforward")
	if err != nil {
		return err
	}
	dialer, err := portforward.NewSPDYOverWebsocketDialer(ask.URL(), i.config)
	if err != nil {
		return err
	}
	// It would tell people of every connection that ends.
	klog.SetLogger(klog.Logger{})
	stop, ready := make(chan struct{}), make(chan struct{})
	f, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + cfg.Kube.Ports.Registry}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	g := loop.New(ctx, nil)
	g.Go("forward", func(context.Context) error { ended <- f.ForwardPorts(); return nil })
	defer func() { close(stop); _ = g.Wait() }() // it has nothing to tell any more
	select {
	case <-ready:
	case <-ctx.Done():
		return ctx.Err()
	case err := <-ended:
		return errs.Wrap(err, errs.KindUnavailable, "the API server does not lead to the pod %s: %v", pod, err)
	}
	ports, err := f.GetPorts()
	if err != nil {
		return err
	}
	return fn(net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), config)
}

// identity is the installer's own certificate.
func (p *Plan) identity() (*tls.Config, error) {
	s := p.plan.secrets[secretInstaller]
	pair, err := tls.X509KeyPair(s[platform.IdentityCert], s[platform.IdentityKey])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s[platform.IdentityCA]) {
		return nil, errors.New("the internal authority has no certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: platform.NameCore}, nil
}
