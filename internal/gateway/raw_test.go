package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/internal/gateway"
)

// Every head that two servers could read in two ways is answered 400, the
// connection ends, and the app never hears of it.
func TestRefusedHeads(t *testing.T) {
	r := start(t)
	var heard atomic.Int64
	r.app("iris", func(w http.ResponseWriter, q *http.Request) { heard.Add(1); _, _ = io.Copy(io.Discard, q.Body) })
	const get = "GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\n"
	const post = "POST /iris/ HTTP/1.1\r\nHost: " + base + "\r\n"
	for name, text := range map[string]string{
		"CL and TE":                  post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE and CL":                  post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"two CL":                     post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
		"CL list":                    post + "Content-Length: 1, 1\r\n\r\na",
		"CL with plus":               post + "Content-Length: +1\r\n\r\na",
		"CL negative":                post + "Content-Length: -1\r\n\r\na",
		"CL hex":                     post + "Content-Length: 0x1\r\n\r\na",
		"CL empty":                   post + "Content-Length: \r\n\r\na",
		"CL huge":                    post + "Content-Length: 99999999999999999999\r\n\r\na",
		"TE other":                   post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"TE twice":                   post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"TE identity":                post + "Transfer-Encoding: identity\r\n\r\n",
		"TE with a tab":              post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"TE in capitals":             post + "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
		"TE on 1.0":                  "POST /iris/ HTTP/1.0\r\nHost: " + base + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"folded line":                get + "X-A: b\r\n c\r\n\r\n",
		"folded first line":          "GET /iris/ HTTP/1.1\r\n Host: " + base + "\r\n\r\n",
		"bare LF":                    get + "X-A: b\nX-B: c\r\n\r\n",
		"only LF":                    "GET /iris/ HTTP/1.1\nHost: " + base + "\n\n",
		"bare CR":                    get + "X-A: b\rX-B: c\r\n\r\n",
		"NUL":                        get + "X-A: b\x00c\r\n\r\n",
		"NUL in mid-line":            get + "X-A: b\x00",
		"control character":          get + "X-A: b\x01c\r\n\r\n",
		"space before colon":         get + "X-A : b\r\n\r\n",
		"CL space before colon":      post + "Content-Length : 1\r\n\r\na",
		"no colon":                   get + "X-A\r\n\r\n",
		"no name":                    get + ": x\r\n\r\n",
		"name with a bracket":        get + "X(A): x\r\n\r\n",
		"two Hosts":                  get + "Host: other\r\n\r\n",
		"two equal Hosts":            get + "Host: " + base + "\r\n\r\n",
		"empty Host":                 "GET /iris/ HTTP/1.1\r\nHost: \r\n\r\n",
		"no Host":                    "GET /iris/ HTTP/1.1\r\n\r\n",
		"no Host on 1.0":             "GET /iris/ HTTP/1.0\r\n\r\n",
		"Host with a path":           "GET /iris/ HTTP/1.1\r\nHost: " + base + "/x\r\n\r\n",
		"Host with a user":           "GET /iris/ HTTP/1.1\r\nHost: a@" + base + "\r\n\r\n",
		"Host list":                  "GET /iris/ HTTP/1.1\r\nHost: " + base + ", x\r\n\r\n",
		"target and Host differ":     "GET http://other/iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"CONNECT":                    "CONNECT " + base + ":80 HTTP/1.1\r\nHost: " + base + ":80\r\n\r\n",
		"CONNECT with a path":        "CONNECT /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"TRACE":                      "TRACE /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"PRI":                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"PRI on 1.1":                 "PRI /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"version 2.0":                "GET /iris/ HTTP/2.0\r\nHost: " + base + "\r\n\r\n",
		"version 0.9":                "GET /iris/\r\n\r\n",
		"version 1.2":                "GET /iris/ HTTP/1.2\r\nHost: " + base + "\r\n\r\n",
		"two spaces":                 "GET  /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"space in the target":        "GET /iris/ x HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"fragment":                   "GET /iris/#x HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"star":                       "OPTIONS * HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"relative target":            "GET iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"empty first line":           "\r\n" + get + "\r\n",
		"WebSocket with a body":      get + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
		"WebSocket by POST":          post + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"dot segments":               "GET /iris/../other/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"dot segment at the end":     "GET /iris/.. HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"single dot":                 "GET /iris/./x HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"encoded dots":               "GET /iris/%2e%2E/other/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"half-encoded dots":          "GET /iris/.%2e/other/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"dots with a parameter":      "GET /iris/..;a=b/other/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"two slashes":                "GET /iris//x HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"two slashes first":          "GET //iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"encoded slash":              "GET /iris%2fx HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"encoded slash in capitals":  "GET /iris/a%2Fb HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"encoded backslash":          "GET /iris/a%5cb HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"backslash":                  "GET /iris/a\\b HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"encoded NUL":                "GET /iris/a%00b HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"bad escape":                 "GET /iris/a%zz HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
		"dots in an absolute target": "GET http://" + base + "/iris/../x HTTP/1.1\r\nHost: " + base + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(text)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.HasSuffix(got, "[open]") || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("%q", got)
			}
		})
	}
	if n := heard.Load(); n != 0 {
		t.Errorf("%d of them reached the app", n)
	}
}

func TestAcceptedHeads(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	const end = "\r\nConnection: close\r\nHost: " + base + "\r\n\r\n"
	for name, c := range map[string]struct{ text, want string }{
		"plain":           {"GET /iris/x?a=%2f..;b HTTP/1.1" + end, "app:"},
		"1.0":             {"GET /iris/ HTTP/1.0\r\nHost: " + base + "\r\n\r\n", "app:"},
		"absolute target": {"GET http://" + base + "/iris/ HTTP/1.1" + end, "app:"},
		"CL":              {"POST /iris/ HTTP/1.1\r\nContent-Length: 5" + end + "hello", "app:hello"},
		"chunked":         {"POST /iris/ HTTP/1.1\r\nTransfer-Encoding: chunked" + end + "3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: a\r\n\r\n", "app:hello"},
		"h2c is ignored":  {"GET /iris/ HTTP/1.1\r\nHTTP2-Settings: AAA\r\nUpgrade: h2c" + end, "app:"},
		"dots in a name":  {"GET /iris/a..b/.well-known/x...y HTTP/1.1" + end, "app:"},
		"slash at end":    {"GET /iris/a/ HTTP/1.1" + end, "app:"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(c.text)
			if !strings.HasPrefix(got, "HTTP/1.1 200 ") && !strings.HasPrefix(got, "HTTP/1.0 200 ") || !strings.Contains(got, c.want) {
				t.Errorf("%q", got)
			}
			if strings.Contains(got, "Got-Upgrade") {
				t.Error("the upgrade was passed on")
			}
		})
	}
}

func TestMalformedBodies(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	for name, body := range map[string]string{
		"no size":           "\r\nabc\r\n0\r\n\r\n",
		"not hexadecimal":   "z\r\nabc\r\n0\r\n\r\n",
		"signed":            "+3\r\nabc\r\n0\r\n\r\n",
		"0x":                "0x3\r\nabc\r\n0\r\n\r\n",
		"bare LF":           "3\nabc\r\n0\r\n\r\n",
		"LF after data":     "3\r\nabc\n0\r\n\r\n",
		"longer than said":  "3\r\nabcd\r\n0\r\n\r\n",
		"huge size":         "ffffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
		"long extension":    "3;" + strings.Repeat("x", 9000) + "\r\nabc\r\n0\r\n\r\n",
		"bad trailer":       "0\r\n x: y\r\n\r\n",
		"space before size": " 3\r\nabc\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw("POST /iris/ HTTP/1.1\r\nHost: " + base + "\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.HasSuffix(got, "[open]") || strings.Count(got, "HTTP/1.1") != 1 {
				t.Errorf("%q", got)
			}
		})
	}
}

// What follows a request is judged too, wherever the bytes are cut.
func TestPipelining(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	one := "POST /iris/1 HTTP/1.1\r\nHost: " + base + "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\n\r\n"
	two := "POST /iris/2 HTTP/1.1\r\nHost: " + base + "\r\nContent-Length: 6\r\n\r\nsecond"
	bad := "GET /iris/3 HTTP/1.1\r\nHost: " + base + "\r\nX: a\r\n b\r\n\r\n"
	check := func(got string) {
		t.Helper()
		if !strings.Contains(got, "app:first") || !strings.Contains(got, "app:second") || !strings.Contains(got, "HTTP/1.1 400 ") ||
			strings.Count(got, "HTTP/1.1 ") != 3 || strings.HasSuffix(got, "[open]") {
			t.Errorf("%q", got)
		}
	}
	check(r.raw(one + two + bad))
	text := one + two + bad
	c := r.dial()
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := io.ReadAll(c)
	check(string(got))
}

// A refused WebSocket must not leave a connection on which heads go unjudged.
func TestNothingAfterARefusedUpgrade(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	got := r.raw("GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" +
		"GET /iris/2 HTTP/1.1\r\nHost: " + base + "\r\nX: a\r\n b\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 ") != 1 || strings.HasSuffix(got, "[open]") {
		t.Errorf("%q", got)
	}
}

func TestHeaderLimit(t *testing.T) {
	r := start(t)
	r.app("iris", echo)
	const get = "GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\nConnection: close\r\n"
	if got := r.raw(get + "X-Big: " + strings.Repeat("a", 30<<10) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("30 kB: %.100q", got)
	}
	for _, n := range []int{33 << 10, 200 << 10} {
		if got := r.raw(get + "X-Big: " + strings.Repeat("a", n) + "\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") || strings.HasSuffix(got, "[open]") {
			t.Errorf("%d: %.100q", n, got)
		}
	}
	if got := r.raw(get + strings.Repeat("X-Small: aaaaaaaaaaaa\r\n", 3000) + "\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431 ") {
		t.Errorf("many lines: %.100q", got)
	}
}

func TestTimeouts(t *testing.T) {
	r := start(t, func(o *gateway.Options) { o.HeadTimeout, o.IdleTimeout = 100*time.Millisecond, 100*time.Millisecond })
	r.app("iris", echo)
	for name, text := range map[string]string{
		"slow head": "GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\n",
		"silent":    "",
	} {
		if got := r.raw(text); strings.HasSuffix(got, "[open]") {
			t.Errorf("%s: the connection stays open: %q", name, got)
		}
	}
	got := r.raw("GET /iris/ HTTP/1.1\r\nHost: " + base + "\r\n\r\n") // then idle
	if !strings.HasPrefix(got, "HTTP/1.1 200 ") || strings.HasSuffix(got, "[open]") {
		t.Errorf("idle: %q", got)
	}
}

func TestExpectContinue(t *testing.T) {
	r := start(t)
	r.app("iris", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		echo(w, q)
	})
	c := r.dial()
	br := bufio.NewReader(c)
	fmt.Fprintf(c, "POST /iris/ HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", base)
	line, err := br.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = br.ReadString('\n')
	io.WriteString(c, "hello")
	if res, body := readAnswer(t, c, br); res.StatusCode != 200 || body != "app:hello" {
		t.Error(res.Status, body)
	}
	fmt.Fprintf(c, "POST /iris/no HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", base)
	if res, _ := readAnswer(t, c, br); res.StatusCode != 403 {
		t.Error("an early refusal was not passed on:", res.Status)
	}
}
