package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/base/loop"
)

// front accepts connections and hands them to net/http as one listener: those
// that speak HTTP/2 as they are, the others behind a headConn that looks at
// every head before net/http does.
type front struct {
	log      *slog.Logger
	tls      *tls.Config
	timeout  time.Duration     // for a handshake
	plain    func(*peekedConn) // answers who does not speak TLS where that is spoken
	conns    chan net.Conn
	closed   chan struct{}
	once     sync.Once
	draining atomic.Bool
	addrs    *addressLimit
}

func newFront(log *slog.Logger, cfg *tls.Config, timeout time.Duration, plain func(*peekedConn)) *front {
	return &front{log: log, tls: cfg, timeout: timeout, plain: plain, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// accept hands connections to take until the listener is closed.
func (f *front) accept(g *loop.Group, l net.Listener, take func(net.Conn)) error {
	wait := loop.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
	for {
		c, err := l.Accept()
		switch {
		case f.draining.Load():
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // no descriptors left, say
			f.log.Error("a connection could not be accepted", "error", err)
			if wait.Wait(g.Context()) != nil {
				return nil
			}
			continue
		}
		wait.Reset()
		c, ok := f.addrs.enter(c)
		if !ok {
			f.log.Debug("an address has too many connections", "remote", c.RemoteAddr().String())
			c.Close()
			continue
		}
		take(c)
	}
}

// take is for what HTTP is spoken on.
func (f *front) take(g *loop.Group, c net.Conn) {
	if f.tls == nil {
		f.hand(newHeadConn(c))
		return
	}
	g.Spawn("handshake", func(ctx context.Context) error {
		p, speaksTLS, err := peek(c, f.timeout)
		switch {
		case err != nil:
			c.Close()
		case speaksTLS:
			f.shake(ctx, tls.Server(p, f.tls))
		default:
			f.plain(p)
		}
		return nil
	})
}

// shake does the handshake here and not in net/http, because only its result
// tells whether the connection needs a headConn. Failures are the client's.
func (f *front) shake(ctx context.Context, c *tls.Conn) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		f.log.Debug("a TLS handshake failed", "remote", c.RemoteAddr().String(), "error", err)
		c.Close() //nolint:errcheck // its handshake failed
		return
	}
	if c.ConnectionState().NegotiatedProtocol == "h2" {
		f.hand(c)
		return
	}
	f.hand(newHeadConn(c))
}

func (f *front) hand(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.closed:
		c.Close()
	}
}

// drain says that the listeners are closed on purpose.
func (f *front) drain() { f.draining.Store(true) }

// Accept, Close and Addr are what net/http asks of a listener.
func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.closed:
		return nil, net.ErrClosed
	}
}

func (f *front) Close() error {
	f.shut()
	return nil
}

func (f *front) shut() { f.once.Do(func() { close(f.closed) }) }

func (f *front) Addr() net.Addr { return &net.TCPAddr{} }

type headConnKey struct{}

func withHeadConn(ctx context.Context, c net.Conn) context.Context {
	if h, ok := c.(*headConn); ok {
		return context.WithValue(ctx, headConnKey{}, h)
	}
	return ctx
}
