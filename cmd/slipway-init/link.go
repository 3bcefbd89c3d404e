package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// openLink leads a loopback port to an endpoint, which may come and go.
func openLink(g *loop.Group, link inside.Link) error {
	return lead(g, net.JoinHostPort("127.0.0.1", strconv.Itoa(link.Port)), link.To)
}

// lead leads an address to an endpoint.
func lead(g *loop.Group, addr, endpoint string) error {
	l, err := net.Listen("tcp", addr) //nolint:noctx // once, at the start
	if err != nil {
		return err
	}
	g.Go("link", func(ctx context.Context) error {
		for {
			in, err := l.Accept()
			if err != nil {
				// Out of descriptors or memory: it passes.
				_ = loop.Sleep(ctx, 10*time.Millisecond)
				continue
			}
			g.Spawn("link", func(ctx context.Context) error {
				forward(ctx, in.(*net.TCPConn), endpoint)
				return nil
			})
		}
	})
	return nil
}

// halfCloser is a TCP or Unix connection.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func forward(ctx context.Context, in halfCloser, endpoint string) {
	defer in.Close()
	dctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	c, err := dial.Dial(dctx, endpoint)
	cancel()
	if err != nil {
		return
	}
	out := c.(halfCloser)
	defer out.Close()
	_ = loop.Run(ctx, func(context.Context) error {
		_, err := io.Copy(out, in)
		return errors.Join(err, out.CloseWrite())
	}, func(context.Context) error {
		_, err := io.Copy(in, out)
		return errors.Join(err, in.CloseWrite())
	})
}
