package gateway

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
)

// tunnels are the connections of git over SSH. They are not looked into: the
// core, where they lead, has the key that opens them. It is told who is at the
// other end, because it sees only us.
type tunnels struct {
	*Server
	g   *loop.Group
	cut context.CancelFunc
}

func (s *Server) newTunnels(ctx context.Context) *tunnels {
	ctx, cut := context.WithCancel(context.WithoutCancel(ctx))
	return &tunnels{s, loop.New(ctx, s.Log), cut}
}

// end cuts off what has not ended when late does.
func (t *tunnels) end(late context.Context) { context.AfterFunc(late, t.cut) }

// wait waits until all have ended.
func (t *tunnels) wait() error {
	defer t.cut()
	return t.g.Wait()
}

func (t *tunnels) take(c net.Conn) {
	t.g.Spawn("ssh", func(ctx context.Context) error {
		defer c.Close()
		from, err := netip.ParseAddrPort(c.RemoteAddr().String())
		if err != nil {
			return err
		}
		began := time.Now()
		sent, got := t.pass(ctx, c, from.Addr().Unmap())
		t.Log.LogAttrs(ctx, slog.LevelInfo, "ssh connection",
			slog.Int64("bytes_in", sent), slog.Int64("bytes_out", got), slog.Duration("took", time.Since(began)), slog.String("client", from.Addr().Unmap().String()))
		return nil
	})
}

// pass connects a client with the core, for which it waits as a request would,
// and returns what went to it and what came back.
func (t *tunnels) pass(ctx context.Context, c net.Conn, from netip.Addr) (sent, got int64) {
	core, err := t.dialCore(ctx)
	if err == nil {
		defer core.Close()
		err = dial.SendOrigin(core, from)
	}
	if err != nil {
		t.Log.WarnContext(ctx, "the core does not take a connection of SSH", "error", err)
		return 0, 0
	}
	shut := func() {
		c.Close()
		core.Close()
	}
	defer context.AfterFunc(ctx, shut)()
	_ = loop.Run(ctx,
		func(context.Context) error {
			sent, _ = io.Copy(core, c)
			if half, ok := core.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			return nil
		},
		func(context.Context) error {
			got, _ = io.Copy(c, core)
			shut() // nothing more can come
			return nil
		})
	return sent, got
}

func (t *tunnels) dialCore(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.CoreHold)
	defer cancel()
	wait := loop.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		c, err := t.Dialer.Dial(ctx, t.CoreSSH)
		if err == nil || wait.Wait(ctx) != nil {
			return c, err
		}
	}
}
