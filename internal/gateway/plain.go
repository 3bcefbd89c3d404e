package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const tlsHandshake = 22 // the first byte of a client that speaks TLS

// peekedConn is a connection whose first bytes were looked at.
type peekedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *peekedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// peek tells whether the client speaks TLS.
func peek(c net.Conn, timeout time.Duration) (conn *peekedConn, speaksTLS bool, err error) {
	if err := c.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, false, err
	}
	p := &peekedConn{c, bufio.NewReaderSize(c, 4<<10)}
	b, err := p.r.Peek(1)
	if err != nil {
		return nil, false, err
	}
	return p, b[0] == tlsHandshake, c.SetReadDeadline(time.Time{})
}

// sendToTLS answers plain HTTP where TLS is spoken: the one request is sent to
// the same address with https. It carries nothing of us, so nothing is lost.
func (s *Server) sendToTLS(c *peekedConn) {
	defer c.Close()
	if c.SetDeadline(time.Now().Add(s.HeadTimeout)) != nil {
		return
	}
	r, err := http.ReadRequest(bufio.NewReader(io.LimitReader(c, maxHead)))
	if err != nil {
		return
	}
	host, ok := hostName(r.Host)
	p := s.Policy.Policy()
	if !ok || p == nil || !plainPath(requestPath(r.RequestURI)) {
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		return
	}
	if p.Hosts.Port != "" {
		host = net.JoinHostPort(host, p.Hosts.Port)
	}
	fmt.Fprintf(c, "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://%s%s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", host, r.URL.RequestURI())
}
