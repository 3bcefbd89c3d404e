package gateway

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"

	"golang.org/x/net/netutil"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/proto/idp"
)

const (
	insideConns = 1024 // of all apps
	insideEach  = 64   // of one pod
)

// Inside is what apps may ask: the keys and userinfo by which they learn who
// looks at them. The gateway answers from its table, so that they know it while
// the core is away, for as long as sessions count. issuer is the sign-in host's
// origin.
func (s *Server) Inside(issuer string) http.Handler {
	known := func(ctx context.Context) (p *link.Policy, err error) {
		if !poll(ctx, s.Hold, func() bool {
			p = s.Policy.Policy()
			return p != nil && len(p.JWKS) > 0 && !s.coreAway()
		}) {
			return nil, errs.Unavailable("the gateway has not heard of the core for too long: try again")
		}
		return p, nil
	}
	h := idp.PlatformHandler(idp.Options{
		Origin: issuer, Log: s.Log,
		JWKS: idp.Published(func(ctx context.Context) (json.RawMessage, error) {
			p, err := known(ctx)
			if err != nil {
				return nil, err
			}
			return p.JWKS, nil
		}),
		Subject: func(ctx context.Context, id string) (*idp.Subject, error) {
			p, err := known(ctx)
			if err != nil {
				return nil, err
			}
			who, ok := p.People[slipway.UserID(id)]
			if !ok {
				return nil, nil
			}
			return &idp.Subject{ID: id, Username: who.Name, Email: who.Email, Name: who.FullName}, nil
		},
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // no app keeps what there are few of
		h.ServeHTTP(w, r)
	})
}

// Narrow lets in so many connections of apps that they, and one of them, cannot
// take the descriptors with which everybody is served.
func Narrow(l net.Listener) net.Listener {
	return netutil.LimitListener(narrow{l, &addressLimit{most: insideEach, open: map[netip.Addr]int{}}}, insideConns)
}

type narrow struct {
	net.Listener
	addrs *addressLimit
}

func (n narrow) Accept() (net.Conn, error) {
	for {
		c, err := n.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := n.addrs.enter(c); ok {
			return c, nil
		}
		c.Close()
	}
}
