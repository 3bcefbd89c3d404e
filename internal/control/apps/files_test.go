package apps_test

import (
	"io"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
)

// Files are within reach while a replica runs that has ~/mount, and the error
// tells what to do while none does.
func TestFilesWithinReach(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	alice := r.as("alice")
	wants := func(what string) {
		t.Helper()
		_, err := r.ListFiles(alice, "iris", "", "", 10)
		if !errs.Is(err, errs.KindConflict) || !strings.Contains(errs.Message(err), what) {
			t.Errorf("got %v, want to hear of %q", err, what)
		}
	}
	wants("deploy it first")
	push := func(mount string) {
		t.Helper()
		r.build.set(func(b *builder) { b.plan.Mount = mount })
		if _, end := r.follow(r.push("iris")); end.State != slipway.DeployLive {
			t.Fatalf("%+v", end)
		}
	}
	push(build.MountUsed)
	if err := r.WriteFile(alice, "iris", "a", strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	if err := r.ReadFile(alice, "iris", "a", func(f apps.File) io.Writer { return &got }); err != nil || got.String() != "text" {
		t.Errorf("read %q, %v", got.String(), err)
	}
	if err := r.Pause(alice, "iris"); err != nil {
		t.Fatal(err)
	}
	wants("resume the app")
	if err := r.Resume(alice, "iris"); err != nil {
		t.Fatal(err)
	}
	push(build.MountOff)
	wants("mount = true")
	push(build.MountUsed)
	if p, err := r.ListFiles(alice, "iris", "", "", 10); err != nil || p.Total != 1 || p.Items[0].Name != "a" {
		t.Errorf("there are %+v, %v", p, err)
	}
	if err := r.DeleteFile(r.as("bob"), "iris", "a"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("bob: %v", err)
	}
}
