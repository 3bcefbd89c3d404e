package build

import (
	"archive/tar"
	"context"
	_ "embed"
	"io"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
)

// Scope is where the tasks that build environments run.
const Scope = "builds"

const buildDeadline = 20 * time.Minute

//go:embed env.sh
var envScript string

// EnvTask returns the task that builds the plan's environment. The build sees
// the dependency files and the variables that they name, and nothing else of
// the app: environments are shared by what they were asked for, so what could
// change one must be in its key. vars are the app's variables.
func (b *Builder) EnvTask(ctx context.Context, p Plan, vars []engine.Var) (engine.Task, error) {
	files, names, err := b.ReadSource(ctx, p.Source, wanted)
	if err != nil {
		return engine.Task{}, err
	}
	d, err := findDeps(files, names)
	if err != nil {
		return engine.Task{}, err
	}
	var env []engine.Var
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = v.Value.Reveal()
	}
	for _, name := range p.Vars {
		env = append(env, engine.Var{Name: name, Value: secret.New(values[name])})
	}
	if key := b.key(p, d, func(v string) string { return values[v] }); key != p.EnvKey {
		return engine.Task{}, errs.Conflict("the app's variables or the platform changed since this deploy began: deploy again")
	}
	deps := DepsLayer(p.EnvKey)
	if err := b.putTar(ctx, deps, func(_ context.Context, w io.Writer) error { return writeFiles(w, d.files) }); err != nil {
		return engine.Task{}, err
	}
	env = append(env, b.Index...)
	var trust []engine.Layer
	if b.CAFile != "" {
		name, err := b.authorities(ctx)
		if err != nil {
			return engine.Task{}, err
		}
		trust = []engine.Layer{{Name: name, At: caDir}}
		env = append(env, plain("SSL_CERT_FILE", caDir+"/"+caFile)...)
	}
	env = append(env, plain(
		"SLIPWAY_PYTHON", p.Python, "SLIPWAY_FORM", d.form, "SLIPWAY_EXTRA", strings.Join(supplied(p.Procfile, d), " "),
		"UV_NO_PROGRESS", "1", "NO_COLOR", "1", "UV_PYTHON_DOWNLOADS", "never", "UV_PYTHON_PREFERENCE", "only-system",
		"PYTHONDONTWRITEBYTECODE", "1",
	)...)
	t := engine.Task{
		Workload: engine.Workload{
			ID:      engine.Ref{Kind: engine.KindTask, Scope: Scope, Name: p.EnvKey + "-" + strconv.Itoa(max(p.Attempt, 1))},
			Layers:  append(trust, engine.Layer{Name: uvLayer, At: uvDir}, engine.Layer{Name: deps, At: depsDir}),
			Command: []string{"/bin/sh", "-c", envScript},
			Limits:  engine.Limits{MemoryBytes: b.Memory, MilliCPU: 1000, PIDs: 512},
			Egress:  engine.EgressInternet,
			Labels:  map[string]string{"env": p.EnvKey},
		},
		Deadline: buildDeadline,
		Keep:     []engine.Layer{{Name: p.EnvKey, At: envDir}},
	}
	if d.local {
		t.Layers = append(t.Layers, engine.Layer{Name: p.Source, At: appDir})
	}
	if p.Cache != "" {
		v := CacheVolume(p.Cache)
		if err := b.Engine.Apply(ctx, v); err != nil {
			return engine.Task{}, err
		}
		t.Mounts = []engine.Mount{{Volume: v.ID, Path: "/cache"}}
	}
	t.Env = env
	return t, nil
}

// DepsLayer names the layer that holds the dependency files of an environment.
func DepsLayer(env string) string { return "deps-" + strings.TrimPrefix(env, "env-") }

// CacheVolume is an app's own cache of downloads; remove it with the app.
func CacheVolume(owner string) engine.Volume {
	return engine.Volume{ID: engine.Ref{Kind: engine.KindVolume, Scope: Scope, Name: "cache-" + owner}}
}

func plain(pairs ...string) []engine.Var {
	vars := make([]engine.Var, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		vars = append(vars, engine.Var{Name: pairs[i], Value: secret.New(pairs[i+1])})
	}
	return vars
}

func writeFiles(w io.Writer, files map[string]string) error {
	tw := tar.NewWriter(w)
	for _, name := range sortedKeys(files) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, files[name]); err != nil {
			return err
		}
	}
	return tw.Close()
}
