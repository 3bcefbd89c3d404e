package gateway

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

const (
	serverSlop = 4096     // what net/http adds to its header limit
	maxHead    = 32 << 10 // a longer head is answered 431 by net/http
	lingerTime = 500 * time.Millisecond
)

// refusal is handed to net/http in place of a head that must not be seen: its
// answer is 400 and the end of the connection, in its turn after the answers
// to earlier requests.
var refusal = []byte("REFUSED\r\n\r\n")

// errMalformedBody is what reading a body with malformed chunks returns.
var errMalformedBody = errors.New("the body's chunks are malformed")

type phase uint8

const (
	inHead    phase = iota // collecting a head
	inBody                 // remain bytes are handed on
	inChunked              // handed on as long as the chunks are well formed
	raw                    // the rest of the connection is handed on as it is
	refused                // the refusal is handed on, then nothing
	broken                 // the body was malformed: nothing more is read
)

// headConn is an HTTP/1 connection whose every request head is judged before
// net/http sees its first byte, because net/http accepts what other servers
// read differently: Content-Length beside Transfer-Encoding, folded lines,
// bare line feeds. It follows the bodies' framing to find the next head.
// Only one goroutine reads at a time, as net/http does.
type headConn struct {
	net.Conn
	buf     []byte // received and not yet handed on
	base    []byte // the memory below buf, kept for the next head
	judged  int    // how much of buf may be handed on
	scan    headScanner
	phase   phase
	remain  int64
	chunks  chunkScanner
	isRaw   atomic.Bool // what follows this head is not looked at
	linger  atomic.Bool // the client may be still sending: let it read our answer
	pending error       // of the last read, to be told after the bytes
}

func newHeadConn(c net.Conn) *headConn { return &headConn{Conn: c} }

func (c *headConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if c.judged > 0 {
			n := copy(p, c.buf[:c.judged])
			c.judged -= n
			c.buf = c.buf[n:]
			if len(c.buf) == 0 {
				c.buf = c.base[:0]
			}
			return n, nil
		}
		switch c.phase {
		case inHead:
			if err := c.readHead(); err != nil {
				return 0, err
			}
		case inBody, inChunked:
			if n, err := c.readBody(p); n > 0 || err != nil {
				return n, err
			}
		case raw:
			if len(c.buf) == 0 {
				return c.Conn.Read(p)
			}
			c.judged = len(c.buf)
		case refused:
			return 0, io.EOF
		case broken:
			return 0, errMalformedBody
		}
	}
}

// readHead looks at what there is of a head, and receives more if it has to.
func (c *headConn) readHead() error {
	f, n, verdict := c.scan.next(c.buf)
	switch {
	case verdict == headBad:
		c.phase, c.buf, c.judged = refused, refusal, len(refusal)
		c.linger.Store(true)
		return nil
	case verdict == headDone:
		c.scan, c.judged = headScanner{}, n
		switch {
		case f.upgrade:
			c.phase = raw
			c.isRaw.Store(true)
		case f.chunked:
			c.phase, c.chunks = inChunked, chunkScanner{}
		case f.length > 0:
			c.phase, c.remain = inBody, f.length
		}
		return nil
	case len(c.buf) >= maxHead: // too long for net/http too, which will say so
		c.phase = raw
		c.isRaw.Store(true)
		c.linger.Store(true)
		return nil
	}
	return c.fill()
}

// fill receives more into the buffer.
func (c *headConn) fill() error {
	if err := c.pending; err != nil {
		c.pending = nil
		return err
	}
	if cap(c.buf)-len(c.buf) < 512 {
		grown := make([]byte, len(c.buf), max(4096, 2*len(c.buf)+512))
		copy(grown, c.buf)
		c.buf, c.base = grown, grown
	}
	n, err := c.Conn.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		c.pending = err
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// readBody hands on a part of the body, straight into p when nothing is buffered.
func (c *headConn) readBody(p []byte) (int, error) {
	if len(c.buf) > 0 {
		c.judged = c.advance(c.buf)
		return 0, nil
	}
	if c.phase == inBody && int64(len(p)) > c.remain {
		p = p[:c.remain]
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return 0, err
	}
	ok := c.advance(p[:n])
	if ok < n { // the body ended within p: the rest waits to be judged
		c.buf = append(c.base[:0], p[ok:n]...)
		c.base = c.buf
	}
	return ok, err
}

// advance says how much of b belongs to the body, and changes phase at its end.
func (c *headConn) advance(b []byte) int {
	if c.phase == inBody {
		n := min(int64(len(b)), c.remain)
		if c.remain -= n; c.remain == 0 {
			c.phase = inHead
		}
		return int(n)
	}
	n, state := c.chunks.next(b)
	switch state {
	case chunksDone:
		c.phase = inHead
	case chunksBad:
		c.phase = broken
		c.linger.Store(true)
	default:
	}
	return n
}

// ReadFrom lets the kernel copy files and sockets to a plain connection.
func (c *headConn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

type writeCloser interface{ CloseWrite() error }

// CloseWrite ends our direction only.
func (c *headConn) CloseWrite() error {
	if w, ok := c.Conn.(writeCloser); ok {
		return w.CloseWrite()
	}
	return c.Conn.Close()
}

// Close lets a client that was refused in mid-send read why: closing at once
// would reset the connection and throw our answer away.
func (c *headConn) Close() error {
	if c.linger.CompareAndSwap(true, false) && c.CloseWrite() == nil {
		c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) //nolint:errcheck // then it closes at once
		io.Copy(io.Discard, io.LimitReader(c.Conn, 1<<20)) //nolint:errcheck // only to drain
	}
	return c.Conn.Close()
}
