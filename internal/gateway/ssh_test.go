package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/platform"
)

// sshRig is a gateway whose connections of SSH go to a core that says who comes,
// and then what it hears.
type sshRig struct {
	*rig
	edge net.Listener
}

func startSSH(t *testing.T, change func(*gateway.Options)) *sshRig {
	t.Helper()
	edge, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &sshRig{start(t, func(o *gateway.Options) {
		o.SSH = edge
		change(o)
	}), edge}
}

func (r *sshRig) connect() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.edge.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// hears wants a line.
func hears(t *testing.T, from *bufio.Reader, want string) {
	t.Helper()
	if line, err := from.ReadString('\n'); err != nil || line != want+"\n" {
		t.Errorf("heard %q %v, not %q", line, err, want)
	}
}

// sshCore serves what gateways hand on.
func sshCore(t *testing.T, l net.Listener) {
	t.Helper()
	g := loop.New(context.Background(), quiet)
	g.Spawn("core", func(context.Context) error {
		for {
			c, err := l.Accept()
			if err != nil {
				return nil //nolint:nilerr // the test ends
			}
			g.Spawn("connection", func(context.Context) error {
				defer c.Close()
				addr, err := dial.Origin(c)
				if err != nil {
					return nil //nolint:nilerr // it shows no certificate
				}
				fmt.Fprintf(c, "hello %s\n", addr)
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintf(c, "heard %s\n", in.Text())
				}
				return nil
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		_ = g.Wait()
	})
}

func unixSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") // short: a socket's path has an end
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "ssh.sock")
}

// A connection goes to the core as it is, with the word of whose it is, and
// waits for a core that is not there yet.
func TestSSHGoesToTheCore(t *testing.T) {
	t.Parallel()
	socket := unixSocket(t)
	r := startSSH(t, func(o *gateway.Options) { o.CoreSSH, o.CoreHold = "unix://"+socket, 20*time.Second })
	c, from := r.connect()
	io.WriteString(c, "before\n")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	sshCore(t, l)
	hears(t, from, "hello 127.0.0.1")
	hears(t, from, "heard before")
	io.WriteString(c, "203.0.113.7\n") // whatever the client says
	hears(t, from, "heard 203.0.113.7")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(from); err != nil || len(rest) > 0 {
		t.Errorf("at the end: %q %v", rest, err)
	}
}

// Where the core stays away, the client is let go.
func TestSSHWithoutACore(t *testing.T) {
	t.Parallel()
	r := startSSH(t, func(o *gateway.Options) { o.CoreSSH, o.CoreHold = "unix:///nowhere/ssh.sock", 30*time.Millisecond })
	_, from := r.connect()
	if got, err := io.ReadAll(from); len(got) > 0 || err != nil {
		t.Errorf("%q %v", got, err)
	}
}

// Between pods both sides show certificates; nobody else gets a word in.
func TestSSHBetweenPods(t *testing.T) {
	t.Parallel()
	ca, err := platform.NewAuthority("internal")
	if err != nil {
		t.Fatal(err)
	}
	identity := func(ca *platform.Authority, name string) *platform.Identity {
		t.Helper()
		dir := t.TempDir()
		leaf, err := ca.Issue(name, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		root, err := ca.PEM()
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{platform.IdentityCert: string(leaf.Cert), platform.IdentityKey: leaf.Key.Reveal(), platform.IdentityCA: string(root.Cert)} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		id, err := platform.OpenIdentity(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sshCore(t, tls.NewListener(raw, identity(ca, platform.NameCore).Server(platform.NameGateway)))
	for name, good := range map[string]bool{platform.NameGateway: true, platform.NamePull: false} {
		id := identity(ca, name)
		r := startSSH(t, func(o *gateway.Options) {
			o.CoreSSH, o.CoreHold, o.Dialer = "tls://"+raw.Addr().String(), time.Second, dial.Dialer{TLS: func() *tls.Config { return id.Client(platform.NameCore) }}
		})
		c, from := r.connect()
		io.WriteString(c, "hi\n")
		if !good {
			if got, _ := io.ReadAll(from); len(got) > 0 {
				t.Errorf("%s is answered %q", name, got)
			}
			continue
		}
		hears(t, from, "hello 127.0.0.1")
		hears(t, from, "heard hi")
	}
}

// sshCoreHere is a core on a socket of this machine, and the endpoint of it.
func sshCoreHere(t *testing.T) string {
	t.Helper()
	socket := unixSocket(t)
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	sshCore(t, l)
	return "unix://" + socket
}

// One address has so many connections, of SSH and HTTP together.
func TestSSHConnectionsOfAnAddress(t *testing.T) {
	t.Parallel()
	core := sshCoreHere(t)
	r := startSSH(t, func(o *gateway.Options) { o.CoreSSH, o.AddressConns = core, 2 })
	first, from := r.connect()
	hears(t, from, "hello 127.0.0.1")
	_, from = r.connect()
	hears(t, from, "hello 127.0.0.1")
	_, from = r.connect()
	if got, _ := io.ReadAll(from); len(got) > 0 {
		t.Errorf("one more hears %q", got)
	}
	first.Close()
	until(t, "there is room again", func() bool {
		_, from := r.connect()
		line, _ := from.ReadString('\n')
		return line == "hello 127.0.0.1\n"
	})
}

// A gateway that stops lets a push end, and waits no longer than for a request.
func TestSSHDrains(t *testing.T) {
	t.Parallel()
	core := sshCoreHere(t)
	r := startSSH(t, func(o *gateway.Options) { o.CoreSSH, o.DrainTime = core, 20*time.Second })
	c, from := r.connect()
	hears(t, from, "hello 127.0.0.1")
	g := loop.New(context.Background(), quiet)
	stopped := make(chan struct{})
	stop := sync.OnceFunc(func() { r.stop(); close(stopped) })
	g.Spawn("stop", func(context.Context) error { stop(); return nil })
	until(t, "no more are taken", func() bool {
		c, err := net.Dial("tcp", r.edge.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	io.WriteString(c, "still here\n")
	hears(t, from, "heard still here")
	c.Close()
	<-stopped
	_ = g.Wait()

	// One that does not end is cut.
	r = startSSH(t, func(o *gateway.Options) { o.CoreSSH, o.DrainTime = core, 30*time.Millisecond })
	_, from = r.connect()
	hears(t, from, "hello 127.0.0.1")
	r.stop()
	if got, _ := io.ReadAll(from); len(got) > 0 {
		t.Errorf("heard %q", got)
	}
}
