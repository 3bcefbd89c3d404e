// Package dial opens the endpoints that engines report: "tcp://host:port", or
// "init:///path/to/socket" for a sandbox, whose init dials the app's port
// inside and passes the connected socket out; and "unix:///path/to/socket" for
// a part of the platform on the same machine. A Dialer also opens "tls://host:port".
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Init answers on its socket: to the byte Ask, it sends one byte: OK with the
// connected socket as SCM_RIGHTS, or Refused when the app does not listen.
const (
	Ask     = 'd'
	OK      = '+'
	Refused = '-'
)

// ErrRefused says that nothing listens on the port inside.
var ErrRefused = errors.New("connection refused: nothing listens on the port")

// Dial opens an endpoint.
func Dial(ctx context.Context, endpoint string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(endpoint, "init://"); ok {
		return dialInit(ctx, path)
	}
	if addr, ok := strings.CutPrefix(endpoint, "tcp://"); ok {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", addr)
	}
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return nil, fmt.Errorf("endpoint %q is neither tcp:// nor init:// nor unix://", endpoint)
}

func dialInit(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	u := c.(*net.UnixConn)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := u.Write([]byte{Ask}); err != nil {
		return nil, err
	}
	b, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := u.ReadMsgUnix(b, oob)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, err
	case n != 1 || b[0] != OK:
		return nil, ErrRefused
	}
	return socket(oob[:oobn])
}

// socket makes a connection of the one descriptor in a control message.
func socket(oob []byte) (net.Conn, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil, fmt.Errorf("the init passed no socket: %w", errors.Join(err, net.ErrClosed))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("the init passed no socket: %w", errors.Join(err, net.ErrClosed))
	}
	unix.CloseOnExec(fds[0])
	f := os.NewFile(uintptr(fds[0]), "app")
	defer f.Close()
	return net.FileConn(f)
}
