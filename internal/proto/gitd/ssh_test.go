package gitd_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/proto/gitd"
)

// sshWorld is a world with a door for SSH.
type sshWorld struct {
	*world
	addr  string
	known string // file of known hosts
	host  ssh.PublicKey
	stop  func() error

	mu      sync.Mutex
	people  map[string]string // by fingerprint of the key
	refused []string
	proven  map[string]int // commands, by person
}

func newSSH(t *testing.T, change func(*gitd.SSH)) *sshWorld {
	t.Helper()
	w := &sshWorld{world: newWorld(t), people: map[string]string{}, proven: map[string]int{}}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	host, err := ssh.NewSignerFromKey(private)
	w.ok(err)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	w.ok(err)
	w.addr, w.host, w.known = l.Addr().String(), host.PublicKey(), filepath.Join(w.home, "known_hosts")
	name, port, _ := net.SplitHostPort(w.addr)
	w.ok(os.WriteFile(w.known, fmt.Appendf(nil, "[%s]:%s %s", name, port, ssh.MarshalAuthorizedKey(w.host)), 0o600))
	door := &gitd.SSH{
		Git: w.srv, HostKey: host, Address: "ssh://git@" + w.addr, Log: slog.New(slog.DiscardHandler), Person: w.person,
		Refused: func(_ context.Context, addr string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refused = append(w.refused, addr)
			return nil
		},
	}
	if change != nil {
		change(door)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g := loop.New(ctx, slog.New(slog.DiscardHandler))
	g.Go("ssh", func(ctx context.Context) error { return door.Serve(ctx, l) })
	w.stop = sync.OnceValue(func() error { cancel(); return g.Wait() })
	t.Cleanup(func() { w.ok(w.stop()) })
	return w
}

func (w *sshWorld) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *sshWorld) person(ctx context.Context, fingerprint, _ string, proven bool) (context.Context, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := w.people[fingerprint]
	if who == "" {
		return ctx, "", errs.Unauthenticated("this SSH key is not known")
	}
	if proven {
		w.proven[who]++
	}
	return context.WithValue(ctx, personKey{}, who), who, nil
}

// key makes a key of somebody's; without a name it is known to nobody. The file
// is for ssh, the signer for what ssh would not do.
func (w *sshWorld) key(who string) (file string, signer ssh.Signer) {
	w.t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	block, err := ssh.MarshalPrivateKey(private, "")
	w.ok(err)
	f, err := os.CreateTemp(w.home, "key-*")
	w.ok(err)
	w.ok(errors.Join(pem.Encode(f, block), f.Close()))
	signer, err = ssh.NewSignerFromKey(private)
	w.ok(err)
	if who != "" {
		w.mu.Lock()
		w.people[ssh.FingerprintSHA256(signer.PublicKey())] = who
		w.mu.Unlock()
	}
	return f.Name(), signer
}

// as is git's environment of somebody who comes with a key.
func (w *sshWorld) as(key string) []string {
	return []string{"-c", "core.sshCommand=ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=" + w.known + " -i " + key}
}

func (w *sshWorld) url(repo string) string { return "ssh://git@" + w.addr + "/" + repo }

// work is a work tree with one commit.
func (w *sshWorld) work() string {
	w.t.Helper()
	dir := w.t.TempDir()
	w.must(dir, "init", "-q", "-b", "main")
	w.ok(os.WriteFile(filepath.Join(dir, "app.py"), []byte("print('hello')\n"), 0o600))
	w.must(dir, "add", "-A")
	w.must(dir, "commit", "-q", "-m", "first")
	return dir
}

// What works over HTTP works over SSH, with the same words.
func TestSSHPushAndClone(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	w.answer = func(out io.Writer) error {
		_, err := fmt.Fprintf(out, "→ environment\nhttps://apps.example.com/iris/\n")
		return err
	}
	alice, _ := w.key("alice")
	dir := w.work()
	out := w.must(dir, append(w.as(alice), "push", w.url("iris"), "main")...)
	for _, want := range []string{"remote: → environment", "remote: https://apps.example.com/iris/", "[new branch]"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in what git says:\n%s", want, out)
		}
	}
	if w.files["app.py"] != "print('hello')\n" {
		t.Errorf("received %v", w.files)
	}
	to := t.TempDir()
	cmd := w.command(to, append(w.as(alice), "clone", "-q", w.url("iris.git"), "copy")...)
	cmd.Env = append(cmd.Env, "GIT_TRACE_PACKET=1")
	said, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(said, []byte("version 2")) {
		t.Errorf("%v, or not by version 2:\n%s", err, said)
	}
	if got, err := os.ReadFile(filepath.Join(to, "copy", "app.py")); string(got) != "print('hello')\n" {
		t.Errorf("the clone has %q %v", got, err)
	}
	// Over HTTP it is the same repository.
	w.must(filepath.Join(to, "copy"), "fetch", "-q", w.remote("alice", "iris"), "main")
	w.answer = func(io.Writer) error { return errs.Invalid("there is no Procfile") }
	w.must(dir, "commit", "-q", "--allow-empty", "-m", "second")
	out, err = w.git(dir, append(w.as(alice), "push", w.url("iris"), "main")...)
	if err == nil || !strings.Contains(out, "remote: there is no Procfile") || !strings.Contains(out, "pre-receive hook declined") {
		t.Errorf("%v\n%s", err, out)
	}
	if w.proven["alice"] != 3 {
		t.Errorf("asked for the person %d times, wanted once for each command", w.proven["alice"])
	}
}

// The programs that people have are refused what is not git, and told so.
func TestSSHRefusesWhatIsNotGit(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	alice, _ := w.key("alice")
	viewer, _ := w.key("viewer")
	mallory, _ := w.key("mallory")
	nobody, _ := w.key("")
	dir := w.work()
	w.must(dir, append(w.as(alice), "push", w.url("iris"), "main")...)
	host, port, _ := net.SplitHostPort(w.addr)
	run := func(key string, program string, args ...string) (string, error) {
		cmd := w.command(dir)
		cmd.Path, cmd.Err = "/usr/bin/"+program, nil
		cmd.Args = append([]string{program, "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + w.known, "-i", key}, args...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	git := func(args ...string) func(string) (string, error) {
		return func(key string) (string, error) { return w.git(dir, append(w.as(key), args...)...) }
	}
	shell := func(args ...string) func(string) (string, error) {
		return func(key string) (string, error) {
			return run(key, "ssh", append([]string{"-p", port}, args...)...)
		}
	}
	for name, tc := range map[string]struct {
		key  string
		do   func(key string) (string, error)
		want string
	}{
		"a key of nobody":      {nobody, git("ls-remote", w.url("iris")), "Permission denied (publickey)"},
		"another user":         {alice, shell("root@" + host), "The user name here is git"},
		"a shell":              {alice, shell("git@" + host), "Hi alice, your key is known. There is no shell here"},
		"a terminal":           {alice, shell("-tt", "git@"+host), "PTY allocation request failed"},
		"another program":      {alice, shell("git@"+host, "cat /etc/passwd"), "git only"},
		"a chain of programs":  {alice, shell("git@"+host, "git-upload-pack 'iris'; id"), "no such repository"},
		"an option for git":    {alice, shell("git@"+host, "git-upload-pack '--upload-pack=id'"), "no such repository"},
		"forwarding out":       {alice, shell("-W", "127.0.0.1:1", "git@"+host), "only git is served here"},
		"forwarding in":        {alice, shell("-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "git@"+host), "remote port forwarding failed"},
		"a viewer's push":      {viewer, git("push", w.url("iris"), "main"), "fatal: remote error: you may look at iris, not change it"},
		"what is hidden":       {mallory, git("ls-remote", w.url("iris")), `fatal: remote error: no app named "iris"`},
		"what is not there":    {mallory, git("ls-remote", w.url("lily")), `fatal: remote error: no app named "lily"`},
		"a path of two parts":  {alice, git("ls-remote", w.url("a/iris")), "remote error: no such repository"},
		"somebody's home":      {alice, git("ls-remote", w.url("~root/iris")), "remote error: no such repository"},
		"a way out":            {alice, git("ls-remote", "ssh://git@"+w.addr+"/..%2firis"), "remote error: no such repository"},
		"an archive of a tree": {alice, git("archive", "--remote="+w.url("iris"), "main"), "git only"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := tc.do(tc.key)
			if err == nil || !strings.Contains(out, tc.want) {
				t.Errorf("%v, wanted %q in:\n%s", err, tc.want, out)
			}
		})
	}
	if out, err := run(alice, "sftp", "-P", port, "git@"+host); err == nil {
		t.Errorf("sftp works:\n%s", out)
	}
	if w.pushes() != 1 {
		t.Errorf("%d pushes arrived", w.pushes())
	}
	if n, _ := filepath.Glob(filepath.Join(w.srv.Root, "*.git")); len(n) != 1 {
		t.Errorf("repositories: %v", n)
	}
}

// dial connects as a program could that is not ssh.
func (w *sshWorld) dial(signer ssh.Signer, change func(*ssh.ClientConfig)) (*ssh.Client, error) {
	cfg := &ssh.ClientConfig{User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(w.host)}
	if change != nil {
		change(cfg)
	}
	return ssh.Dial("tcp", w.addr, cfg)
}

// run runs a line in a session of its own, and returns what came on both ways,
// and with which code it ended.
func (w *sshWorld) run(c *ssh.Client, line string) (out string, code int) {
	w.t.Helper()
	s, err := c.NewSession()
	w.ok(err)
	defer s.Close() //nolint:errcheck // the test is over
	var both bytes.Buffer
	in, err := s.StdinPipe()
	w.ok(err)
	s.Stdout = &both
	said, err := s.StderrPipe()
	w.ok(err)
	w.ok(s.Start(line))
	_, _ = io.WriteString(in, "0000") // nothing is wanted
	_ = in.Close()
	text, err := io.ReadAll(said)
	w.ok(err)
	err = s.Wait()
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitStatus()
	} else if err != nil {
		w.t.Fatal(err)
	}
	return both.String() + string(text), code
}

// Lines are read without a shell, and there are exactly two good ones.
func TestSSHCommands(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	file, alice := w.key("alice")
	w.must(w.work(), append(w.as(file), "push", w.url("iris"), "main")...)
	c, err := w.dial(alice, nil)
	w.ok(err)
	defer c.Close() //nolint:errcheck // the test is over
	const refs, none, other = "refs/heads/main", "no such repository", "git only"
	for line, tc := range map[string]struct {
		want string
		code int
	}{
		"git-upload-pack 'iris'":                                {refs, 0},
		"git-upload-pack '/iris'":                               {refs, 0},
		"git-upload-pack '/iris.git'":                           {refs, 0},
		"git-upload-pack '/iris/'":                              {refs, 0},
		"git-receive-pack '/iris'":                              {refs, 0},
		"git-upload-pack '/iris.git.git'":                       {"", 0}, // another, which may be made
		"git-upload-pack iris":                                  {none, 1},
		"git-upload-pack ''":                                    {none, 1},
		"git-upload-pack '/'":                                   {none, 1},
		"git-upload-pack '//iris'":                              {none, 1},
		"git-upload-pack \"iris\"":                              {none, 1},
		"git-upload-pack 'iris' 'iris'":                         {none, 1},
		"git-upload-pack --strict 'iris'":                       {none, 1},
		"git-upload-pack -- 'iris'":                             {none, 1},
		"git-upload-pack '-iris'":                               {none, 1},
		"git-upload-pack '--help'":                              {none, 1},
		"git-upload-pack 'iris'\n":                              {none, 1},
		"git-upload-pack 'iris\n'":                              {none, 1},
		"git-upload-pack 'iris\x00'":                            {none, 1},
		"git-upload-pack 'iris'|id":                             {none, 1},
		"git-upload-pack '$(id)'":                               {none, 1},
		"git-upload-pack 'ir'\\''is'":                           {none, 1},
		"git-upload-pack '../iris'":                             {none, 1},
		"git-upload-pack '..'":                                  {none, 1},
		"git-upload-pack '.'":                                   {none, 1},
		"git-upload-pack '.hooks'":                              {none, 1},
		"git-upload-pack 'a..b'":                                {none, 1},
		"git-upload-pack '/srv/repos/iris.git'":                 {none, 1},
		"git-upload-pack '" + strings.Repeat("a", 65) + "'":     {none, 1},
		"git-upload-pack 'Iris'":                                {"lowercase", 1},
		" git-upload-pack 'iris'":                               {other, 127},
		"git upload-pack 'iris'":                                {other, 127},
		"GIT_DIR=/ git-upload-pack 'iris'":                      {other, 127},
		"git-upload-pack":                                       {other, 127},
		"git-upload-packs 'iris'":                               {other, 127},
		"git-upload-archive 'iris'":                             {other, 127},
		"/usr/bin/git-upload-pack 'iris'":                       {other, 127},
		"scp -t /tmp":                                           {other, 127},
		"git-lfs-authenticate iris upload":                      {other, 127},
		"sh -c 'git-upload-pack iris'":                          {other, 127},
		"":                                                      {other, 1},
		"git-receive-pack '" + strings.Repeat("x", 1<<16) + "'": {none, 1},
	} {
		out, code := w.run(c, line)
		if code != tc.code || !strings.Contains(out, tc.want) {
			t.Errorf("%.60q ends with %d and %.200q, wanted %d and %q", line, code, out, tc.code, tc.want)
		}
	}
}

// A session takes git's one variable and nothing else.
func TestSSHSessions(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	_, alice := w.key("alice")
	c, err := w.dial(alice, nil)
	w.ok(err)
	defer c.Close() //nolint:errcheck // the test is over
	s, err := c.NewSession()
	w.ok(err)
	defer s.Close() //nolint:errcheck // the test is over
	for name, want := range map[string]bool{"GIT_PROTOCOL": true, "GIT_DIR": false, "GIT_CONFIG_COUNT": false, "LD_PRELOAD": false, "LANG": false, "": false} {
		if err := s.Setenv(name, "version=2"); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, kind := range []string{"pty-req", "x11-req", "auth-agent-req@openssh.com", "subsystem", "window-change", "signal", "env"} {
		if took, err := s.SendRequest(kind, true, nil); took || err != nil {
			t.Errorf("%s: %v %v", kind, took, err)
		}
	}
	for _, kind := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "x11", "auth-agent@openssh.com", "tun@openssh.com"} {
		_, _, err := c.OpenChannel(kind, nil)
		var no *ssh.OpenChannelError
		if !errors.As(err, &no) || no.Reason != ssh.Prohibited {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "no-more-sessions@openssh.com"} {
		if took, _, err := c.SendRequest(kind, true, nil); took || err != nil {
			t.Errorf("%s: %v %v", kind, took, err)
		}
	}
	// Variables of ours stay ours, whatever the protocol's is.
	w.ok(s.Setenv("GIT_PROTOCOL", "version=2\x00GIT_DIR=/"))
	s.Stdin = strings.NewReader("0000")
	out, err := s.CombinedOutput("git-upload-pack 'iris'")
	w.ok(err)
	if bytes.Contains(out, []byte("version 2")) {
		t.Errorf("a version that is none was believed: %q", out)
	}
	var open []*ssh.Session
	for {
		s, err := c.NewSession()
		if err != nil {
			break
		}
		open = append(open, s)
		if len(open) > 20 {
			t.Fatal("there is no end to sessions on a connection")
		}
	}
	if len(open) < 5 {
		t.Errorf("only %d sessions on a connection", len(open))
	}
}

// A key that is removed ends what its connection may begin.
func TestSSHKeyIsRemoved(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	_, alice := w.key("alice")
	c, err := w.dial(alice, nil)
	w.ok(err)
	defer c.Close() //nolint:errcheck // the test is over
	if out, code := w.run(c, "git-receive-pack 'iris'"); code != 0 {
		t.Fatal(out)
	}
	w.mu.Lock()
	clear(w.people)
	w.mu.Unlock()
	for _, line := range []string{"git-receive-pack 'iris'", "git-upload-pack 'iris'", "id"} {
		if out, code := w.run(c, line); code == 0 || !strings.Contains(out, "this SSH key is not known") {
			t.Errorf("%s: %d %q", line, code, out)
		}
	}
	if _, err := w.dial(alice, nil); err == nil {
		t.Error("the key opens a new connection")
	}
}

// Only keys sign in, by algorithms of today; what may be guesses is counted.
func TestSSHSignIn(t *testing.T) {
	t.Parallel()
	w := newSSH(t, nil)
	_, alice := w.key("alice")
	_, nobody := w.key("")
	_, private, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	forger, err := ssh.NewSignerFromKey(private)
	w.ok(err)
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.refused)
	}
	for name, tc := range map[string]struct {
		signer  ssh.Signer
		change  func(*ssh.ClientConfig)
		counted int
	}{
		"nobody's key":       {nobody, nil, 1},
		"a password":         {alice, func(c *ssh.ClientConfig) { c.Auth = []ssh.AuthMethod{ssh.Password("pw-alice")} }, 0},
		"nothing":            {alice, func(c *ssh.ClientConfig) { c.Auth = nil }, 0},
		"another name":       {alice, func(c *ssh.ClientConfig) { c.User = "alice" }, 0},
		"a key without part": {forged{forger, alice.PublicKey()}, nil, 0},
		"old key exchange": {alice, func(c *ssh.ClientConfig) {
			c.KeyExchanges = []string{"diffie-hellman-group14-sha1", "ecdh-sha2-nistp256"}
		}, 0},
		"old cipher": {alice, func(c *ssh.ClientConfig) { c.Ciphers = []string{"aes128-cbc", "3des-cbc"} }, 0},
		"old mac": {alice, func(c *ssh.ClientConfig) {
			c.Ciphers, c.MACs = []string{"aes256-ctr"}, []string{"hmac-sha1", "hmac-sha2-256"}
		}, 0},
	} {
		before := count()
		if c, err := w.dial(tc.signer, tc.change); err == nil {
			_ = c.Close()
			t.Errorf("%s signs in", name)
		}
		waitFor(t, func() bool { return count() == before+tc.counted })
	}
	// A key of nobody before the right one is no failure: agents have many.
	c, err := w.dial(alice, func(c *ssh.ClientConfig) { c.Auth = []ssh.AuthMethod{ssh.PublicKeys(nobody, alice)} })
	w.ok(err)
	_ = c.Close()
	if n := count(); n != 1 {
		t.Errorf("%d connections were counted", n)
	}
}

// forged shows a key and signs with another.
type forged struct {
	ssh.Signer
	shows ssh.PublicKey
}

func (f forged) PublicKey() ssh.PublicKey { return f.shows }

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it does not come to that")
		}
		_ = loop.Sleep(t.Context(), 5*time.Millisecond)
	}
}
