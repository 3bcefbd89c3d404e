package apps_test

import (
	"sync"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/store"
)

// atOnce asks for all apps at the same time, and tells which were let through;
// the others found no room.
func atOnce(t *testing.T, names []string, do func(name string) error) []string {
	t.Helper()
	results := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() { results[i] = do(name) })
	}
	wg.Wait()
	var through []string
	for i, err := range results {
		if err == nil {
			through = append(through, names[i])
		} else {
			wantKind(t, err, errs.KindExhausted)
		}
	}
	return through
}

func (r *rig) limit(change func(l *store.Limits)) {
	r.t.Helper()
	must[apps.LimitReport](r.t)(r.SetRoom(r.as("root"), change))
}

// First deploys at once do not pass a limit together: what is not yet made
// counts too.
func TestRoomForFirstDeploys(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.build.set(func(b *builder) { b.script = "wait" }) // deploys stay open
	names := []string{"daisy", "iris", "lily", "rose", "tulip"}
	for _, name := range names {
		r.create(name)
		r.source(name)
	}
	push := func(name string) error {
		_, err := r.Deploy(r.as("alice"), name, apps.DeployInput{Source: "src-" + name, Cause: slipway.CausePush})
		return err
	}
	r.limit(func(l *store.Limits) { l.Volumes = 2 })
	through := atOnce(t, names, push)
	if len(through) != 2 {
		t.Fatalf("%q were pushed, where two volumes are allowed", through)
	}
	if err := push(through[0]); err != nil {
		t.Errorf("a second push takes the place of the first: %v", err)
	}
	r.limit(func(l *store.Limits) { l.Volumes, l.Replicas = 0, 3 })
	if more := atOnce(t, names, push); len(more) != 3 {
		t.Errorf("%q were pushed, where three replicas are allowed and %q have theirs", more, through)
	}
	if got := must[apps.LimitReport](t)(r.Room(r.as("root"))); got.Replicas.Used != 3 || got.Volumes.Used != 3 {
		t.Errorf("%d replicas and %d volumes are used", got.Replicas.Used, got.Volumes.Used)
	}
}

func TestRoomForReplicas(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	ctx := r.as("alice")
	names := []string{"iris", "lily", "rose"}
	for _, name := range names {
		r.create(name)
		r.live(r.push(name))
	}
	r.limit(func(l *store.Limits) { l.Replicas = 4 })
	scaled := atOnce(t, names, func(name string) error { return r.Scale(ctx, name, "web", 2) })
	if len(scaled) != 1 {
		t.Errorf("%q have taken the last replica", scaled)
	}
	for _, name := range names {
		if err := r.Pause(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	r.limit(func(l *store.Limits) { l.Replicas = 2 })
	atOnce(t, names, func(name string) error { return r.Resume(ctx, name) })
	if got := must[apps.LimitReport](t)(r.Room(r.as("root"))).Replicas.Used; got != 2 {
		t.Errorf("%d replicas run again, where two may", got)
	}
}
