package gitd

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// SSH is the door for SSH. It knows people by their keys alone, and offers
// nothing but git: no shell, no terminal, no forwarding of anything.
type SSH struct {
	Git     *Server
	HostKey ssh.Signer
	// Person returns a context that carries the person whose key has this
	// fingerprint, and the person's name; Unauthenticated when it is nobody's.
	// proven says that the client has shown to have the key's private part. It is
	// asked again for each command: a key may be removed meanwhile.
	Person func(ctx context.Context, fingerprint, addr string, proven bool) (_ context.Context, name string, err error)
	// Refused is told of a connection that showed keys of nobody.
	Refused func(ctx context.Context, addr string) error
	// Origin returns who is at the other end of a connection, and may read that
	// from it; nil = whom the connection says.
	Origin  func(net.Conn) (netip.Addr, error)
	Address string // how this door is called, ssh://git@host:port
	Log     *slog.Logger

	Waiting     int           // most connections that have not signed in (128)
	AddrWaiting int           // most of those from one address (16)
	PersonConns int           // most connections that one person has signed in on (32)
	SignInTime  time.Duration // to sign in (20 s)
	IdleTime    time.Duration // without a byte either way (10 min)
	DrainTime   time.Duration // for commands under way when Serve is to end (3 s)
}

const (
	sshUser     = "git"
	maxSessions = 10 // of one connection, at once
	keyTries    = 6
	fingerprint = "fingerprint" // of the key that signed in, in what the library keeps for a connection
	person      = "person"      // whose key it is, there too
)

func (s *SSH) defaults() {
	for _, d := range []struct {
		to *time.Duration
		v  time.Duration
	}{{&s.SignInTime, 20 * time.Second}, {&s.IdleTime, 10 * time.Minute}, {&s.DrainTime, 3 * time.Second}} {
		if *d.to == 0 {
			*d.to = d.v
		}
	}
	if s.Waiting == 0 {
		s.Waiting = 128
	}
	if s.AddrWaiting == 0 {
		s.AddrWaiting = 16
	}
	if s.PersonConns == 0 {
		s.PersonConns = 32
	}
	if s.Origin == nil {
		s.Origin = func(c net.Conn) (netip.Addr, error) {
			ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
			return ap.Addr(), err
		}
	}
}

// Serve answers on l until ctx ends; then it takes no more connections, and
// cuts off what does not end within DrainTime.
func (s *SSH) Serve(ctx context.Context, l net.Listener) error {
	s.defaults()
	in := &inside{
		waiting: crowd[netip.Addr]{most: s.Waiting, mostOfOne: s.AddrWaiting, of: map[netip.Addr]int{}},
		people:  crowd[string]{most: math.MaxInt, mostOfOne: s.PersonConns, of: map[string]int{}},
	}
	outer, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	g := loop.New(outer, s.Log)
	err := loop.Run(ctx,
		func(ctx context.Context) error {
			<-ctx.Done()
			return l.Close()
		},
		func(ctx context.Context) error {
			wait := loop.Backoff{Min: 5 * time.Millisecond, Max: time.Second}
			for {
				c, err := l.Accept()
				switch {
				case ctx.Err() != nil:
					if err == nil {
						c.Close()
					}
					return nil
				case errors.Is(err, net.ErrClosed):
					return err
				case err != nil: // no descriptors left, say
					s.Log.ErrorContext(ctx, "a connection could not be accepted", "error", err)
					_ = wait.Wait(ctx)
					continue
				}
				wait.Reset()
				g.Spawn("ssh", func(ctx context.Context) error { return s.serve(ctx, g, c, in) })
			}
		})
	stop := time.AfterFunc(s.DrainTime, cut)
	defer stop.Stop()
	return errors.Join(err, g.Wait())
}

// serve serves one connection. What goes wrong with it is the client's.
func (s *SSH) serve(ctx context.Context, g *loop.Group, raw net.Conn, in *inside) error {
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	_ = raw.SetDeadline(time.Now().Add(s.SignInTime))
	origin, err := s.Origin(raw)
	if err != nil {
		s.Log.DebugContext(ctx, "a connection does not say where it comes from", "error", err)
		return nil
	}
	leave, ok := in.waiting.enter(network(origin))
	if !ok {
		s.Log.WarnContext(ctx, "too many connections that have not signed in: one more is closed", "remote", origin)
		return nil
	}
	defer leave()
	c := &idleConn{Conn: raw, idle: s.IdleTime}
	door := &signIn{SSH: s, addr: origin.Unmap().String()}
	conn, channels, requests, err := ssh.NewServerConn(c, door.config(ctx))
	if err != nil {
		return door.failed(ctx, err)
	}
	// Those are for forwarding and such, and to see whether we are there.
	g.Spawn("ssh requests", func(context.Context) error { ssh.DiscardRequests(requests); return nil })
	name := conn.Permissions.Extensions[person]
	part, ok := in.people.enter(name)
	if !ok {
		s.Log.WarnContext(ctx, "a person has too many connections: one more is closed", "person", name, "remote", origin)
		for ch := range channels {
			_ = ch.Reject(ssh.ResourceShortage, "you have too many connections already")
		}
		return nil
	}
	defer part()
	leave()
	c.signedIn()
	who := &visitor{SSH: s, g: g, addr: door.addr, key: conn.Permissions.Extensions[fingerprint]}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ch := range channels {
		who.open(ctx, ch)
	}
	return nil
}

// signIn is one connection's way in.
type signIn struct {
	*SSH
	addr    string
	strange bool // keys were shown, and none is known
	known   bool
	ours    bool // something failed that is not the client's
}

// config allows keys only, and no algorithm that is known to be weak.
func (d *signIn) config(ctx context.Context) *ssh.ServerConfig {
	cfg := &ssh.ServerConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519},
			Ciphers:      []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherAES256CTR},
			MACs:         []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM},
		},
		PublicKeyAuthAlgorithms: []string{
			ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
			ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512,
		},
		MaxAuthTries: keyTries, ServerVersion: "SSH-2.0-Slipway",
		BannerCallback: func(c ssh.ConnMetadata) string {
			if c.User() == sshUser {
				return ""
			}
			return "The user name here is " + sshUser + ", for everybody: " + d.Address + "\r\n"
		},
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if c.User() != sshUser {
				return nil, errNotIn
			}
			// Whoever shows a key need not have it: what is to be known of the one that
			// signs in the end is kept with the permissions.
			print := ssh.FingerprintSHA256(key)
			_, name, err := d.Person(ctx, print, d.addr, false)
			if err != nil {
				if errs.KindOf(err) != errs.KindUnauthenticated {
					d.ours = true
					d.Log.ErrorContext(ctx, "a sign-in by SSH failed", "error", err)
				}
				d.strange = true
				return nil, errNotIn
			}
			d.known = true
			return &ssh.Permissions{Extensions: map[string]string{fingerprint: print, person: name}}, nil
		},
	}
	cfg.AddHostKey(d.HostKey)
	return cfg
}

var errNotIn = errors.New("not signed in")

// failed counts what may be guesses: connections that showed keys of nobody.
func (d *signIn) failed(ctx context.Context, err error) error {
	d.Log.DebugContext(ctx, "nobody signed in by SSH", "remote", d.addr, "error", err)
	if !d.strange || d.known || d.ours || ctx.Err() != nil {
		return nil
	}
	return d.Refused(ctx, d.addr)
}

// inside are the connections that there are: those that have not signed in, by
// address, and the others by person. Each of them takes memory.
type inside struct {
	waiting crowd[netip.Addr]
	people  crowd[string]
}

// network is what counts as one address: of IPv6, a customer's network.
func network(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap(); addr.Is6() {
		addr = netip.PrefixFrom(addr.WithZone(""), 64).Masked().Addr()
	}
	return addr
}

// crowd counts connections, so that nobody can shut the others out by opening
// many.
type crowd[K comparable] struct {
	most, mostOfOne int

	mu  sync.Mutex
	all int
	of  map[K]int
}

// enter counts a connection until leave is called, which may be called twice;
// ok is false when there are too many.
func (w *crowd[K]) enter(who K) (leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= w.most || w.of[who] >= w.mostOfOne {
		return nil, false
	}
	w.all++
	w.of[who]++
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all--
		if w.of[who]--; w.of[who] == 0 {
			delete(w.of, who)
		}
	}), true
}

// idleConn ends when nothing comes or goes for some time, once it is signed in.
type idleConn struct {
	net.Conn
	idle time.Duration
	in   atomic.Bool
}

func (c *idleConn) signedIn() {
	c.in.Store(true)
	c.extend()
}

func (c *idleConn) extend() {
	if c.in.Load() {
		_ = c.SetDeadline(time.Now().Add(c.idle))
	}
}

func (c *idleConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.extend()
	return n, err
}

func (c *idleConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.extend()
	return n, err
}
