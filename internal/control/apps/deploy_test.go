package apps_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
)

func TestLifeOfAPush(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	if s := must[slipway.App](t)(r.Get(r.as("alice"), "iris")).State; s != slipway.AppEmpty {
		t.Errorf("a new app is %s", s)
	}
	r.build.set(func(b *builder) { b.plan.Predeploy, b.plan.Postdeploy = "collect", "tell" })
	d := r.push("iris")
	lines, end := r.follow(d)
	if end.State != slipway.DeployLive || end.Release != 1 {
		t.Fatalf("the deploy is %+v", end)
	}
	for _, want := range []string{"Procfile: web", "install begins", "install ends", "collect ends", "tell ends", "https://slipway.test/iris/"} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not in %q", want, lines)
		}
	}
	if got := r.router.targets("iris"); !slices.Equal(got, []string{"web-v1.0"}) {
		t.Errorf("targets %q when the deploy is live", got)
	}
	final := r.settled(d.ID)
	var steps []string
	for _, s := range final.Steps {
		steps = append(steps, s.Name)
		if s.State != slipway.StepDone || s.Ended == nil {
			t.Errorf("step %+v", s)
		}
	}
	want := []string{"receive", "detect", "dependencies", "predeploy", "package", "start", "health check", "postdeploy", "switch", "drain"}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q", steps)
	}
	rel := must[apps.Page[slipway.Release]](t)(r.Releases(r.as("alice"), "iris", "", 10)).Items
	if len(rel) != 1 || rel[0].Source != "src-"+string(d.ID) || rel[0].Commit != "c0ffee1" || rel[0].Python != "3.11" {
		t.Errorf("releases %+v", rel)
	}
	snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
	if len(snap.Tasks) != 0 {
		t.Errorf("tasks are left: %+v", snap.Tasks)
	}
}

func TestSecondPushReplacesTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.live(r.push("iris"))
	d := r.push("iris")
	end := r.live(d)
	if !strings.Contains(end.Steps[2].Detail, "cached") {
		t.Errorf("the environment was built again: %+v", end.Steps)
	}
	if got := r.router.targets("iris"); !slices.Equal(got, []string{"web-v2.0"}) {
		t.Errorf("targets %q", got)
	}
	r.settled(d.ID)
	snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
	if len(snap.Workloads) != 1 || snap.Workloads[0].ID.Name != "web-v2" {
		t.Errorf("workloads %+v", snap.Workloads)
	}
	if n := r.router.gaps("iris"); n != 0 {
		t.Errorf("%d tables had no target", n)
	}
}

// Whatever fails, the old release serves and the reason is in plain words.
func TestFailuresKeepTheOldRelease(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		set    func(b *builder)
		state  slipway.DeployState
		reason string
	}{
		"detect":     {func(b *builder) { b.err = errs.Invalid("no Procfile, and no app.py") }, slipway.DeployFailed, "no Procfile"},
		"env":        {func(b *builder) { b.plan.EnvKey, b.script = "env-two", "fail" }, slipway.DeployFailed, "ended with 3: it cannot be done"},
		"predeploy":  {func(b *builder) { b.plan.Predeploy = "fail" }, slipway.DeployFailed, "predeploy command failed: exit status 3: it cannot"},
		"crash":      {func(b *builder) { b.plan.Procfile = map[string]string{"web": "missing"} }, slipway.DeployRolledBack, "No module named 'dash'"},
		"memory":     {func(b *builder) { b.plan.Procfile = map[string]string{"web": "greedy"} }, slipway.DeployRolledBack, "limit of 1024 MB"},
		"worker":     {func(b *builder) { b.plan.Procfile = map[string]string{"worker": "missing"} }, slipway.DeployRolledBack, "worker ended"},
		"port":       {func(b *builder) { b.plan.Procfile = map[string]string{"web": "deaf"} }, slipway.DeployRolledBack, "port not bound"},
		"sick":       {func(b *builder) { b.plan.Procfile = map[string]string{"web": "sick"} }, slipway.DeployRolledBack, "502"},
		"postdeploy": {func(b *builder) { b.plan.Postdeploy = "fail" }, slipway.DeployRolledBack, "postdeploy command failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.start()
			r.create("iris")
			r.settled(r.live(r.push("iris")).ID)
			if name == "port" || name == "sick" { // nothing but time tells
				r.stop()
				r.opt.Limits.Start = 3 * time.Second
				r.start()
			}
			r.build.set(tt.set)
			d := r.push("iris")
			lines, end := r.follow(d)
			if end.State != tt.state || !strings.Contains(end.Reason, tt.reason) {
				t.Errorf("the deploy is %s: %q; lines %q", end.State, end.Reason, lines)
			}
			if said := slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "not well yet: GET / answered 502") }); said != (name == "sick") {
				t.Errorf("what is wrong meanwhile: %q", lines)
			}
			if last := end.Steps[len(end.Steps)-1]; last.State != slipway.StepFailed {
				t.Errorf("the last step is %+v", last)
			}
			r.eventually("only the old release is left", func() bool {
				snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
				return len(snap.Workloads) == 1 && snap.Workloads[0].ID.Name == "web-v1" && len(snap.Tasks) == 0
			})
			if got := r.router.targets("iris"); !slices.Equal(got, []string{"web-v1.0"}) || r.router.gaps("iris") != 0 {
				t.Errorf("targets %q, %d gaps", got, r.router.gaps("iris"))
			}
			if a := must[slipway.App](t)(r.Get(r.as("alice"), "iris")); a.State != slipway.AppRunning || a.Current != 1 {
				t.Errorf("the app is %+v", a)
			}
		})
	}
}

// A deploy says at once what its programs wait for, and at its deadline too.
func TestDeploySaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	const why = "no node has room for it"
	r := newRig(t).start()
	r.create("iris")
	for _, want := range []string{"it cannot start yet: " + why, "web cannot start yet: " + why} {
		r.fake.Block(why)
		d, seen := r.push("iris"), false
		if err := r.Follow(r.as("alice"), d.ID, func(e apps.Event) error {
			if strings.Contains(e.Line, want) && !seen {
				seen = true
				ps := must[[]apps.ProcessStatus](t)(r.Processes(r.as("alice"), "iris"))
				if strings.HasPrefix(want, "web") && !slices.ContainsFunc(ps[0].Instances, func(i apps.Replica) bool { return i.Reason == why }) {
					t.Errorf("the processes are %+v", ps)
				}
				r.fake.Block("")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if end := r.settled(d.ID); !seen || end.State != slipway.DeployLive {
			t.Errorf("said %q: %v; the deploy is %s: %s", want, seen, end.State, end.Reason)
		}
	}
	r.stop()
	r.opt.Limits.Start = 300 * time.Millisecond
	r.start()
	r.fake.Block(why)
	if _, end := r.follow(r.push("iris")); end.State != slipway.DeployRolledBack || !strings.Contains(end.Reason, why) {
		t.Errorf("the deploy is %s: %s", end.State, end.Reason)
	}
}

func TestNewerSupersedesQueued(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.build.set(func(b *builder) { b.script = "wait" })
	first := r.push("iris")
	r.eventually("the first is building", func() bool {
		return must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), first.ID)).State == slipway.DeployEnv
	})
	second, third := r.push("iris"), r.push("iris")
	if _, end := r.follow(second); end.State != slipway.DeploySuperseded {
		t.Errorf("the second is %s", end.State)
	}
	r.build.set(func(b *builder) { b.script = "install" })
	must[slipway.Deploy](t)(r.CancelDeploy(r.as("alice"), first.ID))
	if _, end := r.follow(first); end.State != slipway.DeployCanceled {
		t.Errorf("the first is %s", end.State)
	}
	r.live(third)
	if _, err := r.CancelDeploy(r.as("alice"), third.ID); !errs.Is(err, errs.KindConflict) {
		t.Errorf("canceling a live deploy: %v", err)
	}
}

func TestCancelWhileChecking(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.live(r.push("iris"))
	r.build.set(func(b *builder) { b.plan.Procfile = map[string]string{"web": "sick"} })
	d := r.push("iris")
	r.eventually("it is checking", func() bool {
		return must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), d.ID)).State == slipway.DeployChecking
	})
	must[slipway.Deploy](t)(r.CancelDeploy(r.as("alice"), d.ID))
	if _, end := r.follow(d); end.State != slipway.DeployCanceled {
		t.Errorf("it is %s", end.State)
	}
	r.eventually("its replicas are gone", func() bool {
		snap := must[engine.Snapshot](t)(r.fake.Observe(t.Context()))
		return len(snap.Workloads) == 1
	})
}

func TestBuildsAreSharedAndFair(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	for _, name := range []string{"one", "two", "three", "four"} {
		r.create(name)
	}
	must[slipway.App](t)(r.Create(r.as("bob"), apps.CreateApp{Name: "bobs"}))
	r.build.set(func(b *builder) { b.script = "wait" })
	one, two := r.push("one"), r.push("two")
	r.eventually("two build", func() bool {
		return must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), two.ID)).State == slipway.DeployEnv &&
			must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), one.ID)).State == slipway.DeployEnv
	})
	r.eventually("one task for both", func() bool {
		return len(must[engine.Snapshot](t)(r.fake.Observe(t.Context())).Tasks) == 1
	})
	three := r.push("three")
	four := r.push("four")
	bobs := must[slipway.Deploy](t)(r.Deploy(r.as("bob"), "bobs", apps.DeployInput{Source: r.source("bobs")}))
	if s := must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), three.ID)).State; s != slipway.DeployQueued {
		t.Errorf("a third build at once: it is %s", s)
	}
	must[slipway.Deploy](t)(r.CancelDeploy(r.as("alice"), one.ID))
	r.eventually("bob is next", func() bool {
		return must[slipway.Deploy](t)(r.GetDeploy(r.as("bob"), bobs.ID)).State == slipway.DeployEnv
	})
	if s := must[slipway.Deploy](t)(r.GetDeploy(r.as("alice"), three.ID)).State; s != slipway.DeployQueued {
		t.Errorf("alice's third came before bob's first: it is %s", s)
	}
	if n := len(must[engine.Snapshot](t)(r.fake.Observe(t.Context())).Tasks); n != 1 {
		t.Errorf("%d tasks: leaving a shared build must not end it", n)
	}
	r.build.set(func(b *builder) { b.script = "install" })
	for _, d := range []slipway.Deploy{two, three, four} {
		must[slipway.Deploy](t)(r.CancelDeploy(r.as("alice"), d.ID))
	}
	must[slipway.Deploy](t)(r.CancelDeploy(r.as("bob"), bobs.ID))
	r.eventually("the build is gone", func() bool {
		return len(must[engine.Snapshot](t)(r.fake.Observe(t.Context())).Tasks) == 0
	})
}

func TestLostBuildIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.build.set(func(b *builder) { b.script = "second time" })
	d := r.push("iris")
	ref := engine.Ref{Kind: engine.KindTask, Scope: "builds", Name: "env-one-1"}
	r.eventually("it builds", func() bool { return r.fake.Lose(ref) == nil })
	r.live(d)
}

func TestRollbackRestartAndVariables(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	ctx := r.as("alice")
	if _, err := r.Rollback(ctx, "iris", 0); !errs.Is(err, errs.KindConflict) {
		t.Errorf("rollback of an empty app: %v", err)
	}
	r.live(r.push("iris"))
	r.live(r.push("iris"))
	if err := r.SetEnv(ctx, "iris", []slipway.EnvVar{{Key: "GREETING", Value: "hello", Secret: true}}); err != nil {
		t.Fatal(err)
	}
	back := r.live(must[slipway.Deploy](t)(r.Rollback(ctx, "iris", 0)))
	if back.Release != 3 || back.Steps[0].Name != "package" {
		t.Errorf("rolled back: %+v", back)
	}
	rel := must[apps.Page[slipway.Release]](t)(r.Releases(ctx, "iris", "", 10)).Items
	if rel[0].N != 3 || rel[0].Source != rel[2].Source || rel[0].Cause != slipway.CauseRollback {
		t.Errorf("releases %+v", rel)
	}
	if body := r.get("iris"); !strings.Contains(body, "hello") {
		t.Errorf("a rollback takes today's variables: %q", body)
	}
	r.live(must[slipway.Deploy](t)(r.Restart(ctx, "iris")))
	r.live(must[slipway.Deploy](t)(r.ApplyConfig(ctx, "iris")))
	if a := must[slipway.App](t)(r.Get(ctx, "iris")); a.Current != 5 {
		t.Errorf("current release %d", a.Current)
	}
	if _, err := r.Rollback(ctx, "iris", 99); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("rollback to nothing: %v", err)
	}
	if _, err := r.Rollback(ctx, "iris", 5); !errs.Is(err, errs.KindConflict) {
		t.Errorf("rollback to the current one: %v", err)
	}
	if n := r.router.gaps("iris"); n != 0 {
		t.Errorf("%d tables had no target", n)
	}
	page := must[apps.Page[slipway.Deploy]](t)(r.Deploys(ctx, "iris", "", 2))
	if len(page.Items) != 2 || page.Items[0].Seq != 5 || page.Next != "4" {
		t.Errorf("page %+v", page)
	}
	page = must[apps.Page[slipway.Deploy]](t)(r.Deploys(ctx, "iris", page.Next, 50))
	if len(page.Items) != 3 || page.Next != "" {
		t.Errorf("page %+v", page)
	}
}

func TestFollowEndsWithItsReader(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	d := r.push("iris")
	stop := errors.New("enough")
	if err := r.Follow(r.as("alice"), d.ID, func(apps.Event) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(r.as("alice"))
	cancel()
	if err := r.Follow(ctx, d.ID, func(apps.Event) error { return nil }); err == nil {
		t.Error("a canceled reader followed to the end")
	}
	r.live(d) // it goes on without them
	if plan.Surge(1) != 1 || plan.Surge(8) != 2 {
		t.Error("surge")
	}
}
