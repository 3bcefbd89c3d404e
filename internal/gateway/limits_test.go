package gateway_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"slipway.dev/slipway/internal/gateway"
)

// A body that comes too slowly is answered 408 and ends; a socket and a stream
// that are silent for longer stay.
func TestSlowBody(t *testing.T) {
	r := start(t, func(o *gateway.Options) { o.BodyGrace, o.BodyRate = 300*time.Millisecond, 1<<20 })
	r.app("chat", func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/ws":
			socketApp(w, q)
		case "/stream":
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			<-q.Context().Done()
		default:
			_, _ = io.Copy(io.Discard, q.Body)
		}
	})
	ws, _, err := r.socket(t.Context(), origin+"/chat/ws", "Origin: "+origin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	expect(t, ws, "hello ")
	stream := r.dial()
	if _, err := io.WriteString(stream, "GET /chat/stream HTTP/1.1\r\nHost: "+base+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 12)
	if _, err := io.ReadFull(stream, first); err != nil || string(first) != "HTTP/1.1 200" {
		t.Fatalf("%q, %v", first, err)
	}
	for name, text := range map[string]string{
		"a length": "POST /chat/ HTTP/1.1\r\nHost: " + base + "\r\nContent-Length: 100\r\n\r\nabc",
		"chunks":   "POST /chat/ HTTP/1.1\r\nHost: " + base + "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	} {
		if got := r.raw(text); !strings.HasPrefix(got, "HTTP/1.1 408 ") || strings.HasSuffix(got, "[open]") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("still here")); err != nil {
		t.Fatal(err)
	}
	expect(t, ws, "still here")
	_ = stream.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := io.Copy(io.Discard, stream); err == nil {
		t.Error("the stream has ended")
	}
}

// A body of any length passes when it comes fast enough, and what follows on
// the connection is not hurried.
func TestBodyInTime(t *testing.T) {
	r := start(t, func(o *gateway.Options) { o.BodyGrace, o.BodyRate = 5*time.Second, 1 })
	r.app("iris", echo)
	c := r.dial()
	br := bufio.NewReader(c)
	for range 2 {
		if _, err := io.WriteString(c, "POST /iris/ HTTP/1.1\r\nHost: "+base+"\r\nContent-Length: 5\r\n\r\nhe"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "llo"); err != nil {
			t.Fatal(err)
		}
		if res, body := readAnswer(t, c, br); res.StatusCode != http.StatusOK || body != "app:hello" {
			t.Fatalf("%s %q", res.Status, body)
		}
	}
}

// One address has so many connections and no more; each that ends makes room.
func TestConnectionsOfAnAddress(t *testing.T) {
	const get = "GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n"
	answers := func(t *testing.T, c net.Conn) bool {
		t.Helper()
		_, err := io.WriteString(c, get)
		if err != nil {
			return false
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return false
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	}
	for name, tt := range map[string]struct {
		trusted []netip.Prefix
		third   bool
	}{
		"anybody":         {nil, false},
		"a trusted proxy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(o *gateway.Options) { o.AddressConns, o.TrustedProxies = 2, tt.trusted })
			r.app("iris", echo)
			one, two := r.dial(), r.dial()
			if !answers(t, one) || !answers(t, two) {
				t.Fatal("the first two are not served")
			}
			if got := answers(t, r.dial()); got != tt.third {
				t.Errorf("the third is served: %v", got)
			}
			if err := one.Close(); err != nil {
				t.Fatal(err)
			}
			until(t, "there is room again", func() bool { return answers(t, r.dial()) })
		})
	}
}
