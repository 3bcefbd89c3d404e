package build_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/proc"
	"slipway.dev/slipway/internal/ignore"
)

// real is a builder on real sandboxes; it needs a machine that has them, and a
// package index.
func real(t *testing.T) *build.Builder {
	t.Helper()
	if os.Getenv("SLIPWAY_TEST_BUILDS") == "" {
		t.Skip("builds real environments: set SLIPWAY_TEST_BUILDS=1")
	}
	root := t.TempDir()
	e, err := proc.New(proc.Options{Root: filepath.Join(root, "engine"), Log: slog.New(slog.DiscardHandler), FirstUID: 310000})
	if err != nil {
		t.Skipf("no sandboxes here: %v", err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	config, _ := exec.CommandContext(t.Context(), "/usr/bin/python3", "-m", "pip", "config", "list").Output()
	b := build.New(build.Options{
		Engine: e, Data: filepath.Join(root, "build"), Python: "3.11",
		Index: build.IndexConfig(os.Environ(), string(config)), Environ: os.Environ(),
	})
	start := time.Now()
	if err := b.PrepareTools(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("uv: %v", time.Since(start))
	return b
}

func source(t *testing.T, b *build.Builder, dir string) string {
	t.Helper()
	r, w := io.Pipe()
	var src string
	err := loop.Run(t.Context(),
		func(ctx context.Context) error {
			err := ignore.Tar(ctx, dir, w)
			w.CloseWithError(err)
			return err
		},
		func(ctx context.Context) (err error) {
			src, err = b.AddSource(ctx, r)
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// run runs a task to its end and returns what it printed.
func run(t *testing.T, b *build.Builder, task engine.Task) (engine.Exit, []string) {
	t.Helper()
	if err := b.Engine.Apply(t.Context(), task); err != nil {
		t.Fatal(err)
	}
	defer b.Engine.Remove(context.WithoutCancel(t.Context()), task.ID) //nolint:errcheck // the engine ends with the test
	r, err := b.Engine.Logs(t.Context(), engine.LogQuery{Ref: task.ID, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var lines []string
	for {
		l, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l.Text)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		s, err := b.Engine.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range s.Tasks {
			if k.ID == task.ID && k.Replica.Exit != nil {
				return *k.Replica.Exit, lines
			}
		}
	}
	t.Fatalf("the task never ended: %s", strings.Join(lines, "\n"))
	return engine.Exit{}, nil
}

// TestRealApps builds the environment of every sample app and imports its
// entry module in it.
func TestRealApps(t *testing.T) {
	b := real(t)
	for _, app := range []struct{ dir, check string }{
		{"../../examples/iris", "import app; app.server"},
		{"../../test/apps/flask-worker", "import app, slipway_entry; slipway_entry.load('app:server')"},
		{"../../test/apps/dash-prefix", "import app"},
		{"../../test/apps/dash-auth-025", "import app"},
		{"../../test/apps/dash-auth-026", "import app"},
		{"../../test/apps/fastapi", "import main, uvicorn"},
		{"../../test/apps/streamlit", "import streamlit, pkg_resources"},
		{"../../test/apps/probe", "import app"},
	} {
		t.Run(filepath.Base(app.dir), func(t *testing.T) {
			src := source(t, b, app.dir)
			p, err := b.Detect(t.Context(), src, nil)
			if err != nil {
				t.Fatal(err)
			}
			task, err := b.EnvTask(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			exit, lines := run(t, b, task)
			if exit.Failed() {
				t.Fatalf("%+v: %s\n%s", exit, b.Explain(exit, lines), strings.Join(lines, "\n"))
			}
			t.Logf("environment in %v, web: %s", time.Since(start), p.Procfile["web"])
			if ok, err := b.EnvReady(t.Context(), p); !ok || err != nil {
				t.Fatalf("ready: %v, %v", ok, err)
			}
			start = time.Now()
			check := engine.Task{Workload: engine.Workload{
				ID:      engine.Ref{Kind: engine.KindTask, Scope: "check", Name: filepath.Base(app.dir)},
				Layers:  []engine.Layer{{Name: p.EnvKey, At: "/env"}, {Name: src, At: "/app"}},
				Command: []string{"/bin/sh", "-c", "cd /app && exec python -c \"" + app.check + "\""},
				Env:     build.RuntimeEnv(build.Facts{App: "x", Process: "web", Port: 8050}),
				Egress:  engine.EgressNone,
			}, Deadline: time.Minute}
			if exit, lines := run(t, b, check); exit.Failed() {
				t.Errorf("%+v\n%s", exit, strings.Join(lines, "\n"))
			}
			t.Logf("imported in %v", time.Since(start))
		})
	}
}

func TestRealFailure(t *testing.T) {
	b := real(t)
	for _, tt := range []struct{ requirements, want string }{
		{"slipway-no-such-package-anywhere==1.0", "there is no package named slipway-no-such-package-anywhere"},
		{"flask==99.1", "no version 99.1 of flask exists"},
		{"flask==3.1.3\nwerkzeug==1.0", "contradict each other"},
		{"not a requirement!", "cannot be read"},
	} {
		src, err := b.AddSource(t.Context(), pack(t, file("Procfile", "web: python app.py"), file("requirements.txt", tt.requirements)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := b.Detect(t.Context(), src, nil)
		if err != nil {
			t.Fatal(err)
		}
		task, err := b.EnvTask(t.Context(), p, nil)
		if err != nil {
			t.Fatal(err)
		}
		exit, lines := run(t, b, task)
		if got := b.Explain(exit, lines); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q\n%s", tt.requirements, got, tt.want, strings.Join(lines, "\n"))
		}
		if bytes.Contains([]byte(strings.Join(lines, "")), []byte("Traceback")) {
			t.Errorf("a traceback: %s", lines)
		}
	}
}
