package kube

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
)

var update = flag.Bool("update", false, "write the golden files")

func sample() engine.Workload {
	return engine.Workload{
		ID:      engine.Ref{Kind: engine.KindWorkload, Scope: "app_01", Name: "web-v12"},
		Layers:  []engine.Layer{{Name: "env-1", At: "/env"}, {Name: "src-1", At: "/app"}},
		Command: []string{"/bin/sh", "-c", "gunicorn app:server"}, Env: []engine.Var{{Name: "KEY", Value: secret.New("hunter2")}},
		Port: 8050, Mounts: []engine.Mount{{Volume: engine.Ref{Kind: engine.KindVolume, Scope: "app_01", Name: "data"}, Path: "/home/app/mount"}},
		Links: []engine.Link{{Port: 7500, Target: "platform"}}, Limits: engine.Limits{MemoryBytes: 256 << 20, MilliCPU: 200}, Grace: 20 * time.Second,
	}
}

func TestRender(t *testing.T) {
	e := &Engine{opt: Options{
		Owner: "slipway", Namespace: "slipway-apps", Platform: "slipway", Memory: 512 << 20, VolumeBytes: 10 << 30, PullPolicy: "IfNotPresent",
		Links: map[string]string{"platform": "slipway-core.slipway.svc:7500"}, Inbox: "10.77.0.1:7600",
		From: []string{"10.77.0.1/32"}, SharedStorageClass: "nfs",
	}}
	task := engine.Task{Workload: sample(), Keep: []engine.Layer{{Name: "env-2", At: "/env"}, {Name: "out", At: "/out"}}}
	task.ID.Name = "env-2"
	for name, objects := range map[string]func() ([]manifest, error){
		"workload": func() ([]manifest, error) {
			return e.render(newRecord(sample()), "127.0.0.1:5005/apps/app_01@sha256:00", []string{e.name(sample().Mounts[0].Volume)})
		},
		"task": func() ([]manifest, error) {
			return e.render(taskRecord(task), "127.0.0.1:5005/apps/app_01@sha256:00", nil)
		},
		"volume": func() ([]manifest, error) {
			own, err := newManifest("persistentvolumeclaims", e.claim(engine.Volume{ID: sample().Mounts[0].Volume}))
			if err != nil {
				return nil, err
			}
			shared, err := newManifest("persistentvolumeclaims", e.claim(engine.Volume{ID: sample().Mounts[0].Volume, Bytes: 1 << 30, Shared: true}))
			return []manifest{own, shared}, err
		},
		"policies": func() ([]manifest, error) {
			var all []manifest
			for _, p := range e.policies(append([]string{"10.244.1.0/24", "10.77.0.11/32"}, localOnly...)) {
				m, err := newManifest("networkpolicies", p)
				if err != nil {
					return nil, err
				}
				all = append(all, m)
			}
			return all, nil
		},
		"rules": func() ([]manifest, error) {
			return []manifest{{Object: map[string]any{"namespace": Rules(), "cluster": ClusterRules()}}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			ms, err := objects()
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, m := range ms {
				b, err := yaml.Marshal(m.Object)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(b)
			}
			if bytes.Contains(got.Bytes(), []byte("hunter2")) {
				t.Error("a variable's value is outside of the Secret")
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s is no longer what is rendered; look at the difference after `go test ./internal/engine/kube -run TestRender -update`:\n%s", golden, got.Bytes())
			}
		})
	}
}

func TestSecretRecordsTheObject(t *testing.T) {
	e := &Engine{opt: Options{Owner: "slipway", Namespace: "slipway-apps"}}
	r := newRecord(sample())
	s, err := e.secret(r, 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := parseKnown(s)
	if !ok || k.ref != r.Ref || k.replicas != 3 || len(k.about.Layers) != 2 || k.about.Port != 8050 {
		t.Errorf("known is %+v", k)
	}
	if !same(s, r) {
		t.Error("it is not the same as itself")
	}
	r.Env = []string{"KEY=other"}
	if same(s, r) {
		t.Error("a changed variable is not seen")
	}
	r.Env = []string{"KEY=" + string(bytes.Repeat([]byte("x"), 1<<20))}
	if _, err := e.secret(r, 1, nil); err == nil {
		t.Error("a Secret that is too large was made")
	}
}
