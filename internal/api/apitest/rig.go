// Package apitest serves the API for tests: real people, apps and SQLite, with
// an engine that is a fake. Tests of the API and of the command line share it.
package apitest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/outside"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/control/settings"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/fake"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/proto/gitd"
	"slipway.dev/slipway/internal/proto/gitd/gitdtest"
	"slipway.dev/slipway/internal/store"
)

// Rig is a served API.
type Rig struct {
	URL    string
	Hosts  slipway.Hosts
	People *people.Service
	Apps   *apps.Service
	Engine *fake.Engine
	Log    *Log
	Remote *gitdtest.Remote // where apps may be fetched from

	tokens map[string]string
	parts  atomic.Pointer[[]client.Part]
}

// SetParts says how the parts of the platform are that the core reports.
func (r *Rig) SetParts(parts ...client.Part) { r.parts.Store(&parts) }

// MaxFile is how many bytes of a file may be sent.
const MaxFile = 1 << 20

// Log keeps what was logged.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// folk are the personas beside root, who administers: ada owns apps, cora is to be a
// co-owner and vera a viewer of them, bob has a seat and carol none.
var folk = []struct {
	name string
	role slipway.Role
}{
	{"ada", slipway.RoleLicensed}, {"bob", slipway.RoleLicensed}, {"carol", slipway.RoleViewer}, {"cora", slipway.RoleLicensed}, {"vera", slipway.RoleViewer},
}

// Password is a persona's.
func Password(name string) string { return name + "-has-a-long-password" }

// environments are always there, and empty: what builds them is tested elsewhere.
type environments struct{ *build.Builder }

// EnvReady says yes.
func (e environments) EnvReady(ctx context.Context, p build.Plan) (bool, error) {
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		return false, err
	}
	return true, e.Engine.Layers().Put(ctx, p.EnvKey, &empty)
}

// New serves the API until the test ends.
func New(t testing.TB) *Rig {
	t.Helper()
	dir := t.TempDir()
	r := &Rig{Log: &Log{}, tokens: map[string]string{}, Hosts: slipway.Hosts{Scheme: "http", Base: "slipway.localhost"}}
	r.SetParts()
	log := slog.New(slog.NewTextHandler(r.Log, nil))
	db, err := store.Open(t.Context(), filepath.Join(dir, "slipway.db"))
	check(t, err)
	box, err := secret.OpenBox(filepath.Join(dir, "seal.key"))
	check(t, err)
	hub := link.NewHub(r.Hosts, log)
	r.Engine = fake.New(fake.Options{Program: program})
	r.People = people.New(people.Options{DB: db, Box: box, Hub: hub, Hosts: r.Hosts, Log: log})
	check(t, r.People.Load(t.Context()))
	builder := build.New(build.Options{Engine: r.Engine, Data: dir, Log: log})
	git, err := r.remote(t, dir, log)
	check(t, err)
	r.Apps = apps.New(apps.Options{
		Fetcher: func(ctx context.Context, f apps.Fetch) (apps.DeployInput, error) {
			push, err := git.Fetch(ctx, f.App, gitd.FetchInput{
				Remote: gitd.Remote{URL: f.URL, Ref: f.Ref, User: f.User, Token: f.Secret}, Replace: f.Replace, Keep: f.Keep,
			})
			if err != nil {
				return apps.DeployInput{}, err
			}
			files, err := push.Archive(ctx)
			if err != nil {
				return apps.DeployInput{}, err
			}
			defer files.Close()
			source, err := builder.AddSource(ctx, files)
			return apps.DeployInput{Source: source, Commit: push.Commit, Message: push.Subject}, err
		},
		DB: db, Engine: r.Engine, Build: environments{builder}, Router: hub, Box: box, Hosts: r.Hosts, Log: log, Data: dir,
	})
	group := loop.New(context.WithoutCancel(t.Context()), log)
	group.Go("apps", r.Apps.Run)
	s := httptest.NewServer(api.New(api.Options{
		Apps: r.Apps, People: r.People, Settings: &settings.Service{DB: db, Changed: r.Apps.PlatformChanged}, Engine: r.Engine, Source: builder, Hosts: r.Hosts, Version: "test", MaxUpload: 1 << 20, MaxFile: MaxFile, Log: log,
		Health: func(context.Context) []client.Part { return *r.parts.Load() },
	}))
	r.URL = s.URL
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		if err := group.Stop(); err != nil {
			t.Error(err)
		}
		check(t, r.Engine.Close())
		check(t, db.Close())
		if t.Failed() {
			t.Log(r.Log.String())
		}
	})
	r.people(t)
	return r
}

// remote serves repositories as other places do, and returns what may fetch from it alone.
func (r *Rig) remote(t testing.TB, dir string, log *slog.Logger) (*gitd.Server, error) {
	t.Helper()
	root, repos := filepath.Join(dir, "remote"), filepath.Join(dir, "repos")
	if err := errors.Join(os.Mkdir(root, 0o700), os.Mkdir(repos, 0o700)); err != nil {
		return nil, err
	}
	var err error
	if r.Remote, err = gitdtest.Serve(root, nil); err != nil {
		return nil, err
	}
	t.Cleanup(r.Remote.Close)
	roots := x509.NewCertPool()
	roots.AddCert(r.Remote.Certificate())
	return &gitd.Server{
		Root: repos, Log: log, Roots: roots,
		Outside: outside.Rule{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
	}, nil
}

// program answers requests, and prints a line when it starts.
func program(ctx context.Context, p *fake.Proc) engine.Exit {
	p.Print(false, fmt.Sprintf("%s begins", p.ID.Ref.Name))
	return fake.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))(ctx, p)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// people makes the personas, each with a token that may do all they may, and
// ada-reads, a token of ada's that may only read.
func (r *Rig) people(t testing.TB) {
	t.Helper()
	_, err := r.People.Bootstrap(t.Context(), "root", secret.New(Password("root")))
	check(t, err)
	r.login(t, "root")
	root := r.Client(t, "root")
	for _, p := range folk {
		_, err := root.CreateUser(t.Context(), client.CreateUser{Name: p.name, Password: Password(p.name), Roles: []slipway.Role{p.role}}, "")
		check(t, err)
		r.login(t, p.name)
	}
	// The first administrator comes with a seat; this one is to have none.
	admin := []slipway.Role{slipway.RoleAdmin}
	_, err = root.UpdateUser(t.Context(), "root", client.UpdateUser{Roles: &admin})
	check(t, err)
	reads, err := r.Client(t, "ada").CreateToken(t.Context(), client.CreateToken{Name: "looks", Scopes: []slipway.Scope{slipway.ScopeRead}}, "")
	check(t, err)
	r.tokens["ada-reads"] = reads.Secret
}

func (r *Rig) login(t testing.TB, name string) {
	t.Helper()
	got, err := r.Client(t, "anon").Login(t.Context(), client.Login{Username: name, Password: Password(name)})
	check(t, err)
	r.tokens[name] = got.Secret
}

// Token is a persona's; anon has none.
func (r *Rig) Token(name string) string { return r.tokens[name] }

// Client is a persona's.
func (r *Rig) Client(t testing.TB, name string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Host: r.URL, Token: secret.New(r.tokens[name])})
	check(t, err)
	t.Cleanup(c.Close)
	return c
}
