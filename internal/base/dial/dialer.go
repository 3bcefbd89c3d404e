package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
)

// Dialer opens endpoints like Dial, and "tls://host:port", a part of the
// platform on another machine, whose name it checks and to which it shows its own.
type Dialer struct {
	// TLS is asked for each connection, so that certificates may be replaced. It
	// names the peer (ServerName) and holds our certificate.
	TLS func() *tls.Config
}

// Dial opens an endpoint.
func (d Dialer) Dial(ctx context.Context, endpoint string) (net.Conn, error) {
	addr, ok := strings.CutPrefix(endpoint, "tls://")
	if !ok {
		return Dial(ctx, endpoint)
	}
	if d.TLS == nil {
		return nil, errors.New("this process has no certificate to show to " + endpoint)
	}
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, d.TLS())
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}
