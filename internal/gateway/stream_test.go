package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
)

// socketApp echoes messages.
func socketApp(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 24)
	if c.Write(r.Context(), websocket.MessageText, []byte("hello "+r.Header.Get("X-Forwarded-User"))) != nil { // speaks first
		return
	}
	for {
		kind, b, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

func (r *rig) socket(ctx context.Context, url string, headers ...string) (*websocket.Conn, *http.Response, error) {
	h := http.Header{}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: r.transport()}, HTTPHeader: h})
}

func expect(t *testing.T, c *websocket.Conn, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, b, err := c.Read(ctx)
	if err != nil || string(b) != want {
		t.Fatalf("%.100q %v, not %.100q", b, err, want)
	}
}

func TestWebSocket(t *testing.T) {
	r := start(t)
	r.app("chat", socketApp)
	r.restrict("chat")
	c, _, err := r.socket(t.Context(), origin+"/chat/ws", as("alice", base), "Origin: "+origin)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.CloseNow() }()
	c.SetReadLimit(1 << 24)
	expect(t, c, "hello alice")
	for _, msg := range []string{"a", strings.Repeat("x", 1<<20)} {
		if err := c.Write(t.Context(), websocket.MessageText, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		expect(t, c, msg)
	}
	if err := c.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error("a clean close did not come through:", err)
	}
}

func TestWebSocketOfAnotherOrigin(t *testing.T) {
	r := start(t)
	r.app("chat", socketApp)
	r.restrict("chat")
	for o, want := range map[string]int{
		"http://evil.example": 403, "https://" + base: 403, origin + ":81": 403, "null": 403, "http://api-" + base: 403,
		origin: 101, "": 101,
	} {
		headers := []string{as("alice", base)}
		if o != "" {
			headers = append(headers, "Origin: "+o)
		}
		c, res, err := r.socket(t.Context(), origin+"/chat/", headers...)
		if err == nil {
			_ = c.CloseNow()
		}
		if res == nil || res.StatusCode != want {
			t.Errorf("origin %q: %v %v, not %d", o, res, err, want)
		}
	}
	if _, res, err := r.socket(t.Context(), origin+"/chat/"); err == nil || res.StatusCode != 401 {
		t.Error("a socket without a session:", err)
	}
}

// A socket and a stream end within two seconds of the right to have them.
func TestCutWhenTheRightEnds(t *testing.T) {
	ends := map[string]func(p *link.Policy){
		"session revoked": func(p *link.Policy) { p.Revoked["ses_bob"] = time.Now().Add(time.Hour) },
		"person gone":     func(p *link.Policy) { delete(p.People, "user_bob") },
		"sessions void":   func(p *link.Policy) { p.People["user_bob"] = link.Person{Name: "bob", Epoch: 2} },
		"grant withdrawn": func(p *link.Policy) { x := p.Routes["chat"]; x.Viewers = nil; p.Routes["chat"] = x },
		"app deleted":     func(p *link.Policy) { delete(p.Routes, "chat") },
		"app made anew":   func(p *link.Policy) { x := p.Routes["chat"]; x.App = "app_new"; p.Routes["chat"] = x },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t)
			r.app("chat", func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path == "/ws" {
					socketApp(w, q)
					return
				}
				io.WriteString(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				<-q.Context().Done()
			})
			r.restrict("chat")
			r.route("chat", func(x *link.Route) { x.Viewers = []slipway.UserID{"user_bob"} })
			bob, _, err := r.socket(t.Context(), origin+"/chat/ws", as("bob", base))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = bob.CloseNow() }()
			alice, _, err := r.socket(t.Context(), origin+"/chat/ws", as("alice", base))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = alice.CloseNow() }()
			expect(t, bob, "hello bob")
			expect(t, alice, "hello alice")
			req, _ := http.NewRequest("GET", origin+"/chat/events", nil)
			req.Header.Set("Cookie", "slipway-session="+token("ses_bob", "user_bob", 1, base))
			res, err := r.transport().RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "data: 1\n" {
				t.Fatal(line, err)
			}
			r.change(end)
			began := time.Now()
			if _, _, err := bob.Read(t.Context()); err == nil {
				t.Error("the socket goes on")
			}
			if _, err := io.ReadAll(res.Body); err == nil {
				t.Error("the stream ended as if it were whole")
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Error("cut after", took)
			}
			if strings.HasPrefix(name, "app") {
				return
			}
			_ = alice.Write(t.Context(), websocket.MessageText, []byte("still"))
			expect(t, alice, "still")
		})
	}
}

// Both directions stream: each part arrives before the next is sent.
func TestStreams(t *testing.T) {
	for _, proto := range []string{"1.1", "2"} {
		t.Run("HTTP/"+proto, func(t *testing.T) {
			r := start(t, withTLS)
			r.app("iris", func(w http.ResponseWriter, q *http.Request) {
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				_ = rc.Flush()
				br := bufio.NewReader(q.Body)
				for {
					line, err := br.ReadString('\n')
					if err != nil {
						return
					}
					fmt.Fprint(w, "echo ", line)
					_ = rc.Flush()
				}
			})
			tr := r.transport()
			tr.ForceAttemptHTTP2 = proto == "2"
			pr, pw := io.Pipe()
			req, _ := http.NewRequest("POST", "https://"+base+"/iris/", pr)
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.Proto != "HTTP/"+proto && res.Proto != "HTTP/"+proto+".0" {
				t.Fatal(res.Proto)
			}
			br := bufio.NewReader(res.Body)
			for i := range 5 {
				fmt.Fprintf(pw, "line %d\n", i)
				if got, err := br.ReadString('\n'); err != nil || got != fmt.Sprintf("echo line %d\n", i) {
					t.Fatal(got, err)
				}
			}
			_ = pw.Close()
			if _, err := br.ReadByte(); err != io.EOF {
				t.Error(err)
			}
		})
	}
}

func TestBigBodies(t *testing.T) {
	r := start(t)
	r.app("iris", func(w http.ResponseWriter, q *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else net/http eats a part of the body
		n, err := io.Copy(w, q.Body)
		if err != nil || n != 32<<20 {
			t.Error(n, err)
		}
	})
	for _, known := range []bool{true, false} {
		req, _ := http.NewRequest("POST", origin+"/iris/", io.LimitReader(neverEnding{}, 32<<20))
		if known {
			req.ContentLength = 32 << 20
		}
		res, err := r.transport().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || n != 32<<20 {
			t.Error(n, err)
		}
		res.Body.Close()
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// A torn answer must not look whole.
func TestTornAnswer(t *testing.T) {
	r := start(t)
	r.app("iris", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	req, _ := http.NewRequest("GET", origin+"/iris/", nil)
	res, err := r.transport().RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err == nil || string(b) != "half" {
		t.Error(string(b), err)
	}
}

func TestTLS(t *testing.T) {
	r := start(t, withTLS)
	r.app("iris", echo)
	dial := func(c *tls.Config) (*tls.Conn, error) {
		c.InsecureSkipVerify = true
		return tls.Dial("tcp", r.addr, c)
	}
	for name, c := range map[string]*tls.Config{
		"TLS 1.1":    {MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10},
		"CBC":        {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}},
		"no forward": {MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
	} {
		if c, err := dial(c); err == nil {
			_ = c.Close()
			t.Error("accepted:", name)
		}
	}
	for _, suite := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256} {
		c, err := dial(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
		if err != nil {
			t.Error(err)
			continue
		}
		_ = c.Close()
	}
	// The rules for heads hold inside TLS too.
	c, err := dial(&tls.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fmt.Fprintf(c, "GET /iris/ HTTP/1.1\r\nHost: %s\r\nX: a\r\n b\r\n\r\n", base)
	if got, _ := io.ReadAll(c); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
		t.Errorf("%q", got)
	}
	if res := r.ask("GET", "https://"+base+"/iris/x"); res.Header.Get("Got-X-Forwarded-Proto") != "https" {
		t.Error(res.Header)
	}
	tr := r.transport()
	tr.ForceAttemptHTTP2 = true
	for path, want := range map[string]int{"/iris/x": 200, "/iris//x": 400, "/iris/a%2fb": 400, "/none/": 401} {
		req, _ := http.NewRequest("GET", "https://"+base+path, nil)
		req.Header.Set("X_Forwarded_User", "mallory")
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.ProtoMajor != 2 || res.StatusCode != want || res.Header.Get("Got-X_forwarded_user") != "" {
			t.Error(path, res.Proto, res.Status, res.Header)
		}
	}
}

// Requests under way end well when the gateway stops; sockets are cut.
func TestDrain(t *testing.T) {
	r := start(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	r.app("iris", func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/ws" {
			socketApp(w, q)
			return
		}
		close(begun)
		<-finish
		io.WriteString(w, "done")
	})
	ws, _, err := r.socket(t.Context(), origin+"/iris/ws")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	expect(t, ws, "hello ")
	g := loop.New(t.Context(), quiet)
	got := make(chan answer, 1)
	g.Go("request", func(context.Context) error { got <- r.ask("GET", origin+"/iris/slow"); return nil })
	<-begun
	g.Go("stop", func(context.Context) error { r.stop(); return nil })
	until(t, "no more connections", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(finish)
	if a := <-got; a.StatusCode != 200 || a.body != "done" {
		t.Error(a.Status, a.body)
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if _, _, err := ws.Read(t.Context()); err == nil {
		t.Error("the socket goes on")
	}
}
