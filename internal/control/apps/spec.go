package apps

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

const (
	appPort = 8050
	envAt   = "/env"
	appAt   = "/app"
	mountAt = "/home/app/mount"
	// A replica that must go has this long for the requests it has.
	grace    = 30 * time.Second
	platform = "platform"
	maxPIDs  = 1024
)

// spec is what a release fixes beside its layers: sealed with it, so that its
// workloads are the same whenever they are made.
type spec struct {
	Env      map[string]string `json:"env"`
	MemoryMB int64             `json:"memory_mb"`
	Platform int               `json:"platform_port,omitempty"`
	NoMount  bool              `json:"no_mount,omitempty"` // without ~/mount, and so free to run on any node
}

func releasePurpose(app slipway.AppID, n int) string {
	return "release:" + string(app) + ":" + strconv.Itoa(n)
}

// spec puts together the environment of an app's processes as of now.
func (s *Service) spec(tx *store.Tx, app store.App, p build.Plan) (spec, error) {
	key, err := s.Box.Open(app.Sealed, secretPurpose(app.ID))
	if err != nil {
		return spec{}, fmt.Errorf("the app's secret: %w", err)
	}
	inside := "http://127.0.0.1:" + strconv.Itoa(s.PlatformPort) + "/auth/realms/dash/protocol/openid-connect"
	facts := build.Facts{
		App: app.Name, Process: slipway.WebProcess, Port: appPort, Base: s.Hosts.Base, LogoutURL: s.Hosts.Auth() + "/logout",
		JWKSURL: inside + "/certs", UserInfoURL: inside + "/userinfo", Secret: secret.New(string(key)), DashPrefix: p.DashPrefix,
	}
	out := spec{Env: map[string]string{}, MemoryMB: s.Limits.MemoryMB, Platform: s.PlatformPort}
	for _, v := range build.RuntimeEnv(facts) {
		out.Env[v.Name] = v.Value.Reveal()
	}
	set, err := tx.Limits()
	if err != nil {
		return spec{}, err
	}
	out.MemoryMB = or(set.ReplicaMemoryMB, out.MemoryMB)
	vars, err := s.appVars(tx, app.ID)
	maps.Copy(out.Env, vars)
	return out, err
}

func (s *Service) sealSpec(sp spec, app slipway.AppID, n int) ([]byte, error) {
	b, err := json.Marshal(sp)
	if err != nil {
		return nil, err
	}
	return s.Box.Seal(b, releasePurpose(app, n)), nil
}

func (s *Service) openSpec(r *store.Release) (spec, error) {
	var sp spec
	b, err := s.Box.Open(r.Sealed, releasePurpose(r.App, r.N))
	if err != nil {
		return sp, fmt.Errorf("release %d: %w", r.N, err)
	}
	return sp, json.Unmarshal(b, &sp)
}

func (sp spec) vars(process string) []engine.Var {
	out := make([]engine.Var, 0, len(sp.Env))
	for _, k := range slices.Sorted(maps.Keys(sp.Env)) {
		v := sp.Env[k]
		if k == "DYNO" && process != "" && strings.HasSuffix(v, ".1") {
			v = process + ".1"
		}
		out = append(out, engine.Var{Name: k, Value: secret.New(v)})
	}
	return out
}

// program is what workloads and tasks of an app have in common.
func (sp spec) program(app slipway.AppID, process, env, source, command string) engine.Workload {
	w := engine.Workload{
		Layers:  []engine.Layer{{Name: env, At: envAt}, {Name: source, At: appAt}},
		Command: []string{"/bin/sh", "-c", command},
		Env:     sp.vars(process),
		Limits:  engine.Limits{MemoryBytes: sp.MemoryMB << 20, PIDs: maxPIDs},
		Egress:  engine.EgressInternet,
		Grace:   grace,
	}
	if !sp.NoMount {
		w.Mounts = []engine.Mount{{Volume: volume(app), Path: mountAt}}
	}
	if sp.Platform != 0 {
		w.Links = []engine.Link{{Port: sp.Platform, Target: platform}}
	}
	return w
}

// volume is ~/mount of all processes of an app.
func volume(app slipway.AppID) engine.Ref {
	return engine.Ref{Kind: engine.KindVolume, Scope: string(app), Name: "mount"}
}

// mounts decides whether processes and tasks of a plan get ~/mount. Where only
// one node at a time can have a volume, it holds all replicas on that node: there
// only apps that keep files in it get one.
func (s *Service) mounts(ctx context.Context, app slipway.AppID, p build.Plan) (bool, error) {
	if p.Mount != "" {
		return p.Mount != build.MountOff, nil
	}
	info, err := s.Engine.Info(ctx)
	if err != nil || info.SharedVolumes {
		return true, err
	}
	return s.hasVolume(ctx, app)
}

// withMount notes that decision; a variable that names the folder makes it a yes.
func (sp spec) withMount(mounts bool, p build.Plan) spec {
	sp.NoMount = !mounts
	if p.Mount == "" {
		for _, v := range sp.Env {
			sp.NoMount = sp.NoMount && !build.NamesMount(v)
		}
	}
	return sp
}

func (s *Service) hasVolume(ctx context.Context, app slipway.AppID) (bool, error) {
	snap, err := s.observe(ctx)
	return slices.ContainsFunc(snap.Volumes, func(v engine.VolumeStatus) bool { return v.ID == volume(app) }), err
}

// needVolume makes ~/mount of an app that has it, once: later it stays what it
// was made, whatever the platform could make now.
func (s *Service) needVolume(ctx context.Context, sp spec, app slipway.AppID) error {
	if sp.NoMount {
		return nil
	}
	there, err := s.hasVolume(ctx, app)
	if err != nil || there {
		return err
	}
	info, err := s.Engine.Info(ctx)
	if err != nil {
		return err
	}
	return s.Engine.Apply(ctx, engine.Volume{ID: volume(app), Shared: info.SharedVolumes})
}

// LayerAt tells at which path a layer of an app will be seen: nothing for others.
func LayerAt(layer string) string {
	switch {
	case strings.HasPrefix(layer, "src-"):
		return appAt
	case strings.HasPrefix(layer, "env-"):
		return envAt
	}
	return ""
}

// apply does a step of the planner.
func (s *Service) apply(ctx context.Context, w wanted, step plan.Step) error {
	r := w.current
	if r == nil || r.N != step.Release {
		r = w.next
	}
	sp, err := s.openSpec(r)
	if err != nil {
		return err
	}
	o := sp.program(r.App, step.Process, r.Env, r.Source, r.Procfile[step.Process])
	o.ID = plan.Workload(string(r.App), step.Process, r.N)
	o.Replicas = step.Replicas
	o.Labels = map[string]string{"app": w.app.Name, "process": step.Process, "release": strconv.Itoa(r.N)}
	if step.Process == slipway.WebProcess {
		o.Port = appPort
	}
	if err := s.needVolume(ctx, sp, r.App); err != nil {
		return err
	}
	return s.Engine.Apply(ctx, o)
}
