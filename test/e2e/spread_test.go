package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/test/rig"
)

// TestSpread grows an app over the nodes of a cluster, pauses it and deletes
// it: its images are gone too, and those of another app, from the same
// environment, stay.
func TestSpread(t *testing.T) {
	if !onCluster() {
		t.Skip("only on a cluster: one machine has no nodes, and makes no images of apps")
	}
	w := newWorld(t)
	ctx := t.Context()
	push := func(app string) {
		t.Helper()
		repo, err := w.in.NewRepo(ctx, rig.Person{Name: "alice", Password: password("alice"), Home: filepath.Join(w.home, "alice")},
			filepath.Join(w.root, "test", "apps", "flask-worker"), filepath.Join(t.TempDir(), app), app)
		ok(t, err)
		ok(t, repo.Edit("app.py", "release 1", app))
		out, err := repo.Push(ctx, app)
		ok(t, err, out)
	}
	opens := func(app, want string) {
		t.Helper()
		ok(t, rig.Until(ctx, patience(10*time.Second), func() error {
			text, err := w.fetch([]string{"alice", w.in.Hosts.App(app, false)})
			if err == nil {
				err = matches(text, []string{want})
			}
			return err
		}))
	}
	images := func() (size int64) {
		t.Helper()
		out, err := shared.platform.Kubectl(ctx, "exec", "deploy/slipway-core", "--", "slipway", "image", "collect", "--data", "/var/lib/slipway", "--grace", "0s", "--json")
		ok(t, err, out)
		var got struct{ After int64 }
		ok(t, json.Unmarshal([]byte(out), &got), out)
		return got.After
	}
	// kept are the folders of an app in the registry.
	kept := func(app string) string {
		t.Helper()
		out, err := shared.platform.Kubectl(ctx, "exec", "deploy/slipway-core", "--", "find", "/var/lib/slipway/registry", "-name", "*"+app+"*")
		ok(t, err, out)
		return strings.TrimSpace(out)
	}
	// nodes are where the app's ready replicas of web run.
	nodes := func() []string {
		out, err := shared.platform.Cluster.Kubectl(ctx, "-n", shared.platform.Apps, "get", "pods", "-l", "slipway.dev/kind=workload", "-o",
			`jsonpath={range .items[*]}{.metadata.labels.slipway\.dev/name} {.spec.nodeName} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		ok(t, err, out)
		var list []string
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && strings.HasPrefix(f[0], "web") && f[2] == "True" {
				list = append(list, f[1])
			}
		}
		slices.Sort(list)
		return list
	}

	push("stays")
	w.run(t, "alice", "", "pause", "stays") // its pods would be counted
	before := images()
	push("spreads")
	w.run(t, "alice", "", "ps", "scale", "spreads", "web=3")
	ok(t, rig.Until(ctx, patience(20*time.Second), func() error {
		if on := nodes(); len(on) != 3 || len(slices.Compact(on)) != 2 {
			return fmt.Errorf("three replicas on two nodes are wanted, ready are those on %q", on)
		}
		return nil
	}))
	opens("spreads", "HTTP 200(.|\n)*hello from spreads")
	var app struct{ ID string }
	ok(t, json.Unmarshal([]byte(w.run(t, "alice", "", "apps", "info", "spreads", "--json")), &app))
	with := images()
	if app.ID == "" || kept(app.ID) == "" {
		t.Errorf("the registry has nothing of the app %q", app.ID)
	}

	w.run(t, "alice", "", "pause", "spreads")
	opens("spreads", "HTTP 503(.|\n)*(?i:paused)")
	ok(t, rig.Until(ctx, patience(10*time.Second), func() error {
		if on := nodes(); len(on) > 0 {
			return fmt.Errorf("the app is paused and runs on %q", on)
		}
		return nil
	}))

	w.run(t, "alice", "", "apps", "delete", "spreads", "--confirm", "spreads")
	ok(t, rig.Until(ctx, patience(10*time.Second), func() error {
		// Before it came there may have been something of apps that have just been deleted.
		if after, left := images(), kept(app.ID); left != "" || after >= with || after > before {
			return fmt.Errorf("the images had %d bytes before the app came, %d with it, and have %d after it went; left is %q", before, with, after, left)
		}
		return nil
	}))
	w.run(t, "alice", "", "resume", "stays")
	opens("stays", "HTTP 200(.|\n)*hello from stays")
}
