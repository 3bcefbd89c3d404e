package apps_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/fake"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for how long tests wait for what must come, on the busiest machine.
const patience = 2 * time.Minute

// rig is a service on a real database, with an engine in memory.
type rig struct {
	t      *testing.T
	opt    apps.Options
	fake   *fake.Engine
	build  *builder
	router *router
	group  *loop.Group
	people map[string]slipway.Actor
	*apps.Service
}

func newRig(t *testing.T, change ...func(*fake.Options)) *rig {
	t.Helper()
	opt := fake.Options{Program: program, Backoff: 5 * time.Millisecond}
	for _, fn := range change {
		fn(&opt)
	}
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := secret.OpenBox(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, fake: fake.New(opt),
		router: &router{routes: map[string]link.Route{}}, people: map[string]slipway.Actor{},
	}
	r.build = &builder{layers: r.fake.Layers(), plan: build.Plan{
		Python: "3.11", Procfile: map[string]string{"web": "serve"}, EnvKey: "env-one", Dependencies: "requirements.txt: 3 packages",
		Detected: []string{"Procfile: web"},
	}}
	r.opt = apps.Options{
		DB: db, Engine: r.fake, Build: r.build, Router: r.router, Box: box, Hosts: slipway.Hosts{Scheme: "https", Base: "slipway.test"},
		Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn})), Data: dir, PlatformPort: 7500,
		Limits: apps.Limits{Drain: 20 * time.Millisecond, Resync: 100 * time.Millisecond, Start: time.Minute, Delete: time.Minute},
	}
	r.person("alice", slipway.RoleLicensed)
	r.person("bob", slipway.RoleLicensed)
	r.person("carol")
	r.person("root", slipway.RoleAdmin, slipway.RoleLicensed)
	t.Cleanup(func() {
		r.stop()
		if err := r.fake.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// start begins a new life of the core.
func (r *rig) start() *rig {
	r.t.Helper()
	r.Service = apps.New(r.opt)
	if err := r.Load(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	r.group = loop.New(context.Background(), r.opt.Log)
	r.group.Spawn("apps", r.Run)
	return r
}

func (r *rig) stop() {
	if r.group != nil {
		if err := r.group.Stop(); err != nil {
			r.t.Error(err)
		}
		r.group = nil
	}
}

func (r *rig) person(name string, roles ...slipway.Role) {
	p := store.Person{User: slipway.User{ID: slipway.UserID(slipway.NewID("user")), Name: name, Roles: roles, Created: time.Now()}, Epoch: 1}
	if err := r.opt.DB.Update(context.Background(), func(tx *store.Tx) error { return tx.AddPerson(p) }); err != nil {
		r.t.Fatal(err)
	}
	r.people[name] = slipway.Actor{User: &p.User}
}

// as is a context in which the person asks.
func (r *rig) as(name string) context.Context {
	return slipway.WithActor(context.Background(), r.people[name])
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// source makes a source layer.
func (r *rig) source(name string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "app.py", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(name))})
	_, _ = io.WriteString(w, name)
	_ = w.Close()
	if err := r.fake.Layers().Put(context.Background(), "src-"+name, &b); err != nil {
		r.t.Fatal(err)
	}
	return "src-" + name
}

func (r *rig) create(name string) {
	r.t.Helper()
	must[slipway.App](r.t)(r.Create(r.as("alice"), apps.CreateApp{Name: name}))
}

// push deploys new files.
func (r *rig) push(name string) slipway.Deploy {
	r.t.Helper()
	n := r.build.next()
	return must[slipway.Deploy](r.t)(r.Deploy(r.as("alice"), name, apps.DeployInput{
		Source: r.source(strconv.Itoa(n)), Commit: "c0ffee" + strconv.Itoa(n), Cause: slipway.CausePush,
	}))
}

// follow returns the lines and the end of a deploy.
func (r *rig) follow(d slipway.Deploy) ([]string, slipway.Deploy) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.as("alice"), patience)
	defer cancel()
	var lines []string
	var end *slipway.Deploy
	var seq int64
	if err := r.Follow(ctx, d.ID, func(e apps.Event) error {
		if e.Seq <= seq {
			r.t.Errorf("event %d follows %d", e.Seq, seq)
		}
		seq = e.Seq
		switch {
		case e.Deploy != nil:
			end = e.Deploy
		case e.Step == nil:
			lines = append(lines, e.Line)
		}
		return nil
	}); err != nil {
		now, _ := r.GetDeploy(r.as("alice"), d.ID)
		r.t.Fatalf("follow: %v; the deploy is %+v, lines %q", err, now, lines)
	}
	return lines, *end
}

// live follows a deploy that must succeed.
func (r *rig) live(d slipway.Deploy) slipway.Deploy {
	r.t.Helper()
	lines, end := r.follow(d)
	if end.State != slipway.DeployLive {
		r.t.Fatalf("the deploy is %s: %s; lines %q", end.State, end.Reason, lines)
	}
	return end
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for !ok() {
		if loop.Sleep(ctx, 5*time.Millisecond) != nil {
			snap, _ := r.fake.Observe(context.Background())
			r.t.Fatalf("never: %s; routes %+v; workloads %+v", what, r.router.all(), snap.Workloads)
		}
	}
}

// settled waits until a deploy is over in the store too.
func (r *rig) settled(id slipway.DeployID) slipway.Deploy {
	r.t.Helper()
	var d slipway.Deploy
	r.eventually("the deploy is final", func() bool {
		d = must[slipway.Deploy](r.t)(r.GetDeploy(r.as("alice"), id))
		return d.State.Final()
	})
	return d
}

func wantKind(t *testing.T, err error, k errs.Kind) {
	t.Helper()
	if !errs.Is(err, k) {
		t.Errorf("got %v, wanted %s", err, k)
	}
}

var faded sync.Map // refs of workloads

// program plays all programs by the command.
func program(ctx context.Context, p *fake.Proc) engine.Exit {
	if p.Task != nil {
		return task(ctx, p)
	}
	switch command := p.Workload.Command[2]; command {
	case "serve":
		return fake.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, p.Workload.ID.Name+" "+r.Host+" "+r.Header.Get("X-Forwarded-Prefix")+" "+p.Env("GREETING"))
		}))(ctx, p)
	case "sick":
		return fake.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))(ctx, p)
	case "slow": // well only at the sixth look
		var looks atomic.Int32
		return fake.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if looks.Add(1) < 6 {
				w.WriteHeader(http.StatusBadGateway)
			}
		}))(ctx, p)
	case "deaf":
		_ = p.Listener.Close()
		return fake.Wait(ctx, p)
	case "stubborn": // serves, and ignores TERM
		p.TERM = nil
		return fake.Handler(http.NotFoundHandler())(ctx, p)
	case "fades": // its first life falls silent after a few answers
		if _, lived := faded.LoadOrStore(p.Workload.ID, true); lived {
			return fake.Handler(http.NotFoundHandler())(ctx, p)
		}
		answers := 0
		return fake.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if answers++; answers == 3 {
				_ = p.Listener.Close()
			}
		}))(ctx, p)
	case "missing":
		p.Print(true, "Traceback (most recent call last):")
		p.Print(true, "ModuleNotFoundError: No module named 'dash'")
		return engine.Exit{Code: 1}
	case "greedy":
		return engine.Exit{Code: 137, Signal: 9, OOM: true}
	default:
		return fake.Wait(ctx, p)
	}
}

func task(ctx context.Context, p *fake.Proc) engine.Exit {
	command := p.Workload.Command[len(p.Workload.Command)-1]
	p.Print(false, command+" begins")
	switch command {
	case "fail":
		p.Print(true, "it cannot be done")
		return engine.Exit{Code: 3}
	case "wait":
		return fake.Wait(ctx, p)
	case "second time":
		if strings.HasSuffix(p.ID.Ref.Name, "-1") {
			return fake.Wait(ctx, p)
		}
	case "collect":
		p.Files["/app/static.css"] = []byte("made by predeploy")
	}
	p.Print(false, command+" ends")
	return engine.Exit{}
}

// builder plays package build.
type builder struct {
	layers engine.Layers

	mu     sync.Mutex
	plan   build.Plan
	err    error
	script string // of the environment's task
	count  int
	tasks  int
}

func (b *builder) set(fn func(b *builder)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn(b)
}

func (b *builder) next() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	return b.count
}

func (b *builder) Detect(_ context.Context, source string, _ map[string]string) (build.Plan, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.plan
	p.Source = source
	return p, b.err
}

func (b *builder) EnvReady(ctx context.Context, p build.Plan) (bool, error) {
	return b.layers.Has(ctx, p.EnvKey)
}

func (b *builder) EnvTask(_ context.Context, p build.Plan, _ []engine.Var) (engine.Task, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tasks++
	script := b.script
	if script == "" {
		script = "install"
	}
	return engine.Task{
		Workload: engine.Workload{
			ID:      engine.Ref{Kind: engine.KindTask, Scope: build.Scope, Name: p.EnvKey + "-" + strconv.Itoa(p.Attempt)},
			Command: []string{"sh", "-c", script},
		},
		Keep: []engine.Layer{{Name: p.EnvKey, At: "/env"}},
	}, nil
}

func (b *builder) Explain(exit engine.Exit, tail []string) string {
	return "the build ended with " + strconv.Itoa(exit.Code) + ": " + tail[len(tail)-1]
}

// router plays the hub and remembers every table that it was given.
type router struct {
	mu      sync.Mutex
	routes  map[string]link.Route
	history []link.Route
	version uint64
}

func (r *router) SetRoute(route link.Route) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes[route.Name] = route
	r.history = append(r.history, route)
	r.version++
	return r.version
}

func (r *router) RemoveRoute(name string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.routes, name)
	r.version++
	return r.version
}

func (r *router) Acked(ctx context.Context, _ uint64) error { return ctx.Err() }

func (r *router) route(name string) link.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.routes[name]
}

func (r *router) all() map[string]link.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]link.Route{}
	for k, v := range r.routes {
		out[k] = v
	}
	return out
}

// targets lists the ids of an app's targets.
func (r *router) targets(name string) []string {
	var out []string
	for _, t := range r.route(name).Targets {
		out = append(out, t.ID)
	}
	slices.Sort(out)
	return out
}

// gaps counts the tables of an app without a target after its first one.
func (r *router) gaps(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, served := 0, false
	for _, route := range r.history {
		if route.Name != name {
			continue
		}
		served = served || len(route.Targets) > 0
		if served && len(route.Targets) == 0 {
			n++
		}
	}
	return n
}
