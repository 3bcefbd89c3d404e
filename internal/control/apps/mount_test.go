package apps_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/fake"
)

// Where a volume holds what uses it on one node, an app has ~/mount once it
// names it, and keeps it; everywhere else every app has it.
func TestMountOnDemand(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *fake.Options) { o.OneNode = true }).start()
	r.create("iris")
	volumes := func() int {
		return len(must[engine.Snapshot](t)(r.fake.Observe(t.Context())).Volumes)
	}
	push := func(mount string) (told bool) {
		r.build.set(func(b *builder) { b.plan.Mount, b.plan.Predeploy = mount, "collect" })
		lines, end := r.follow(r.push("iris"))
		if end.State != slipway.DeployLive {
			t.Fatalf("%+v", end)
		}
		return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "~/mount is not there") })
	}
	if !push("") || volumes() != 0 {
		t.Errorf("an app that does not name ~/mount has %d volumes", volumes())
	}
	if push(build.MountOff) || volumes() != 0 {
		t.Errorf("an app that declines it has %d volumes", volumes())
	}
	if push(build.MountUsed) || volumes() != 1 {
		t.Errorf("an app that names it has %d volumes", volumes())
	}
	if push("") || volumes() != 1 {
		t.Error("an app that had ~/mount lost it")
	}

	r.create("vars")
	if err := r.SetEnv(r.as("alice"), "vars", []slipway.EnvVar{{Key: "DATA", Value: "~/mount/data"}}); err != nil {
		t.Fatal(err)
	}
	r.build.set(func(b *builder) { b.plan.Mount = "" })
	if _, end := r.follow(r.push("vars")); end.State != slipway.DeployLive || volumes() != 2 {
		t.Errorf("an app whose variable names it: %+v, %d volumes", end, volumes())
	}

	shared := newRig(t).start()
	shared.create("iris")
	shared.follow(shared.push("iris"))
	if n := len(must[engine.Snapshot](t)(shared.fake.Observe(t.Context())).Volumes); n != 1 {
		t.Errorf("where several nodes can have a volume, an app has %d", n)
	}
}
