package apps_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/fake"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// get asks an app's first target, as the gateway would.
func (r *rig) get(name string) string {
	r.t.Helper()
	targets := r.router.route(name).Targets
	if len(targets) == 0 {
		return ""
	}
	t := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dial.Dial(ctx, targets[0].Endpoint)
	}}
	req := must[*http.Request](r.t)(http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://app/", nil))
	res := must[*http.Response](r.t)(t.RoundTrip(req))
	defer res.Body.Close()
	return string(must[[]byte](r.t)(io.ReadAll(res.Body)))
}

func TestExistenceIsHidden(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	d := r.push("iris")
	r.live(d)
	for _, who := range []string{"bob", "carol"} {
		ctx := r.as(who)
		_, err := r.Get(ctx, "iris")
		_, none := r.Get(ctx, "nothing-here")
		if !errs.Is(err, errs.KindNotFound) || err.Error() != none.Error() {
			t.Errorf("%s learns of the app: %v, %v", who, err, none)
		}
		for what, try := range map[string]func() error{
			"deploy":   func() error { return r.MayDeploy(ctx, "iris") },
			"get":      func() error { _, err := r.GetDeploy(ctx, d.ID); return err },
			"follow":   func() error { return r.Follow(ctx, d.ID, func(apps.Event) error { return nil }) },
			"cancel":   func() error { _, err := r.CancelDeploy(ctx, d.ID); return err },
			"delete":   func() error { return r.Delete(ctx, "iris", "iris") },
			"wrong":    func() error { return r.Delete(ctx, "iris", "") },
			"env":      func() error { _, err := r.Env(ctx, "iris"); return err },
			"set env":  func() error { return r.SetEnv(ctx, "iris", []slipway.EnvVar{{Key: "not a key"}}) },
			"scale":    func() error { return r.Scale(ctx, "iris", "web", 2) },
			"pause":    func() error { return r.Pause(ctx, "iris") },
			"logs":     func() error { return r.Logs(ctx, "iris", apps.LogQuery{}, func(apps.Line) error { return nil }) },
			"share":    func() error { return r.Share(ctx, "iris", who, slipway.GrantCoOwner) },
			"grants":   func() error { _, err := r.Grants(ctx, "iris"); return err },
			"releases": func() error { _, err := r.Releases(ctx, "iris", "", 1); return err },
			"rollback": func() error { _, err := r.Rollback(ctx, "iris", 1); return err },
			"update":   func() error { _, err := r.Update(ctx, "iris", apps.AppPatch{}); return err },
			"transfer": func() error { _, err := r.Transfer(ctx, "iris", who); return err },
		} {
			if err := try(); !errs.Is(err, errs.KindNotFound) {
				t.Errorf("%s, %s: %v", who, what, err)
			}
		}
		if l := must[apps.Page[slipway.App]](t)(r.List(ctx, apps.AppFilter{})).Items; len(l) != 0 {
			t.Errorf("%s lists %+v", who, l)
		}
	}
	_, err := r.Get(context.Background(), "iris")
	wantKind(t, err, errs.KindUnauthenticated)
	_, err = r.Create(r.as("carol"), apps.CreateApp{Name: "carols"})
	wantKind(t, err, errs.KindDenied)
	_, err = r.Create(r.as("bob"), apps.CreateApp{Name: "iris"})
	wantKind(t, err, errs.KindConflict)
	_, err = r.Create(r.as("bob"), apps.CreateApp{Name: "api"})
	wantKind(t, err, errs.KindInvalid)
}

func TestSharing(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.live(r.push("iris"))
	ctx := r.as("alice")
	carol, bob := r.people["carol"].User.ID, r.people["bob"].User.ID
	if err := r.Share(ctx, "iris", "Carol", slipway.GrantViewer); err != nil {
		t.Fatal(err)
	}
	if v := r.router.route("iris").Viewers; !slices.Equal(v, []slipway.UserID{carol}) {
		t.Errorf("when Share returns, viewers are %q", v)
	}
	must[slipway.App](t)(r.Get(r.as("carol"), "iris"))
	wantKind(t, r.MayDeploy(r.as("carol"), "iris"), errs.KindDenied)
	if err := r.Share(ctx, "iris", "bob", slipway.GrantCoOwner); err != nil {
		t.Fatal(err)
	}
	if err := r.MayDeploy(r.as("bob"), "iris"); err != nil {
		t.Error(err)
	}
	wantKind(t, r.Delete(r.as("bob"), "iris", "iris"), errs.KindDenied)
	if g := must[[]slipway.Grant](t)(r.Grants(ctx, "iris")); len(g) != 2 || g[0].Name != "bob" {
		t.Errorf("grants %+v", g)
	}
	if err := r.Unshare(ctx, "iris", "carol"); err != nil {
		t.Fatal(err)
	}
	if v := r.router.route("iris").Viewers; len(v) != 0 {
		t.Errorf("when Unshare returns, viewers are %q", v)
	}
	wantKind(t, r.Unshare(ctx, "iris", "carol"), errs.KindNotFound)
	wantKind(t, r.Share(ctx, "iris", "nobody", slipway.GrantViewer), errs.KindNotFound)
	_, err := r.Transfer(ctx, "iris", "carol")
	wantKind(t, err, errs.KindInvalid)
	if a := must[slipway.App](t)(r.Transfer(ctx, "iris", "bob")); a.OwnerName != "bob" {
		t.Errorf("the app is %+v", a)
	}
	if o := r.router.route("iris").Owners; !slices.Equal(o, []slipway.UserID{bob}) {
		t.Errorf("owners %q", o)
	}
	open, title := slipway.AccessAuthenticated, "Irises"
	if a := must[slipway.App](t)(r.Update(r.as("bob"), "iris", apps.AppPatch{Access: &open, Title: &title})); a.Access != open || a.Title != title {
		t.Errorf("the app is %+v", a)
	}
	list := must[apps.Page[slipway.App]](t)(r.List(r.as("carol"), apps.AppFilter{Query: "IRIS", Portal: true})).Items
	if len(list) != 1 || list[0].State != slipway.AppRunning {
		t.Errorf("carol lists %+v", list)
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	ctx := r.as("alice")
	for _, v := range []slipway.EnvVar{{Key: "PORT", Value: "1"}, {Key: "1A"}, {Key: "A B"}, {Key: ""}, {Key: "DASH_JWKS_URL"}, {Key: "A", Value: "\x00"}} {
		wantKind(t, r.SetEnv(ctx, "iris", []slipway.EnvVar{v}), errs.KindInvalid)
	}
	if err := r.SetEnv(ctx, "iris", []slipway.EnvVar{{Key: "B", Value: "s3cr3t-value", Secret: true}, {Key: "A", Value: "plain"}}); err != nil {
		t.Fatal(err)
	}
	want := []slipway.EnvVar{{Key: "A", Value: "plain"}, {Key: "B", Secret: true}}
	if got := must[[]slipway.EnvVar](t)(r.Env(ctx, "iris")); !slices.Equal(got, want) {
		t.Errorf("variables %+v", got)
	}
	wantKind(t, r.SetEnv(ctx, "", []slipway.EnvVar{{Key: "A"}}), errs.KindDenied)
	if err := r.SetEnv(r.as("root"), "", []slipway.EnvVar{{Key: "GREETING", Value: "from the admin"}, {Key: "A", Value: "global"}}); err != nil {
		t.Fatal(err)
	}
	r.live(r.push("iris"))
	if body := r.get("iris"); !strings.Contains(body, "from the admin") {
		t.Errorf("the app says %q", body)
	}
	if err := r.UnsetEnv(ctx, "iris", []string{"A"}); err != nil {
		t.Error(err)
	}
	wantKind(t, r.UnsetEnv(ctx, "iris", []string{"A"}), errs.KindNotFound)
}

func TestScalePauseResume(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	ctx := r.as("alice")
	wantKind(t, r.Scale(ctx, "iris", "web", 2), errs.KindConflict)
	r.build.set(func(b *builder) { b.plan.Procfile = map[string]string{"web": "serve", "worker": "work"} })
	r.live(r.push("iris"))
	wantKind(t, r.Scale(ctx, "iris", "web", 11), errs.KindExhausted)
	wantKind(t, r.Scale(ctx, "iris", "clock", 1), errs.KindNotFound)
	if err := r.Scale(ctx, "iris", "web", 3); err != nil {
		t.Fatal(err)
	}
	r.eventually("three targets", func() bool { return len(r.router.targets("iris")) == 3 })
	r.live(r.push("iris"))
	if got := r.router.targets("iris"); !slices.Equal(got, []string{"web-v2.0", "web-v2.1", "web-v2.2"}) {
		t.Errorf("targets after a push %q", got)
	}
	if err := r.Scale(ctx, "iris", "web", 1); err != nil {
		t.Fatal(err)
	}
	r.eventually("one replica", func() bool {
		p := must[[]apps.ProcessStatus](t)(r.Processes(ctx, "iris"))
		n := 0
		for _, i := range p[0].Instances {
			if i.Release == 2 && i.State == apps.ReplicaRunning && i.MemoryBytes > 0 {
				n++
			}
		}
		return len(p) == 2 && n == 1 && len(r.router.targets("iris")) == 1
	})
	if r.router.gaps("iris") != 0 {
		t.Error("a table had no target")
	}
	if err := r.Pause(ctx, "iris"); err != nil {
		t.Fatal(err)
	}
	r.eventually("paused", func() bool {
		snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
		for _, w := range snap.Workloads {
			if len(w.Replicas) > 0 {
				return false
			}
		}
		return r.router.route("iris").State == slipway.AppPaused && len(r.router.targets("iris")) == 0
	})
	if err := r.Resume(ctx, "iris"); err != nil {
		t.Fatal(err)
	}
	r.eventually("running again", func() bool {
		return r.router.route("iris").State == slipway.AppRunning && len(r.router.targets("iris")) == 1
	})
}

func TestCrashIsSeen(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.live(r.push("iris"))
	id := engine.ReplicaRef{Ref: plan.Workload(string(must[slipway.App](t)(r.Get(r.as("alice"), "iris")).ID), "web", 1)}
	if err := r.fake.Inject(id, engine.Exit{Code: 1}); err != nil {
		t.Fatal(err)
	}
	r.eventually("it is taken out, and comes back", func() bool { return r.router.gaps("iris") > 0 && len(r.router.targets("iris")) == 1 })
	r.fake.SetProgram(func(ctx context.Context, p *fake.Proc) engine.Exit {
		p.Print(true, "ModuleNotFoundError: No module named 'dash'")
		return engine.Exit{Code: 1}
	})
	if err := r.fake.Inject(id, engine.Exit{Code: 1}); err != nil {
		t.Fatal(err)
	}
	r.eventually("it has crashed, and the log's tail says why", func() bool {
		route := r.router.route("iris")
		return route.State == slipway.AppCrashed && len(route.LogTail) > 0
	})
}

func TestDeleteLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var removed []string
	r.opt.Removed = func(_ context.Context, app slipway.App) error {
		removed = append(removed, app.Name)
		return nil
	}
	r.start()
	r.create("iris")
	r.live(r.push("iris"))
	ctx := r.as("alice")
	if err := r.fake.Layers().Put(ctx, build.DepsLayer("env-one"), strings.NewReader("")); err != nil { // what a real build leaves
		t.Fatal(err)
	}
	if err := r.SetEnv(ctx, "iris", []slipway.EnvVar{{Key: "A", Value: "b"}}); err != nil {
		t.Fatal(err)
	}
	r.build.set(func(b *builder) { b.plan.EnvKey, b.script = "env-two", "wait" })
	d := r.push("iris") // under way when the app goes
	r.eventually("it builds", func() bool {
		return must[slipway.Deploy](t)(r.GetDeploy(ctx, d.ID)).State == slipway.DeployEnv
	})
	wantKind(t, r.Delete(ctx, "iris", "irises"), errs.KindInvalid)
	if err := r.Delete(ctx, "iris", "iris"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Get(ctx, "iris")
	wantKind(t, err, errs.KindNotFound)
	r.eventually("nothing is left in the engine", func() bool {
		snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
		layers := must[[]engine.LayerInfo](t)(r.fake.Layers().List(t.Context()))
		return len(snap.Workloads)+len(snap.Tasks)+len(snap.Volumes)+len(layers) == 0
	})
	if logs := must[[]string](t)(filepath.Glob(filepath.Join(r.opt.Data, "deploys", "*"))); len(logs) != 0 {
		t.Errorf("logs are left: %q", logs)
	}
	if len(r.router.all()) != 0 || !slices.Equal(removed, []string{"iris"}) {
		t.Errorf("routes %+v, removed %q", r.router.all(), removed)
	}
	if err := r.opt.DB.View(t.Context(), func(tx *store.Tx) error {
		open, err := tx.OpenDeploys()
		if len(open) != 0 {
			t.Errorf("deploys are left: %+v", open)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	r.create("iris") // the name is free
}

// TestDeleteDoesNotWaitForTheStubborn: an app that ignores TERM is gone for
// everybody at once, and its name is free when it has been killed.
func TestDeleteDoesNotWaitForTheStubborn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Limits.Delete = time.Millisecond
	r.build.plan.Procfile = map[string]string{"web": "stubborn"}
	r.start()
	r.create("iris")
	r.live(r.push("iris"))
	ctx := r.as("alice")
	if err := r.Delete(ctx, "iris", "iris"); err != nil {
		t.Fatal(err)
	}
	_, err := r.Get(ctx, "iris")
	wantKind(t, err, errs.KindNotFound)
	snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
	if len(snap.Workloads) == 0 {
		t.Fatal("the deletion waited")
	}
	if _, err := r.Create(ctx, apps.CreateApp{Name: "iris"}); !errs.Is(err, errs.KindConflict) || !strings.Contains(err.Error(), "still being removed") {
		t.Errorf("a name that is not free yet: %v", err)
	}
	r.eventually("the name is free", func() bool {
		// As KILL does, which may come before TERM is sent: then it starts again.
		for _, w := range must[engine.Snapshot](t)(r.fake.Observe(t.Context())).Workloads {
			for _, i := range w.Replicas {
				_ = r.fake.Inject(i.ID, engine.Exit{Code: 137, Signal: 9}) // it may be gone by now
			}
		}
		_, err := r.Create(ctx, apps.CreateApp{Name: "iris"})
		return err == nil
	})
}

func TestLogsFollowOverReleases(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.build.set(func(b *builder) { b.plan.Procfile = map[string]string{"web": "serve", "worker": "work"} })
	r.live(r.push("iris"))
	id := string(must[slipway.App](t)(r.Get(r.as("alice"), "iris")).ID)
	say := func(process string, n int, text string) {
		if err := r.fake.Print(engine.ReplicaRef{Ref: plan.Workload(id, process, n)}, text); err != nil {
			t.Error(err)
		}
	}
	say("web", 1, "first")
	say("worker", 1, "working")
	var got []string
	if err := r.Logs(r.as("alice"), "iris", apps.LogQuery{Replica: -1}, func(l apps.Line) error {
		got = append(got, l.Process+" "+l.Text)
		return nil
	}); err != nil || !slices.Equal(got, []string{"web first", "worker working"}) {
		t.Errorf("lines %q, %v", got, err)
	}
	ctx, cancel := context.WithCancel(r.as("alice"))
	defer cancel()
	var lines []string
	pushed := false
	err := r.Logs(ctx, "iris", apps.LogQuery{Process: "web", Replica: -1, Follow: true}, func(l apps.Line) error {
		lines = append(lines, l.Text)
		if !pushed {
			pushed = true
			r.live(r.push("iris"))
			say("web", 2, "second")
		}
		if l.Text == "second" && l.Release == 2 {
			cancel()
		}
		return nil
	})
	if ctx.Err() == nil || !slices.Equal(lines, []string{"first", "second"}) {
		t.Errorf("followed %q, %v", lines, err)
	}
}
