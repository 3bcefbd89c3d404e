package rig

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"slipway.dev/slipway/internal/base/loop"
)

// Connect starts a proxy that leads every name to loopback, and returns its address.
func Connect(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, port, err := net.SplitHostPort(r.Host)
		if r.Method != http.MethodConnect || err != nil {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		var d net.Dialer
		to, err := d.DialContext(r.Context(), "tcp", net.JoinHostPort("127.0.0.1", port))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		relay := func(to io.Writer, from io.Reader) func(context.Context) error {
			return func(context.Context) error {
				_, err := io.Copy(to, from)
				if c, ok := to.(*net.TCPConn); ok {
					_ = c.CloseWrite()
				}
				return err
			}
		}
		_ = loop.Run(context.WithoutCancel(r.Context()), relay(to, buf), relay(from, to))
	}))
	t.Cleanup(s.Close)
	return s.URL
}
