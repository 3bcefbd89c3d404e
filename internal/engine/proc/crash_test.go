package proc_test

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/proc"
)

// crashRoot names, for this program run as the engine to be killed, its folder.
const crashRoot = "SLIPWAY_TEST_CRASH_ROOT"

func crashTask() (engine.Volume, engine.Task) {
	v := engine.Volume{ID: engine.Ref{Kind: engine.KindVolume, Scope: "app", Name: "data"}}
	k := enginetest.Task("app", "predeploy", enginetest.ProgramVolume)
	k.Egress = engine.EgressInternet
	k.Mounts = []engine.Mount{{Volume: v.ID, Path: "/home/app/mount"}}
	return v, k
}

// TestCrashHelper is the engine that TestTaskRunsOnceOverCrashes kills.
func TestCrashHelper(t *testing.T) {
	root := os.Getenv(crashRoot)
	if root == "" {
		t.Skip("runs below another test")
	}
	e, err := proc.New(proc.Options{Root: root, Isolation: isolation(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	v, k := crashTask()
	if err := e.Apply(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stderr, "applying")
	if err := e.Apply(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	<-t.Context().Done()
}

// TestTaskRunsOnceOverCrashes kills an engine at every moment of a task's start.
func TestTaskRunsOnceOverCrashes(t *testing.T) {
	seen := map[string]int{}
	h := open(t)
	for i := range 14 {
		root := fmt.Sprintf("%s/crash%d", filepath.Dir(filepath.Dir(h.Link)), i)
		crash(t, root, time.Duration(i)*7*time.Millisecond)
		e, err := proc.New(proc.Options{Root: root, Isolation: isolation(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
		if err != nil {
			t.Fatal(err)
		}
		v, k := crashTask()
		if err := e.Apply(t.Context(), v); err != nil {
			t.Error(err)
		}
		if err := e.Apply(t.Context(), k); err != nil {
			t.Error(err)
		}
		var r engine.Replica
		enginetest.Await(t, "the task ended", func() bool {
			s, err := e.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r = s.Tasks[0].Replica
			return r.Phase == engine.PhaseExited || r.Phase == engine.PhaseLost
		})
		// Counted from inside: only the app may read its files without root.
		count := k
		count.ID.Name, count.Command = "count", []string{"/bin/sh", "-c", "cat ~/mount/file 2>/dev/null | wc -l"}
		if err := e.Apply(t.Context(), count); err != nil {
			t.Fatal(err)
		}
		enginetest.Await(t, "the runs are counted", func() bool { return enginetest.Printed(t, e, count.ID) != "" })
		runs, err := strconv.Atoi(enginetest.Printed(t, e, count.ID))
		if err != nil {
			t.Fatal(err)
		}
		seen[fmt.Sprintf("%s after %d runs", r.Phase, runs)]++
		if runs > 1 || r.Phase == engine.PhaseExited && (runs != 1 || r.Exit.Failed()) {
			t.Errorf("killed after %d ms: %s with %+v after %d runs", 7*i, r.Phase, r.Exit, runs)
		}
		for _, ref := range []engine.Ref{k.ID, count.ID, v.ID} {
			if err := e.Remove(t.Context(), ref); err != nil {
				t.Error(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if left, err := filepath.Glob(root + "/runc/*"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	t.Log(seen)
}

// crash runs the helper and kills it some time after it applied the task.
func crash(t *testing.T, root string, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashHelper$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), crashRoot+"="+root)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := loop.Sleep(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}
