package build_test

import (
	"archive/tar"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/fake"
)

// withPythons is an engine that has other Pythons than the fake.
type withPythons struct{ engine.Engine }

func (e withPythons) Info(ctx context.Context) (engine.Info, error) {
	i, err := e.Engine.Info(ctx)
	i.Pythons = []string{"3.9", "3.11", "3.12"}
	return i, err
}

func builder(t *testing.T, change ...func(*build.Options)) *build.Builder {
	t.Helper()
	e := fake.New(fake.Options{})
	t.Cleanup(func() { _ = e.Close() })
	o := build.Options{Engine: withPythons{e}, Data: t.TempDir(), Python: "3.11", Platform: "test"}
	for _, c := range change {
		c(&o)
	}
	return build.New(o)
}

func add(t *testing.T, b *build.Builder, files map[string]string) string {
	t.Helper()
	hs := make([]tar.Header, 0, len(files))
	for name, text := range files {
		hs = append(hs, file(name, text))
	}
	src, err := b.AddSource(t.Context(), pack(t, hs...))
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func detect(t *testing.T, files map[string]string) (build.Plan, error) {
	t.Helper()
	b := builder(t)
	return b.Detect(t.Context(), add(t, b, files), nil)
}

const dashApp = "from dash import Dash\napp = Dash(__name__)\n"

func TestDetectWeb(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		web   string
		said  string
	}{
		"procfile":          {map[string]string{"Procfile": "\ufeffweb: gunicorn a:b\r\n# x\r\nWorker:  python w.py\r\n"}, "gunicorn a:b", "Procfile: web, worker"},
		"server":            {map[string]string{"app.py": dashApp + "server = app.server\n"}, "gunicorn app:server", "app.py has the object server"},
		"dash only":         {map[string]string{"app.py": dashApp}, `gunicorn "slipway_entry:load('app:app.server')"`, "makes the Dash app app"},
		"dash over lines":   {map[string]string{"main.py": "import dash\ndashboard = dash.Dash(\n  __name__,\n  title='(',\n)\n"}, `gunicorn "slipway_entry:load('main:dashboard.server')"`, "main.py"},
		"typed":             {map[string]string{"dash_app.py": "import dash\napp: dash.Dash = dash.Dash(__name__)\n"}, `gunicorn "slipway_entry:load('dash_app:app.server')"`, ""},
		"flask":             {map[string]string{"app.py": "from flask import Flask\napi = Flask(__name__)\n"}, "gunicorn app:api", "with Flask"},
		"fastapi":           {map[string]string{"main.py": "from fastapi import FastAPI\napp = FastAPI()\n"}, "uvicorn main:app", "with FastAPI"},
		"streamlit":         {map[string]string{"app.py": "import streamlit as st\nst.write(1)\n"}, "streamlit run app.py", "imports streamlit"},
		"wsgi first":        {map[string]string{"wsgi.py": "from app import server as application\n", "app.py": dashApp + "server = app.server\n"}, "gunicorn wsgi:application", "wsgi.py"},
		"index of pages":    {map[string]string{"index.py": "from dash import html\nfrom app import app\napp.layout = html.Div()\n", "app.py": dashApp + "server = app.server\n"}, `gunicorn "slipway_entry:load('index:app.server')"`, "index.py"},
		"imported server":   {map[string]string{"index.py": "from app import (app,\n  server)\n", "app.py": dashApp}, "gunicorn index:server", "index.py"},
		"src":               {map[string]string{"src/app.py": dashApp + "server = app.server"}, "gunicorn --chdir src app:server", "src/app.py"},
		"src package":       {map[string]string{"src/app.py": dashApp + "server = app.server", "src/__init__.py": ""}, "gunicorn src.app:server", ""},
		"src fastapi":       {map[string]string{"src/main.py": "from fastapi import FastAPI\napp = FastAPI()\n"}, "uvicorn --app-dir src main:app", ""},
		"django":            {map[string]string{"manage.py": "", "site/wsgi.py": "application = get_wsgi_application()"}, "gunicorn site.wsgi:application", "Django"},
		"render":            {map[string]string{"render.yaml": "services:\n  - startCommand: gunicorn run:x\n"}, "gunicorn run:x", "render.yaml"},
		"not in text":       {map[string]string{"app.py": "'''\nserver = 1\n'''\n# app = Dash()\n", "main.py": "server = 1"}, "gunicorn main:server", "main.py"},
		"not in a function": {map[string]string{"app.py": "def f():\n    server = 1\n", "main.py": "server = 1"}, "gunicorn main:server", "main.py"},
		"worker only":       {map[string]string{"Procfile": "worker: python w.py", "app.py": dashApp + "server = app.server"}, "gunicorn app:server", "no web in the Procfile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := detect(t, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if p.Procfile["web"] != tt.web {
				t.Errorf("web: %s, want %s", p.Procfile["web"], tt.web)
			}
			if all := strings.Join(p.Detected, "\n"); !strings.Contains(all, tt.said) {
				t.Errorf("%q is missing in:\n%s", tt.said, all)
			}
		})
	}
}

func TestDetectRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		kind  errs.Kind
		want  string
	}{
		"nothing":        {map[string]string{"notes.txt": "x"}, errs.KindInvalid, "add a Procfile with a line web: gunicorn app:server"},
		"no web":         {map[string]string{"Procfile": "worker: x"}, errs.KindInvalid, "has no line for web"},
		"bad line":       {map[string]string{"Procfile": "web: x\ngunicorn app"}, errs.KindInvalid, "line 2"},
		"twice":          {map[string]string{"Procfile": "web: x\nweb: y"}, errs.KindInvalid, "second time"},
		"old python":     {map[string]string{"Procfile": "web: x", "runtime.txt": "python-3.6.8"}, errs.KindInvalid, "asks for Python 3.6, and this platform has 3.9, 3.11, 3.12"},
		"odd python":     {map[string]string{"Procfile": "web: x", "runtime.txt": "latest"}, errs.KindInvalid, "names no Python"},
		"requires":       {map[string]string{"Procfile": "web: x", "pyproject.toml": "[project]\nrequires-python = '>=3.13'"}, errs.KindInvalid, "requires Python >=3.13"},
		"pipfile":        {map[string]string{"Procfile": "web: x", "Pipfile": ""}, errs.KindUnsupported, "pipenv requirements > requirements.txt"},
		"conda":          {map[string]string{"Procfile": "web: x", "environment.yml": ""}, errs.KindUnsupported, "not supported yet"},
		"poetry":         {map[string]string{"Procfile": "web: x", "poetry.lock": "", "pyproject.toml": "[tool.poetry.dependencies]\ndash='*'"}, errs.KindUnsupported, "poetry export"},
		"apt":            {map[string]string{"Procfile": "web: x", "Aptfile": "libgdal"}, errs.KindUnsupported, "Aptfile"},
		"missing file":   {map[string]string{"Procfile": "web: x", "requirements.txt": "-r base.txt"}, errs.KindInvalid, "base.txt, which is not in"},
		"include out":    {map[string]string{"Procfile": "web: x", "requirements.txt": "x\n-r ../base.txt"}, errs.KindInvalid, "line 2"},
		"include itself": {map[string]string{"Procfile": "web: x", "requirements.txt": "-r requirements.txt"}, errs.KindInvalid, "too deeply"},
		"broken toml":    {map[string]string{"Procfile": "web: x", "pyproject.toml": "[project"}, errs.KindInvalid, "pyproject.toml cannot be read"},
		"no variable":    {map[string]string{"Procfile": "web: x", "requirements.txt": "x @ git+https://${TOKEN}@example.com/x"}, errs.KindInvalid, "${TOKEN}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := detect(t, tt.files)
			if !errs.Is(err, tt.kind) || !strings.Contains(errs.Message(err), tt.want) {
				t.Errorf("got %s %q, want %s %q", errs.KindOf(err), errs.Message(err), tt.kind, tt.want)
			}
		})
	}
}

func TestDetectPython(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ file, text, want string }{
		"default":        {"x", "", "3.11"},
		"runtime":        {"runtime.txt", "python-3.9.18\n", "3.9"},
		"malformed":      {"runtime.txt", " Python 3.12 \r\n", "3.12"},
		"python-version": {".python-version", "3.12\n", "3.12"},
		"project":        {"project.toml", "[python]\nversion = '3.9'\n", "3.9"},
		"buildpack":      {"project.toml", "[[build.env]]\nname='BP_CPYTHON_VERSION'\nvalue='3.12.*'\n", "3.12"},
		"requires":       {"pyproject.toml", "[project]\nname='x'\nrequires-python = '>=3.8,<4'\n", "3.11"},
		"newer":          {"pyproject.toml", "[project]\nname='x'\nrequires-python = '>=3.12'\n", "3.12"},
		"below":          {"pyproject.toml", "[project]\nname='x'\nrequires-python = '<3.11'\n", "3.9"},
		"compatible":     {"pyproject.toml", "[project]\nname='x'\nrequires-python = '~=3.12.1'\n", "3.12"},
		"not":            {"pyproject.toml", "[project]\nname='x'\nrequires-python = '!=3.11.*'\n", "3.12"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := detect(t, map[string]string{"Procfile": "web: x", tt.file: tt.text})
			if err != nil || p.Python != tt.want {
				t.Errorf("Python %s (%s), %v, want %s", p.Python, p.PythonWhy, err, tt.want)
			}
		})
	}
}

func utf16le(s string) string {
	out := "\xff\xfe"
	for _, c := range []byte(s) {
		out += string([]byte{c, 0})
	}
	return out
}

func TestDetectDependencies(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		label string
		warns string
	}{
		"none":         {map[string]string{}, "no requirements.txt", ""},
		"empty":        {map[string]string{"requirements.txt": "\n# x\n"}, "requirements.txt: 0 packages", ""},
		"one":          {map[string]string{"requirements.txt": "dash==4.4.1 # x\n"}, "requirements.txt: 1 package", ""},
		"utf-16":       {map[string]string{"requirements.txt": utf16le("dash==4.4.1\r\nflask\r\n")}, "requirements.txt: 2 packages", ""},
		"includes":     {map[string]string{"requirements.txt": "-r reqs/base.txt\n-c reqs/c.txt", "reqs/base.txt": "-r more.txt\na\n", "reqs/more.txt": "b[x]>=1 ; python_version > '3'\nc \\\n  ==1", "reqs/c.txt": "d==1"}, "3 packages", ""},
		"wins":         {map[string]string{"requirements.txt": "a", "pyproject.toml": "[project]\ndependencies=['b','c']", "environment.yml": ""}, "requirements.txt: 1 package", ""},
		"pyproject":    {map[string]string{"pyproject.toml": "[project]\nname='x'\ndependencies=['b','c>1']"}, "pyproject.toml: 2 packages", ""},
		"lock":         {map[string]string{"pyproject.toml": "[project]\nname='x'\ndependencies=['b']", "uv.lock": "version = 1\n[[package]]\nname = \"x\"\nversion = \"0\"\n[[package]]\nname = \"b\"\nversion = \"1\"\n"}, "uv.lock: 1 package", ""},
		"only tools":   {map[string]string{"pyproject.toml": "[tool.black]\n"}, "no requirements.txt", ""},
		"apt beside":   {map[string]string{"requirements.txt": "a", "Aptfile": "x"}, "1 package", "Aptfile is not supported yet"},
		"holes":        {map[string]string{"requirements.txt": "dash==2.9.0"}, "1 package", "without signing in"},
		"dotenv":       {map[string]string{"requirements.txt": "a", ".env": "A=1"}, "1 package", ".env is not loaded"},
		"editable":     {map[string]string{"requirements.txt": "-e .\na", "setup.py": ""}, "1 package", "as editable"},
		"app.json":     {map[string]string{"app.json": `{"scripts":{"dokku":{"predeploy":"x"}}}`}, "no requirements.txt", "app.json with scripts.dokku is deprecated"},
		"unused extra": {map[string]string{"requirements.txt": "--index-url https://example.com/simple\n--no-binary :all:\na"}, "1 package", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.files["Procfile"] = "web: python app.py"
			p, err := detect(t, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(p.Dependencies, tt.label) {
				t.Errorf("dependencies %q, want %q", p.Dependencies, tt.label)
			}
			if all := strings.Join(p.Warnings, "\n"); !strings.Contains(all, tt.warns) || (tt.warns == "") != (all == "") {
				t.Errorf("warnings %q, want %q", all, tt.warns)
			}
		})
	}
}

func TestHooksAndPrefix(t *testing.T) {
	t.Parallel()
	p, err := detect(t, map[string]string{
		"Procfile":     "web: python app.py\nrelease: migrate",
		"app.json":     `{"scripts":{"dokku":{"predeploy":"old","postdeploy":"old"}}}`,
		"project.toml": "[scripts]\npredeploy = 'python pre.py'\npostdeploy = {command = 'python post.py'}\n",
		"app.py":       "import os\nprefix = os.environ['DASH_REQUESTS_PATHNAME_PREFIX']\n",
	})
	if err != nil || p.Predeploy != "python pre.py" || p.Postdeploy != "python post.py" || !p.DashPrefix || p.Procfile["release"] != "" {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = detect(t, map[string]string{"Procfile": "web: x\nrelease: migrate", "app.py": "DASH_REQUESTS_PATHNAME_PREFIX; Dash(url_base_pathname='/')"})
	if err != nil || p.Predeploy != "migrate" || p.DashPrefix {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestMount(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":   {map[string]string{"app.py": "app.mount('/static', files)\nself.componentDidMount()"}, ""},
		"joined":    {map[string]string{"lib/deep/in/x.py": `Path.home() / "mount" / "count"`}, build.MountUsed},
		"path":      {map[string]string{"start.sh": "cp a ~/mount/a"}, build.MountUsed},
		"Procfile":  {map[string]string{"Procfile": "web: run --data /home/app/mount"}, build.MountUsed},
		"data":      {map[string]string{"notes.csv": "~/mount"}, ""},
		"asked for": {map[string]string{"project.toml": "[slipway]\nmount = true\n"}, build.MountUsed},
		"declined":  {map[string]string{"project.toml": "[slipway]\nmount = false\n", "app.py": "'~/mount'"}, build.MountOff},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := builder(t)
			files := map[string]string{"Procfile": "web: x"}
			maps.Copy(files, tt.files)
			p, err := b.Detect(t.Context(), add(t, b, files), nil)
			if err != nil || p.Mount != tt.want {
				t.Errorf("mount is %q, not %q (%q, %v)", p.Mount, tt.want, p.Detected, err)
			}
		})
	}
}

func TestEnvironmentIsKeyedByWhatItIsMadeOf(t *testing.T) {
	t.Parallel()
	base := map[string]string{"Procfile": "web: gunicorn app:server", "requirements.txt": "dash==4.4.1\n", "app.py": "1"}
	key := func(change map[string]string, opts ...func(*build.Options)) string {
		t.Helper()
		b := builder(t, opts...)
		files := map[string]string{}
		for _, m := range []map[string]string{base, change} {
			for k, v := range m {
				files[k] = v
			}
		}
		p, err := b.Detect(t.Context(), add(t, b, files), map[string]string{"A": "1"})
		if err != nil {
			t.Fatal(err)
		}
		return p.EnvKey
	}
	first := key(nil)
	for name, tt := range map[string]struct {
		change map[string]string
		opt    func(*build.Options)
		same   bool
	}{
		"code":         {map[string]string{"app.py": "2"}, nil, true},
		"comment":      {map[string]string{"requirements.txt": "# hello\r\ndash==4.4.1\r\n"}, nil, true},
		"packages":     {map[string]string{"requirements.txt": "dash==4.4.0"}, nil, false},
		"python":       {map[string]string{"runtime.txt": "3.12"}, nil, false},
		"server":       {map[string]string{"Procfile": "web: python app.py"}, nil, false},
		"source":       {map[string]string{"requirements.txt": "dash==4.4.1\n."}, nil, false},
		"platform":     {nil, func(o *build.Options) { o.Platform = "other" }, false},
		"index":        {nil, func(o *build.Options) { o.Index = build.IndexConfig([]string{"UV_DEFAULT_INDEX=x"}, "") }, false},
		"unused files": {map[string]string{"uv.lock": "x", "notes.txt": "y"}, nil, true},
	} {
		opts := []func(*build.Options){}
		if tt.opt != nil {
			opts = append(opts, tt.opt)
		}
		if got := key(tt.change, opts...); (got == first) != tt.same {
			t.Errorf("%s: %s and %s", name, got, first)
		}
	}
}

func TestEnvTaskSeesOnlyWhatItIsKeyedBy(t *testing.T) {
	t.Parallel()
	b := builder(t)
	src := add(t, b, map[string]string{"Procfile": "web: gunicorn app:server", "requirements.txt": "x @ https://${TOKEN}@example.com/x.tar.gz"})
	vars := map[string]string{"TOKEN": "t0p", "OTHER": "o"}
	p, err := b.Detect(t.Context(), src, vars)
	if err != nil {
		t.Fatal(err)
	}
	p.Cache, p.Attempt = "app_1", 2
	given := []engine.Var{{Name: "TOKEN", Value: secret.New("t0p")}, {Name: "OTHER", Value: secret.New("o")}, {Name: "UV_INDEX", Value: secret.New("evil")}}
	task, err := b.EnvTask(t.Context(), p, given)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range task.Env {
		names = append(names, v.Name)
	}
	if !slices.Contains(names, "TOKEN") || slices.Contains(names, "OTHER") || slices.Contains(names, "UV_INDEX") {
		t.Errorf("the build sees %v", names)
	}
	if task.ID.Name != p.EnvKey+"-2" || task.ID.Scope != build.Scope || task.Keep[0].Name != p.EnvKey || task.Mounts[0].Volume != build.CacheVolume("app_1").ID {
		t.Errorf("the task is %+v", task)
	}
	for _, l := range task.Layers {
		if l.Name == src {
			t.Error("the build sees the whole source")
		}
	}
	given[0].Value = secret.New("other")
	if _, err := b.EnvTask(t.Context(), p, given); !errs.Is(err, errs.KindConflict) {
		t.Errorf("a changed variable: %v", err)
	}
	if ok, err := b.EnvReady(t.Context(), p); ok || err != nil {
		t.Errorf("ready: %v, %v", ok, err)
	}
}
