// Package build turns an app's files into what an engine runs: a source layer
// named by its content, a plan that says in sentences what was found, and the
// task that builds the environment at /env. It executes nothing of the app
// itself: detection reads text, and everything else happens in a sandbox.
package build

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"slipway.dev/slipway/internal/engine"
)

// Recipe is the version of how environments are built. Raising it rebuilds all
// of them at their next deploy.
const Recipe = "1"

// UV is the version of the installer that builds environments.
const UV = "0.13.9"

const (
	uvLayer = "tool-uv-" + UV
	uvDir   = "/opt/uv"
	caDir   = "/opt/ca"
	caFile  = "ca.crt"
	depsDir = "/deps"
	appDir  = "/app"
	envDir  = "/env"
)

// Plan is what a source needs, and why. It is plain data: apps keep it with the deploy.
type Plan struct {
	Source       string            `json:"source"`     // the layer that it was made from
	Python       string            `json:"python"`     // minor version: 3.11
	PythonWhy    string            `json:"python_why"` // "runtime.txt asks for it"
	Procfile     map[string]string `json:"procfile"`
	Detected     []string          `json:"detected"` // sentences for the log
	EnvKey       string            `json:"env_key"`  // layer of the environment: env-…
	Recipe       string            `json:"recipe"`
	Predeploy    string            `json:"predeploy,omitempty"`
	Postdeploy   string            `json:"postdeploy,omitempty"`
	Dependencies string            `json:"dependencies"` // "requirements.txt: 3 packages"
	Warnings     []string          `json:"warnings,omitempty"`
	DashPrefix   bool              `json:"dash_prefix,omitempty"` // set DASH_REQUESTS_PATHNAME_PREFIX
	// Mount tells whether the app keeps files in ~/mount: MountUsed when it says
	// or looks so, MountOff when project.toml declines.
	Mount string `json:"mount,omitempty"`
	// Vars are the variables that the requirements name as ${VAR}: the only
	// ones of the app that a build gets to see.
	Vars []string `json:"vars,omitempty"`
	// Cache names who owns the cache of downloads, such as the app's id; set by
	// the caller. Empty: no cache. A cache is never shared by apps, because the
	// build of one app could leave there what the build of another would run.
	Cache string `json:"cache,omitempty"`
	// Attempt counts the tries to build this environment, from 1; set by the caller.
	Attempt int `json:"attempt,omitempty"`
}

// Values of Plan.Mount.
const (
	MountUsed = "used"
	MountOff  = "off"
)

// Options configure a Builder. The zero value of a field is its default.
type Options struct {
	Engine engine.Engine
	Data   string // a folder for what is being received
	Log    *slog.Logger

	Python    string       // default minor version; "" = the newest that the engine has
	Platform  string       // what environments are built on; "" = this machine's system
	Index     []engine.Var // the installer's configuration in builds: see IndexConfig
	Environ   []string     // environment of the host's pip, which fetches uv
	CAFile    string       // authorities that builds trust outside, where they do not see this machine's; "" = those of the engine's system
	HostPy    string       // the host's Python that has pip; "" = /usr/bin/python3
	MaxSource int64        // bytes of a source; 0 = 200 MiB
	MaxFiles  int          // files of a source; 0 = 50,000
	Memory    int64        // bytes of memory that a build may use; 0 = 2 GiB
}

// Builder makes plans, source layers and environment tasks.
type Builder struct {
	Options
	tools chan struct{} // holds a token while one fetches the tools
}

// New returns a builder.
func New(o Options) *Builder {
	if o.HostPy == "" {
		o.HostPy = "/usr/bin/python3"
	}
	if o.Platform == "" {
		o.Platform = platform()
	}
	if o.MaxSource == 0 {
		o.MaxSource = 200 << 20
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 50000
	}
	if o.Memory == 0 {
		o.Memory = 2 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Builder{o, make(chan struct{}, 1)}
}

// platform identifies the system whose libraries an environment links with.
func platform() string {
	id := runtime.GOOS + "/" + runtime.GOARCH
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return id
	}
	for line := range strings.Lines(string(text)) {
		if k, v, _ := strings.Cut(strings.TrimSpace(line), "="); k == "ID" || k == "VERSION_ID" {
			id += "/" + strings.Trim(v, `"`)
		}
	}
	return id
}

// EnvReady reports whether the plan's environment is built.
func (b *Builder) EnvReady(ctx context.Context, p Plan) (bool, error) {
	return b.Engine.Layers().Has(ctx, p.EnvKey)
}

func (b *Builder) tempDir() (string, error) {
	dir := filepath.Join(b.Data, "incoming")
	if b.Data == "" {
		dir = ""
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, "build-*")
}
