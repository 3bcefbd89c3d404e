package apps_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/control/apps"
)

// replica returns the app's one replica of web.
func (r *rig) replica(name string) apps.Replica {
	r.t.Helper()
	list := must[[]apps.ProcessStatus](r.t)(r.Processes(r.as("alice"), name))
	if len(list) != 1 || len(list[0].Instances) != 1 {
		return apps.Replica{}
	}
	return list[0].Instances[0]
}

// TestSilentReplicaIsRestarted: it answered once, and then no more.
func TestSilentReplicaIsRestarted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Limits.Silent = 200 * time.Millisecond
	r.build.plan.Procfile = map[string]string{"web": "fades"}
	r.start()
	r.create("iris")
	r.live(r.push("iris"))
	r.eventually("it is restarted and serves", func() bool {
		i := r.replica("iris")
		return i.Restarts == 1 && i.State == apps.ReplicaRunning && len(r.router.route("iris").Targets) == 1
	})
	if why := r.replica("iris").Reason; !strings.Contains(why, "did not answer for") || !strings.Contains(why, "port not bound") {
		t.Errorf("the reason is %q", why)
	}
}

// TestUsageNow: counters become rates.
func TestUsageNow(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	r.create("iris")
	r.live(r.push("iris"))
	u := must[apps.UsageNow](t)(r.UsageNow(r.as("alice"), "iris"))
	if u.App != "iris" || u.At.IsZero() || u.MemoryBytes <= 0 || u.MilliCPU <= 0 || len(u.Replicas) != 1 {
		t.Fatalf("usage is %+v", u)
	}
	if w := u.Replicas[0]; w.Process != "web" || w.Release != 1 || w.State != apps.ReplicaRunning || w.MemoryBytes != u.MemoryBytes || w.MemoryLimit != 1024<<20 || w.PIDs <= 0 {
		t.Errorf("its replica is %+v", w)
	}
	if _, err := r.UsageNow(r.as("bob"), "iris"); err == nil {
		t.Error("bob sees what alice's app takes")
	}
}
