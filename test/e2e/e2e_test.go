// Package e2e_test tells stories: scripts in testdata drive the real binary as
// the people who use it. admin runs the platform, alice owns apps, bob is a
// colleague with a seat, carol only looks, mallory means harm, dave comes and
// goes, and anon has not signed in.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway.dev/slipway/test/rig"
)

const adminPassword = "correct-horse-battery-admin"

// world is the platform that all stories share; each uses apps of its own.
type world struct {
	in   *rig.Instance
	root string
	home string // one folder a person, with the CLI signed in
	// connect is a proxy that leads any name to this machine, for programs that
	// do not know that names below localhost do.
	connect string

	mu      *sync.Mutex
	clients map[string]*http.Client // signed in
}

var people = []struct{ name, roles string }{
	{"alice", "licensed_user"}, {"bob", "licensed_user"}, {"carol", ""}, {"mallory", "licensed_user"}, {"dave", "licensed_user"},
}

func password(name string) string {
	if name == "admin" {
		return adminPassword
	}
	return "a-long-password-of-" + name
}

// TestStories runs the stories side by side on one platform.
func TestStories(t *testing.T) { tell(t, "stories") }

// TestCrashes has a platform of its own on one machine, whose parts it kills.
func TestCrashes(t *testing.T) { tell(t, "crashes") }

func tell(t *testing.T, dir string) {
	t.Helper()
	newWorld(t).tell(t, testscript.Params{Files: scripts(t, dir)})
}

func (w *world) tell(t *testing.T, p testscript.Params) {
	t.Helper()
	p.UpdateScripts = os.Getenv("UPDATE") != ""
	more := p.Setup
	p.Setup = func(env *testscript.Env) error {
		if err := w.setup(env); err != nil || more == nil {
			return err
		}
		return more(env)
	}
	own := p.Cmds
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){
		"as": w.as, "app": w.app, "get": w.get, "raw": w.raw, "crash": w.crash, "eventually": w.eventually,
		"image": w.image,
	}
	maps.Copy(p.Cmds, own)
	testscript.Run(t, p)
}

// newWorld starts a platform on this machine with the people; args are more
// arguments of `slipway up`. Where tests have a cluster, the world is the
// installation there, which all of them share.
func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	if onCluster() {
		return installedWorld(t, args)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var log rig.Output
	w := &world{root: root, home: filepath.Join(dir, "homes"), mu: new(sync.Mutex), clients: map[string]*http.Client{}}
	in, err := rig.Start(t.Context(), rig.Options{
		Binary: filepath.Join(root, "bin", "slipway"), Data: filepath.Join(dir, "data"), Out: &log,
		Args: append([]string{"--listen", "127.0.0.1:0"}, args...),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	w.in = in
	w.connect = rig.Connect(t)
	t.Cleanup(func() {
		w.deleteApps(t)
		if err := w.in.Stop(); err != nil {
			t.Error(err)
		}
		checkLog(t, log.String())
	})
	w.run(t, "", adminPassword, "bootstrap", "--data", in.Data, "--name", "admin", "--password-stdin")
	w.invite(t)
	return w
}

// checkLog finds no secret in the platform's log, and shows it when the test failed.
func checkLog(t *testing.T, log string) {
	t.Helper()
	for _, secret := range []string{adminPassword, password("alice"), "s3cr3t-value", databasePassword} {
		if strings.Contains(log, secret) {
			t.Errorf("the log holds the secret %q", secret)
		}
	}
	if t.Failed() {
		t.Logf("the platform's log:\n%s", log[max(0, len(log)-20_000):])
	}
}

// invite makes the people, each signed in on the command line.
func (w *world) invite(t *testing.T) {
	t.Helper()
	w.run(t, "admin", adminPassword, "login", "--user", "admin", "--password-stdin")
	for _, p := range people {
		args := []string{"admin", "users", "create", p.name, "--password-stdin"}
		if p.roles != "" {
			args = append(args, "--role", p.roles)
		}
		w.run(t, "admin", password(p.name), args...)
		w.run(t, p.name, password(p.name), "login", "--user", p.name, "--password-stdin")
	}
}

// run runs the CLI as a person.
func (w *world) run(t *testing.T, name, stdin string, args ...string) string {
	t.Helper()
	out, err := w.in.Run(context.WithoutCancel(t.Context()), "", filepath.Join(w.home, name), stdin, append([]string{w.in.Binary}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// deleteApps removes what the stories left, and checks that nothing stays.
func (w *world) deleteApps(t *testing.T) {
	t.Helper()
	for name := range strings.FieldsSeq(w.run(t, "admin", "", "apps", "list", "--quiet")) {
		w.run(t, "admin", "", "apps", "delete", name, "--confirm", name)
	}
}

func (w *world) setup(env *testscript.Env) error {
	h := w.in.Hosts
	for _, v := range w.in.Env(env.WorkDir) {
		k, val, _ := strings.Cut(v, "=")
		env.Setenv(k, val)
	}
	env.Setenv("PATH", filepath.Join(w.root, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("ROOT", w.root)
	env.Setenv("DATA", w.in.Data)
	env.Setenv("APPS", h.Apps())
	env.Setenv("API", h.API())
	env.Setenv("AUTH", h.Auth())
	env.Setenv("GIT", h.Git())
	env.Setenv("SSH", h.SSH())
	env.Setenv("REGISTRY", strings.TrimPrefix(h.Registry(), "https://"))
	certs := filepath.Join(env.WorkDir, ".certs") // only of authorities, for skopeo
	if ca, err := os.ReadFile(w.in.CAFile); err == nil {
		if err := errors.Join(os.Mkdir(certs, 0o755), os.WriteFile(filepath.Join(certs, "ca.crt"), ca, 0o644)); err != nil {
			return err
		}
	}
	env.Setenv("CERTS", certs)
	env.Setenv("CONNECT", w.connect)
	env.Setenv("BASE", h.Base)
	env.Setenv("PORT", h.Port)
	return nil
}

// as makes the CLI and git act as a person from now on; anon has signed in nowhere.
func (w *world) as(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: as PERSON")
	}
	home := filepath.Join(w.home, args[0])
	ts.Check(os.MkdirAll(home, 0o700))
	ask := filepath.Join(home, ".askpass")
	script := "#!/bin/sh\ncase \"$1\" in Username*) echo \"$GIT_USER\" ;; *) echo \"$GIT_PASS\" ;; esac\n"
	ts.Check(os.WriteFile(ask, []byte(script), 0o700))
	ts.Setenv("KEYS", w.keys(ts, args[0]))
	ts.Setenv("HOME", home)
	ts.Setenv("GIT_ASKPASS", ask)
	ts.Setenv("GIT_USER", args[0])
	ts.Setenv("GIT_PASS", password(args[0]))
}

// keys makes a folder for a person's SSH key and known hosts in this script, and
// makes git use them. ssh does not ask HOME, nor does it know names below localhost.
func (w *world) keys(ts *testscript.TestScript, name string) string {
	dir := ts.MkAbs(".ssh-" + name)
	ts.Check(os.MkdirAll(dir, 0o700))
	config := filepath.Join(dir, "config")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil, "HostName 127.0.0.1\nPort %s\nHostKeyAlias %s\nIdentityFile %s/key\nIdentitiesOnly yes\nBatchMode yes\n"+
		"StrictHostKeyChecking yes\nUserKnownHostsFile %s/known_hosts\nGlobalKnownHostsFile none\n",
		w.in.Hosts.SSHPort, strings.TrimSpace(w.in.Hosts.KnownHost("")), dir, dir), 0o600))
	ts.Setenv("GIT_SSH_COMMAND", "ssh -F "+config)
	return dir
}

// app copies a sample app into a git work tree with a remote: app SAMPLE NAME.
func (w *world) app(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: app SAMPLE NAME")
	}
	dir := ts.MkAbs(args[1])
	from := filepath.Join(w.root, "test", "apps", args[0])
	if args[0] == "iris" {
		from = filepath.Join(w.root, "examples", "iris")
	}
	ts.Check(rig.CopyDir(from, dir))
	for _, c := range [][]string{
		{"init", "-q", "-b", "main", dir},
		{"-C", dir, "add", "-A"},
		{"-C", dir, "commit", "-q", "-m", "first"},
		{"-C", dir, "remote", "add", "slipway", w.in.Hosts.GitRemote(args[1])},
	} {
		ts.Check(ts.Exec("git", c...))
	}
}

// client returns a person's signed-in HTTP client.
func (w *world) client(name string) (*http.Client, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if name == "anon" {
		return w.in.Client(), nil
	}
	if c := w.clients[name]; c != nil {
		return c, nil
	}
	c := w.in.Client()
	res, err := w.in.SignIn(context.Background(), c, name, password(name), w.in.Hosts.API()+"/portal")
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s cannot sign in: %s", name, res.Status)
	}
	w.clients[name] = c
	return c, nil
}

func (w *world) crash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash core|gateway")
	}
	ts.Check(w.in.KillChild(args[0]))
}

// eventually runs another command until it succeeds and prints what is asked for:
//
//	eventually 10s get PERSON URL PATTERN…
//	eventually 10s exec PATTERN PROGRAM ARGUMENT…
func (w *world) eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 || args[1] != "get" && args[1] != "exec" {
		ts.Fatalf("usage: eventually DURATION get PERSON URL PATTERN… | exec PATTERN PROGRAM ARGUMENT…")
	}
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	ts.Check(rig.Until(context.Background(), patience(d), func() error {
		if args[1] == "exec" {
			if err := ts.Exec(args[3], args[4:]...); err != nil {
				return err
			}
			return matches(ts.ReadFile("stdout"), args[2:3])
		}
		text, err := w.fetch(args[2:])
		if err != nil {
			return err
		}
		return matches(text, args[4:])
	}))
}
