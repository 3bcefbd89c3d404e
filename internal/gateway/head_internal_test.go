package gateway

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

// FuzzHead: what passes the judge must mean the same to net/http. To refuse
// more than net/http is the judge's purpose; to accept more is a failure.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a:1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\n\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s headScanner
		got, n, v := s.next(data)
		var bit headScanner // the same, however the bytes arrive
		for i := range data {
			g2, n2, v2 := bit.next(data[:i+1])
			if v2 == headBad && v == headMore || v2 == headDone && (v != headDone || n2 != n || g2 != got) {
				t.Fatalf("by bytes %v %d, at once %v %d: %q", v2, n2, v, n, data)
			}
			if v2 != headMore {
				break
			}
		}
		if v != headDone {
			return
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			// net/http checks more than framing (methods, URLs); then nobody is served.
			return
		}
		chunked := len(req.TransferEncoding) == 1 && req.TransferEncoding[0] == "chunked"
		if chunked != got.chunked || !chunked && req.ContentLength != got.length {
			t.Fatalf("judged %+v, net/http has %d %v: %q", got, req.ContentLength, req.TransferEncoding, data)
		}
		if req.Host == "" || strings.ContainsAny(req.Host, " /@,") {
			t.Fatalf("host %q: %q", req.Host, data)
		}
		for name := range req.Header {
			if strings.ContainsAny(name, " \t\r\n\x00") {
				t.Fatalf("name %q: %q", name, data)
			}
		}
	})
}

// FuzzChunks: a body that the scanner finds well formed ends where net/http's
// reader ends it.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1", "a;x=y\r\n0123456789\r\n0\r\nA: b\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "+1\r\na\r\n0\r\n\r\n",
		"00000000000000000000\r\n\r\n", "0\r\nA\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s chunkScanner
		n, state := s.next(data)
		var bit chunkScanner
		for i := range data {
			_, st := bit.next(data[i : i+1])
			if st != chunksMore {
				if st != state || st == chunksDone && i+1 != n || st == chunksBad && i != n {
					t.Fatalf("by bytes %v at %d, at once %v at %d: %q", st, i, state, n, data)
				}
				break
			}
		}
		if state != chunksDone {
			return
		}
		br := bufio.NewReader(bytes.NewReader(data))
		if _, err := io.Copy(io.Discard, httputil.NewChunkedReader(br)); err != nil {
			t.Fatalf("net/http refuses what was accepted: %v: %q", err, data)
		}
		rest, err := io.ReadAll(br) // trailers and what follows the body
		if err != nil {
			t.Fatal(err)
		}
		trailer := data[len(data)-len(rest) : n]
		if !bytes.HasSuffix(trailer, []byte("\r\n")) {
			t.Fatalf("the body ends at %d, net/http reads to %d: %q", n, len(data)-len(rest), data)
		}
	})
}

func TestPlainPath(t *testing.T) {
	for path, want := range map[string]bool{
		"/": true, "/a": true, "/a/": true, "/a/b.c": true, "/a/...": true, "/a..": true, "/..a": true, "/a%20b": true, "/a;b": true, "/%E2%82%AC": true,
		"": false, "a": false, "//": false, "/a//b": false, "/a//": false, "/.": false, "/..": false, "/a/./b": false, "/a/../b": false, "/%2e": false, "/%2E%2e/": false,
		"/..;x": false, "/.;": false, "/a%2fb": false, "/a%5Cb": false, "/a\\b": false, "/%00": false, "/%": false, "/%g0": false, "/a/%2e%2e;/b": false,
	} {
		if got := plainPath(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}
