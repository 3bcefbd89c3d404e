package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// addressLimit counts the connections of each address, so that one cannot take
// them all. Of IPv6, a customer's network is one address.
type addressLimit struct {
	most int
	free []netip.Prefix

	mu   sync.Mutex
	open map[netip.Addr]int
}

// enter counts a connection until it is closed; ok is false when there are too
// many, and then it is not counted.
func (l *addressLimit) enter(c net.Conn) (counted net.Conn, ok bool) {
	tcp, isTCP := c.(*net.TCPConn)
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil || !isTCP || l.most < 0 {
		return c, true
	}
	addr := ap.Addr().Unmap()
	if within(l.free, addr) {
		return c, true
	}
	if addr.Is6() {
		addr = netip.PrefixFrom(addr.WithZone(""), 64).Masked().Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr] >= l.most {
		return c, false
	}
	l.open[addr]++
	return &countedConn{TCPConn: tcp, leave: func() { l.leave(addr) }}, true
}

func (l *addressLimit) leave(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[addr]--; l.open[addr] <= 0 {
		delete(l.open, addr)
	}
}

// countedConn is a TCP connection with all that it can do.
type countedConn struct {
	*net.TCPConn
	once  sync.Once
	leave func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.leave)
	return c.TCPConn.Close()
}

// pacedBody ends a body that comes too slowly: whoever sends a byte now and then
// would hold an app's worker for ever. Only the time in which the body was
// waited for counts, so that an app may read as slowly as it likes.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	rate    int
	grace   time.Duration
	budget  time.Duration // of waiting, at most grace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	began := time.Now()
	_ = b.control.SetReadDeadline(began.Add(b.budget))
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) { // it stays past: nobody waits for the rest
		return n, errSlowBody
	}
	// The connection's next reader has its own deadline, or none.
	_ = b.control.SetReadDeadline(time.Time{})
	b.budget -= time.Since(began)
	b.budget = min(b.budget+time.Duration(n)*time.Second/time.Duration(b.rate), b.grace)
	return n, err
}

var errSlowBody = errors.New("the body comes too slowly")
