package proc_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/proc"
)

func openPlain(t *testing.T) enginetest.Harness {
	t.Helper()
	h := openAs(t, engine.IsolationNone)
	h.Many = 60
	return h
}

// TestPlainContract: what the contract asks of every engine holds without
// sandboxes too, but for what they share.
func TestPlainContract(t *testing.T) { enginetest.Run(t, openPlain) }

func TestPlainSaysWhatIsMissing(t *testing.T) {
	h := openPlain(t)
	i, err := h.Engine.Info(t.Context())
	if err != nil || i.Isolation != engine.IsolationNone || i.MemoryEnforced || i.Egress || !strings.Contains(i.Why, "plain processes") {
		t.Errorf("%+v, %v", i, err)
	}
	if err := proc.Preflight(engine.IsolationNone, "/tmp/with space"); err == nil || !strings.Contains(err.Error(), "--data") {
		t.Errorf("a folder that no script can name: %v", err)
	}
}

// TestPlainPlaces: the program finds its parts where they are, and replicas of
// one port do not meet.
func TestPlainPlaces(t *testing.T) {
	h := openPlain(t)
	ls := h.Engine.Layers()
	for name, e := range map[string]enginetest.Entry{
		"src-1": {Name: "file", Body: "source"},
		"env-1": {Name: "bin/tool", Body: "tool"},
	} {
		if err := ls.Put(t.Context(), name, enginetest.Tar(t, e)); err != nil {
			t.Fatal(err)
		}
	}
	out, exit := task(t, h.Engine, "places", "", func(k *engine.Task) {
		k.Command = []string{"/bin/sh", "-c", `cat file /app/file /env/bin/tool; echo; echo more >file; echo "$PATH" | grep -c ^/tmp.*env-1/bin:; cd ~ && touch here && pwd; echo /applications /usr/env`}
		k.Layers = []engine.Layer{{Name: "src-1", At: "/app"}, {Name: "env-1", At: "/env"}}
	})
	if f := strings.Fields(out); exit.Failed() || len(f) != 5 || f[0] != "sourcesourcetool" || f[1] != "1" || !strings.HasSuffix(f[2], "/home") || f[3] != "/applications" || f[4] != "/usr/env" {
		t.Errorf("it ended as %+v and printed %q", exit, out)
	}
	r, err := ls.Open(t.Context(), "src-1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := enginetest.Untar(t, r)["file"]; got != "source" {
		t.Errorf("an app changed its layer to %q", got)
	}
	w := enginetest.Workload("app", "web-v1", enginetest.ProgramServe)
	w.Replicas = 2
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "both answer", func() bool {
		s, err := h.Engine.Observe(t.Context())
		if err != nil || len(s.Workloads) != 1 || len(s.Workloads[0].Replicas) != 2 {
			return false
		}
		for _, r := range s.Workloads[0].Replicas {
			c, err := dial.Dial(t.Context(), r.Endpoint)
			if err != nil {
				return false
			}
			_ = c.Close()
		}
		return true
	})
}

// sleepers finds the init of the program "sleep 98764", and the processes "sleep 98765".
func sleepers(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		args, err := os.ReadFile(d + "/cmdline")
		stat, serr := os.ReadFile(d + "/stat")
		f := strings.Split(string(args), "\x00")
		if errors.Join(err, serr) != nil || len(f) != 3 || f[0] != "sleep" || !strings.HasPrefix(f[1], "9876") {
			continue
		}
		pid := filepath.Base(d)
		if f[1] == "98764" {
			pid = strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[1]
		}
		if found[f[1]], err = strconv.Atoi(pid); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestPlainLeavesNothing: what a program forgot ends with it, also when its
// init is killed.
func TestPlainLeavesNothing(t *testing.T) {
	h := openPlain(t)
	w := enginetest.Workload("app", "web-v1", enginetest.ProgramSleep)
	w.Command = []string{"/bin/sh", "-c", "setsid sleep 98765 & exec sleep 98764"}
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "both sleep", func() bool { return len(sleepers(t)) == 2 })
	if err := unix.Kill(sleepers(t)["98764"], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it is started again", func() bool {
		s, err := h.Engine.Observe(t.Context())
		return err == nil && len(s.Workloads[0].Replicas) == 1 && s.Workloads[0].Replicas[0].Phase == engine.PhaseRunning && s.Workloads[0].Replicas[0].Restarts > 0 && len(sleepers(t)) == 2
	})
	if err := h.Engine.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if left := sleepers(t); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
