package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// door answers on the socket in the private folder.
type door struct {
	ready chan struct{} // closed by the first Go
	once  sync.Once
	port  int
}

func openDoor(g *loop.Group, path string, port int) (*door, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	d := &door{ready: make(chan struct{}), port: port}
	g.Go("door", func(ctx context.Context) error {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				// Out of descriptors or memory: it passes, and the door must stay.
				_ = loop.Sleep(ctx, 10*time.Millisecond)
				continue
			}
			g.Spawn("answer", func(ctx context.Context) error {
				defer c.Close() //nolint:errcheck // the answer is given
				d.answer(ctx, c)
				return nil
			})
		}
	})
	return d, nil
}

func (d *door) answer(ctx context.Context, c *net.UnixConn) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	switch b[0] {
	case inside.Go:
		d.once.Do(func() { close(d.ready) })
		_, _ = c.Write([]byte{dial.OK})
	case dial.Ask:
		if d.port == 0 || d.pass(ctx, c) != nil {
			_, _ = c.Write([]byte{dial.Refused})
		}
	}
}

// pass dials the app and hands the connected socket over.
func (d *door) pass(ctx context.Context, c *net.UnixConn) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	app, err := dialer.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port)))
	if err != nil {
		return err
	}
	defer app.Close()
	raw, err := app.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = c.WriteMsgUnix([]byte{dial.OK}, unix.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}
