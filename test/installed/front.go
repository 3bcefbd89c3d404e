package installed

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/cluster"
)

// front is the load balancer before the nodes: a port of this machine that
// passes connections on, in turn, to the nodes that take them.
type front struct {
	listener net.Listener
	group    *loop.Group
	nodes    []string
	node     atomic.Pointer[string] // their port, once it is known
	turn     atomic.Int64
}

func listen(ctx context.Context, c *cluster.Cluster, address string) (*front, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	f := &front{listener: l, group: loop.New(context.WithoutCancel(ctx), slog.Default())}
	for n := 1; n <= c.Nodes; n++ {
		f.nodes = append(f.nodes, c.NodeIP(n))
	}
	f.group.Spawn("front", func(ctx context.Context) error {
		for {
			from, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			if err == nil {
				f.group.Spawn("connection", func(ctx context.Context) error { return f.pass(ctx, from) })
			}
		}
	})
	return f, nil
}

func (f *front) port() string { return strconv.Itoa(f.listener.Addr().(*net.TCPAddr).Port) } //nolint:forcetypeassert // it is TCP

func (f *front) to(nodePort string) { f.node.Store(&nodePort) }

func (f *front) close() {
	_ = f.listener.Close()
	_ = f.group.Stop()
}

func (f *front) pass(ctx context.Context, from net.Conn) error {
	defer from.Close()
	port := f.node.Load()
	if port == nil {
		return nil
	}
	d := net.Dialer{Timeout: 20 * time.Second} // a busy machine's nodes lose packets
	var to net.Conn
	var err error
	for range f.nodes {
		at := f.nodes[f.turn.Add(1)%int64(len(f.nodes))]
		if to, err = d.DialContext(ctx, "tcp", net.JoinHostPort(at, *port)); err == nil {
			break
		}
	}
	if err != nil {
		return nil //nolint:nilerr // the client sees that its connection ends
	}
	defer to.Close()
	stop := context.AfterFunc(ctx, func() { _, _ = from.Close(), to.Close() })
	defer stop()
	relay := func(to, from net.Conn) func(context.Context) error {
		return func(context.Context) error {
			_, err := io.Copy(to, from)
			if c, ok := to.(*net.TCPConn); ok {
				_ = c.CloseWrite()
			}
			if err != nil { // the other way ends too
				_, _ = to.Close(), from.Close()
			}
			return nil
		}
	}
	return loop.Run(ctx, relay(to, from), relay(from, to))
}
