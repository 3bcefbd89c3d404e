package proc_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/proc"
)

// open makes an engine in a folder with a short name, because of its sockets.
func open(t *testing.T) enginetest.Harness { t.Helper(); return openTB(t) }

func openTB(t testing.TB) enginetest.Harness {
	t.Helper()
	needSandboxes(t)
	return openAs(t, isolation())
}

func needSandboxes(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 && isolation() != engine.IsolationRootless {
		t.Skip("sandboxes need root; as root, TestRootless runs those without")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("sandboxes need runc")
	}
}

func openAs(t testing.TB, isolation engine.Isolation) enginetest.Harness {
	t.Helper()
	root, err := os.MkdirTemp("/tmp", "slw") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(root, "link", "platform.sock")
	if err := os.Mkdir(filepath.Dir(link), 0o700); err != nil {
		t.Fatal(err)
	}
	var last *proc.Engine
	start := func() engine.Engine {
		if last != nil {
			if err := last.Close(); err != nil {
				t.Error(err)
			}
		}
		last, err = proc.New(proc.Options{
			Root: filepath.Join(root, "engine"), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			Links: map[string]string{"platform": link}, Isolation: isolation,
		})
		if err != nil {
			t.Fatal(err)
		}
		return last
	}
	h := enginetest.Harness{Engine: start(), Reopen: start, Link: link, Real: true, Plain: isolation == engine.IsolationNone}
	h.Leftovers = func() []string { return leftovers(t, root) }
	t.Cleanup(func() {
		s, err := last.Observe(t.Context())
		if err == nil && t.Failed() {
			t.Logf("at the end: %+v", s)
		}
		for _, w := range s.Workloads {
			_ = last.Remove(context.Background(), w.ID)
		}
		for _, k := range s.Tasks {
			_ = last.Remove(context.Background(), k.ID)
		}
		if err := last.Close(); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return h
}

// leftovers finds what belongs to the engine below root, by its containers' ids.
func leftovers(t testing.TB, root string) (left []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(mounts)) {
		if strings.Contains(l, root) {
			left = append(left, "mount "+l)
		}
	}
	for _, glob := range []string{"/engine/objects/*", "/engine/runc/*"} {
		found, err := filepath.Glob(root + glob)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	procs, err := filepath.Glob("/proc/[0-9]*/root")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		m, err := os.ReadFile(filepath.Dir(p) + "/mountinfo")
		if err == nil && strings.Contains(string(m), strings.TrimPrefix(root, "/tmp")+"/engine/objects/") {
			left = append(left, "process "+filepath.Dir(p))
		}
		if env, err := os.ReadFile(filepath.Dir(p) + "/environ"); err == nil && strings.Contains(string(env), "SLIPWAY_REPLICA="+root) {
			left = append(left, "process "+filepath.Dir(p))
		}
	}
	return left
}

func TestContract(t *testing.T) {
	enginetest.Run(t, open)
}
