package gateway_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
)

const base = "slipway.localhost"

var quiet = slog.New(slog.DiscardHandler)

// core stands for the other end of the link.
type core struct {
	policy  atomic.Pointer[link.Policy]
	away    atomic.Bool // does not answer
	silent  atomic.Int64
	asked   atomic.Int64 // for tokens
	denied  atomic.Bool
	expires time.Duration
}

func (c *core) Policy() *link.Policy { return c.policy.Load() }
func (c *core) Contact() time.Time   { return time.Now().Add(-time.Duration(c.silent.Load())) }

func (c *core) Exchange(_ context.Context, code, host string) (string, time.Time, error) {
	switch {
	case c.away.Load():
		return "", time.Time{}, errs.Unavailable("away")
	case code != "good":
		return "", time.Time{}, errs.NotFound("no such code")
	}
	return token("ses_new", "user_bob", 1, host), time.Now().Add(time.Hour), nil
}

func (c *core) AppTokens(_ context.Context, sid slipway.SessionID, app slipway.AppID) (link.Tokens, error) {
	c.asked.Add(1)
	switch {
	case c.away.Load():
		return link.Tokens{}, errs.Unavailable("away")
	case c.denied.Load():
		return link.Tokens{}, errs.Unauthenticated("over")
	}
	return link.Tokens{IDToken: secret.New("id." + string(sid) + "." + string(app)), AccessToken: secret.New("access"), Expires: time.Now().Add(c.expires)}, nil
}

// change edits the policy as a new version of the table would.
func (c *core) change(fn func(p *link.Policy)) {
	p := *c.policy.Load()
	p.Version++
	p.Routes, p.People, p.Revoked = maps.Clone(p.Routes), maps.Clone(p.People), maps.Clone(p.Revoked)
	fn(&p)
	c.policy.Store(&p)
}

func (c *core) route(name string, fn func(r *link.Route)) {
	c.change(func(p *link.Policy) {
		r := p.Routes[name]
		fn(&r)
		p.Routes[name] = r
	})
}

// token is a session token that verify understands.
func token(sid, user string, epoch int, host string) string {
	return strings.Join([]string{"valid", sid, user, strconv.Itoa(epoch), host}, "|")
}

func verify(_ []link.SessionKey, s string, _ time.Time) (session.Claims, error) {
	f := strings.Split(s, "|")
	if len(f) != 5 || f[0] != "valid" {
		return session.Claims{}, errors.New("the signature does not hold")
	}
	epoch, err := strconv.ParseInt(f[3], 10, 64)
	return session.Claims{Session: slipway.SessionID(f[1]), User: slipway.UserID(f[2]), Epoch: epoch, Host: f[4], Expires: time.Now().Add(time.Hour)}, err
}

// rig is a gateway on a real socket, with the core and apps behind it.
type rig struct {
	*core
	t    testing.TB
	addr string
	tls  bool
	srv  *gateway.Server
	stop func()
}

func start(t testing.TB, options ...func(*gateway.Options)) *rig {
	t.Helper()
	c := &core{expires: time.Hour}
	c.policy.Store(&link.Policy{
		Version: 1, Epoch: "e", Hosts: slipway.Hosts{Scheme: "http", Base: base},
		Keys: []link.SessionKey{{ID: "k"}}, Routes: map[string]link.Route{}, Platform: map[string]string{},
		People: map[slipway.UserID]link.Person{
			"user_alice": {Name: "alice", Email: "alice@example.com", FullName: "Alice Ünal", Epoch: 1, Roles: []slipway.Role{slipway.RoleLicensed}},
			"user_bob":   {Name: "bob", Epoch: 1},
			"user_admin": {Name: "root", Epoch: 1, Roles: []slipway.Role{slipway.RoleAdmin}},
		},
		Revoked: map[slipway.SessionID]time.Time{},
	})
	o := gateway.Options{Policy: c, Verify: verify, Log: quiet, Hold: 200 * time.Millisecond, DrainTime: 5 * time.Second}
	for _, fn := range options {
		fn(&o)
	}
	if o.TLS != nil {
		c.change(func(p *link.Policy) { p.Hosts.Scheme = "https" })
	}
	srv, err := gateway.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := loop.New(context.Background(), quiet)
	ctx, cancel := context.WithCancel(context.Background())
	g.Go("gateway", func(context.Context) error { return srv.Serve(ctx, l) })
	r := &rig{core: c, t: t, addr: l.Addr().String(), tls: o.TLS != nil, srv: srv}
	r.stop = func() {
		cancel()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

func withTLS(o *gateway.Options) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{base}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	o.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// app serves h as a replica and puts it into the route; the route is made, open
// to everyone, when there is none.
func (r *rig) app(name string, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	r.t.Cleanup(s.Close)
	r.route(name, func(x *link.Route) {
		if x.App == "" {
			*x = link.Route{App: slipway.AppID("app_" + name), Name: name, Access: slipway.AccessUnauthenticated}
		}
		x.State = slipway.AppRunning
		x.Targets = []link.Target{{ID: "web-v1.0", Endpoint: "tcp://" + s.Listener.Addr().String()}}
	})
	return s
}

// restrict closes an app to everybody but alice, its owner.
func (r *rig) restrict(name string) {
	r.route(name, func(x *link.Route) {
		x.Access, x.Owners = slipway.AccessRestricted, []slipway.UserID{"user_alice"}
	})
}

// transport dials the gateway whatever the URL's host is.
func (r *rig) transport() *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", r.addr)
		},
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		DisableCompression:  true,
		MaxIdleConnsPerHost: 100,
	}
	r.t.Cleanup(t.CloseIdleConnections)
	return t
}

type answer struct {
	*http.Response
	body string
}

// ask sends a request; headers are "Name: value" lines.
func (r *rig) ask(method, url string, headers ...string) answer {
	r.t.Helper()
	return r.send(method, url, nil, headers...)
}

func (r *rig) send(method, url string, body io.Reader, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := r.transport().RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{res, string(text)}
}

// as is the cookie line of a person's session on a host.
func as(user, host string) string {
	return "Cookie: slipway-session=" + token("ses_"+user, "user_"+user, 1, host)
}

const page = "Accept: text/html"

// raw sends bytes as they are and returns all that comes back until the
// gateway closes, or the first answer's bytes when it does not.
func (r *rig) raw(text string) string {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	out, err := io.ReadAll(c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return string(out) + "[open]"
	}
	return string(out)
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func readAnswer(t testing.TB, c net.Conn, br *bufio.Reader) (*http.Response, string) {
	t.Helper()
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !fn(); {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
		_ = loop.Sleep(t.Context(), 2*time.Millisecond)
	}
}

// echo answers with what the app got.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Uri", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	for name, values := range r.Header {
		w.Header().Set("Got-"+name, strings.Join(values, "|"))
	}
	body, _ := io.ReadAll(r.Body)
	w.Write(append([]byte("app:"), body...))
}
