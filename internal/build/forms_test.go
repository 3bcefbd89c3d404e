package build_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
)

const project = "[project]\nname = 'mine'\nversion = '1'\nrequires-python = '>=3.9'\ndependencies = ['itsdangerous==2.2.0']\n"

// lockOf lets uv itself lock the project.
func lockOf(t *testing.T, b *build.Builder, dependsOnIt engine.Task) string {
	t.Helper()
	k := dependsOnIt
	k.ID.Name, k.Keep = "lock", nil
	k.Command = []string{"/bin/sh", "-c", "cp /deps/pyproject.toml /tmp && cd /tmp && UV_CACHE_DIR=/tmp/c /opt/uv/uv lock -q --python 3.11 && cat uv.lock"}
	exit, lines := run(t, b, k)
	if exit.Failed() {
		t.Fatalf("%+v\n%s", exit, strings.Join(lines, "\n"))
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestRealForms builds an environment from each form of dependencies, and
// starts a Dash-like app without a server object under gunicorn.
func TestRealForms(t *testing.T) {
	b := real(t)
	try := func(name string, files, vars map[string]string, check string) engine.Task {
		t.Helper()
		hs := add(t, b, files)
		p, err := b.Detect(t.Context(), hs, vars)
		if err != nil {
			t.Fatal(err)
		}
		var given []engine.Var
		for k, v := range vars {
			given = append(given, engine.Var{Name: k, Value: secret.New(v)})
		}
		p.Cache = "app_" + name
		task, err := b.EnvTask(t.Context(), p, given)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if exit, lines := run(t, b, task); exit.Failed() {
			t.Fatalf("%s: %+v: %s\n%s", name, exit, b.Explain(exit, lines), strings.Join(lines, "\n"))
		}
		t.Logf("%s: %s in %v", name, p.Dependencies, time.Since(start))
		c := engine.Task{Workload: engine.Workload{
			ID:      engine.Ref{Kind: engine.KindTask, Scope: "check", Name: name},
			Layers:  []engine.Layer{{Name: p.EnvKey, At: "/env"}, {Name: hs, At: "/app"}},
			Command: []string{"/bin/sh", "-c", "cd /app && " + check}, Egress: engine.EgressNone,
		}, Deadline: time.Minute}
		if strings.Contains(check, "WEB") {
			c.Command[2] = strings.ReplaceAll(c.Command[2], "WEB", p.Procfile["web"])
		}
		if exit, lines := run(t, b, c); exit.Failed() {
			t.Errorf("%s: %+v\n%s", name, exit, strings.Join(lines, "\n"))
		}
		return task
	}
	procfile := "web: python app.py"
	task := try("project", map[string]string{"Procfile": procfile, "pyproject.toml": project}, nil, "python -c 'import itsdangerous'")
	lock := lockOf(t, b, task)
	try("lock", map[string]string{"Procfile": "web: gunicorn x", "pyproject.toml": project, "uv.lock": lock}, nil, "python -c 'import itsdangerous, gunicorn'")
	try("local", map[string]string{
		"Procfile": procfile, "requirements.txt": "-e ./lib\n",
		"lib/pyproject.toml": "[project]\nname='mine'\nversion='1'\n[build-system]\nrequires=['setuptools']\nbuild-backend='setuptools.build_meta'\n", "lib/mine.py": "x = 1",
	}, nil, "python -c 'import mine'")
	try("variable", map[string]string{"Procfile": procfile, "requirements.txt": "itsdangerous==${WANTED}"}, map[string]string{"WANTED": "2.1.2"},
		`python -c 'import importlib.metadata as m; assert m.version("itsdangerous") == "2.1.2"'`)
	// The bytecode is of the kind that is never checked against the source.
	try("bytecode", map[string]string{"Procfile": procfile, "requirements.txt": "itsdangerous"}, nil,
		`python -c 'import itsdangerous as i; f = open(i.__cached__, "rb").read(8); assert f[4] == 1, f'`)
	try("entry", map[string]string{"app.py": "import dash\nclass Dash:\n    server = staticmethod(lambda e, s: [])\napp = Dash()\n", "dash.py": "", "requirements.txt": "itsdangerous"}, nil,
		"WEB --check-config")
}
