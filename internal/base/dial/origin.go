package dial

import (
	"fmt"
	"io"
	"net"
	"net/netip"
)

// SendOrigin tells the other end of a new connection between our own parts for
// whom it was made, an address. Origin reads it there.
func SendOrigin(c net.Conn, addr netip.Addr) error {
	_, err := io.WriteString(c, addr.String()+"\n")
	return err
}

// Origin reads what SendOrigin wrote, and nothing that follows. It is to be
// believed only where our own parts alone can connect.
func Origin(c net.Conn) (netip.Addr, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 64 {
		if _, err := io.ReadFull(c, b); err != nil {
			return netip.Addr{}, fmt.Errorf("where a connection comes from: %w", err)
		}
		if b[0] == '\n' {
			return netip.ParseAddr(string(line))
		}
		line = append(line, b[0])
	}
	return netip.Addr{}, fmt.Errorf("where a connection comes from: the line %q does not end", line)
}
