package gitd_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/proto/gitd"
)

// closed waits until the other side closes.
func (w *sshWorld) closed(c net.Conn) {
	w.t.Helper()
	w.ok(c.SetReadDeadline(time.Now().Add(20 * time.Second)))
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("the connection stays: %v", err)
	}
	_ = c.Close()
}

// Whoever does not sign in has little time, and few places.
func TestSSHConnectionsThatWait(t *testing.T) {
	t.Parallel()
	w := newSSH(t, func(d *gitd.SSH) { d.AddrWaiting = 2 })
	connect := func() net.Conn {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.addr)
		w.ok(err)
		return c
	}
	first, second := connect(), connect()
	for _, c := range []net.Conn{first, second} { // they have their places
		if _, err := io.ReadFull(c, make([]byte, len("SSH-2.0-Slipway"))); err != nil {
			t.Fatal(err)
		}
	}
	w.closed(connect())
	first.Close()
	_, alice := w.key("alice")
	waitFor(t, func() bool {
		c, err := w.dial(alice, nil)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	second.Close()

	w = newSSH(t, func(d *gitd.SSH) { d.SignInTime = 50 * time.Millisecond })
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.addr)
	w.ok(err)
	w.closed(c)
}

// One person's connections leave places for others, with whatever keys.
func TestSSHConnectionsOfAPerson(t *testing.T) {
	t.Parallel()
	w := newSSH(t, func(d *gitd.SSH) { d.PersonConns = 2 })
	_, alice := w.key("alice")
	_, another := w.key("alice")
	_, bob := w.key("bob")
	sessions := func(key ssh.Signer) (*ssh.Client, error) {
		c, err := w.dial(key, nil)
		w.ok(err)
		t.Cleanup(func() { _ = c.Close() })
		s, err := c.NewSession()
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		return c, s.Close()
	}
	first, err := sessions(alice)
	w.ok(err)
	_, err = sessions(another)
	w.ok(err)
	if _, err := sessions(another); err == nil || !strings.Contains(err.Error(), "too many connections") {
		t.Errorf("a third: %v", err)
	}
	_, err = sessions(bob)
	w.ok(err)
	_ = first.Close()
	waitFor(t, func() bool { _, err := sessions(alice); return err == nil })
}

// Who has signed in and does nothing is let go.
func TestSSHIdle(t *testing.T) {
	t.Parallel()
	w := newSSH(t, func(d *gitd.SSH) { d.IdleTime = 100 * time.Millisecond })
	_, alice := w.key("alice")
	c, err := w.dial(alice, nil)
	w.ok(err)
	if err := c.Wait(); err == nil {
		t.Error("it ends without an error")
	}
}

// A push that is all here is worked off without its client, as over HTTP.
func TestSSHClientLeaves(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	began, goOn := make(chan struct{}), make(chan struct{})
	w.answer = func(out io.Writer) error {
		close(began)
		<-goOn
		_, err := fmt.Fprintln(out, "nobody hears this")
		return err
	}
	alice, _ := w.key("alice")
	cmd := w.command(w.work(), append(w.as(alice), "push", w.url("iris"), "main")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	w.ok(cmd.Start())
	<-began
	w.ok(syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
	_ = cmd.Wait()
	close(goOn)
	waitFor(t, func() bool {
		_, err := os.Stat(filepath.Join(w.srv.Root, "iris.git", "refs", "heads", "main"))
		return err == nil
	})
}

// A push that is too big is refused in words.
func TestSSHTooBig(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	w.srv.MaxBytes = 100 << 10
	alice, _ := w.key("alice")
	dir := w.work()
	noise := make([]byte, 4<<20)
	rand.Read(noise)
	w.ok(os.WriteFile(filepath.Join(dir, "noise"), noise, 0o600))
	w.must(dir, "add", "-A")
	w.must(dir, "commit", "-q", "-m", "big")
	out, err := w.git(dir, append(w.as(alice), "push", w.url("iris"), "main")...)
	if err == nil || !strings.Contains(out, "pack exceeds maximum allowed size") {
		t.Errorf("%v\n%s", err, out)
	}
	if w.pushes() != 0 {
		t.Error("it arrived")
	}
}

// Serve ends with its context, also while commands run.
func TestSSHStops(t *testing.T) {
	t.Parallel()
	w := newSSH(t, func(d *gitd.SSH) { d.DrainTime = 10 * time.Millisecond })
	_, alice := w.key("alice")
	c, err := w.dial(alice, nil)
	w.ok(err)
	s, err := c.NewSession()
	w.ok(err)
	in, err := s.StdinPipe()
	w.ok(err)
	defer in.Close()
	w.ok(s.Start("git-receive-pack 'iris'"))
	w.ok(w.stop())
	if err := s.Wait(); err == nil {
		t.Error("a command that was cut off ended well")
	}
}
