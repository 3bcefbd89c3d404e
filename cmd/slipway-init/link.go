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

// linkPatience is how long a link waits for its endpoint to come back: less than
// the time after which servers of apps give a worker up.
const linkPatience = 10 * time.Second

// openLink leads a loopback port to an endpoint, which may come and go.
func openLink(g *loop.Group, link inside.Link) error {
	return lead(g, net.JoinHostPort("127.0.0.1", strconv.Itoa(link.Port)), func(ctx context.Context) (net.Conn, error) {
		return await(ctx, link.To)
	})
}

// await dials until the endpoint answers: the platform restarts, and DNS loses
// questions. Who asks over a link takes a refusal for an answer: to an app, the
// viewer would be nobody.
func await(ctx context.Context, endpoint string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, linkPatience)
	defer cancel()
	pace := loop.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		try, end := context.WithTimeout(ctx, 2*time.Second) // less than a resolver waits for a lost answer
		c, err := dial.Dial(try, endpoint)
		end()
		if err == nil || pace.Wait(ctx) != nil {
			return c, err
		}
	}
}

// lead leads an address to what is dialed.
func lead(g *loop.Group, addr string, to func(context.Context) (net.Conn, error)) error {
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
				forward(ctx, in.(*net.TCPConn), to)
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

func forward(ctx context.Context, in halfCloser, to func(context.Context) (net.Conn, error)) {
	defer in.Close()
	c, err := to(ctx)
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
