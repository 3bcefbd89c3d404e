package installed_test

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/installed"
	"slipway.dev/slipway/test/rig"
)

const admin, password = "admin", "a-long-password-of-admin"

type world struct {
	*testing.T
	p    *installed.Platform
	root string
	home string
	log  rig.Output
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// install installs the platform, or does again what it did.
func (w *world) install(c *cluster.Cluster, namespace, listen string) {
	w.Helper()
	p, err := installed.Install(context.WithoutCancel(w.Context()), installed.Options{
		Root: w.root, Cluster: c, Namespace: namespace, Listen: listen, Admin: admin, Password: password, Dir: w.TempDir(), Out: &w.log, Keep: true,
	})
	if err != nil {
		w.Fatalf("%v\n%s", err, w.log.String())
	}
	w.p = p
}

func (w *world) uninstall(args ...string) string {
	w.Helper()
	args = append([]string{w.p.Binary, "uninstall", "--kubeconfig", w.p.Cluster.Kubeconfig(), "--namespace", w.p.Namespace}, args...)
	out, err := w.p.Run(context.WithoutCancel(w.Context()), "", w.home, "", args...)
	w.ok(err)
	return out
}

// objects are all of the installation and of its apps, by the kinds that either
// makes, as namespace/kind/name.
func (w *world) objects() []string {
	w.Helper()
	const kinds = "deployments,statefulsets,daemonsets,jobs,pods,services,secrets,configmaps,persistentvolumeclaims,poddisruptionbudgets,networkpolicies,serviceaccounts,roles,rolebindings"
	const format = `jsonpath={range .items[*]}{.metadata.namespace}/{.kind}/{.metadata.name}{"\n"}{end}`
	var out []string
	for _, ns := range []string{w.p.Namespace, w.p.Apps, w.p.Namespace + "-pull"} {
		text, err := w.p.Cluster.Kubectl(w.Context(), "-n", ns, "get", kinds, "-o", format)
		w.ok(err)
		out = append(out, strings.Fields(text)...)
	}
	text, err := w.p.Cluster.Kubectl(w.Context(), "get", "namespaces,clusterroles,clusterrolebindings,persistentvolumes", "-o",
		`jsonpath={range .items[*]}{.spec.claimRef.namespace}/{.kind}/{.metadata.name}{"\n"}{end}`)
	w.ok(err)
	for line := range strings.FieldsSeq(text) {
		if strings.Contains(line, w.p.Namespace) {
			out = append(out, line)
		}
	}
	return slices.DeleteFunc(out, func(o string) bool { // every namespace has these
		return strings.HasSuffix(o, "/ServiceAccount/default") || strings.HasSuffix(o, "/ConfigMap/kube-root-ca.crt")
	})
}

// files are the folders of the installation's volumes on the nodes' disks.
func (w *world) files() []string {
	w.Helper()
	var out []string
	for n := 1; n <= w.p.Cluster.Nodes; n++ {
		cmd, err := w.p.Cluster.Command(w.Context(), fmt.Sprintf("n%d", n), "find", "/var/lib/volumes", "-maxdepth", "1", "-name", "*_"+w.p.Namespace+"*")
		w.ok(err)
		text, err := cmd.Output()
		w.ok(err)
		out = append(out, strings.Fields(string(text))...)
	}
	return out
}

// only waits until nothing but what fits the words is there.
func (w *world) only(words ...string) {
	w.Helper()
	w.ok(rig.Until(w.Context(), 2*time.Minute, func() error {
		left := slices.DeleteFunc(w.objects(), func(o string) bool {
			return slices.ContainsFunc(words, func(word string) bool { return strings.Contains(o, word) })
		})
		if len(left) > 0 {
			return fmt.Errorf("there is still:\n%s", strings.Join(left, "\n"))
		}
		return nil
	}))
}

// serves signs in and opens the app.
func (w *world) serves(app string) {
	w.Helper()
	w.ok(rig.Until(w.Context(), time.Minute, func() error {
		res, err := w.p.SignIn(w.Context(), w.p.Client(), admin, password, w.p.Hosts.App(app, false))
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != 200 {
			err = fmt.Errorf("%s: %.500s", res.Status, body)
		}
		return err
	}))
}

// pods are those of apps, once all are ready: Kubernetes asks less often than we do.
func (w *world) pods() (out string) {
	w.Helper()
	w.ok(rig.Until(w.Context(), time.Minute, func() (err error) {
		out, err = w.p.Cluster.Kubectl(w.Context(), "-n", w.p.Apps, "get", "pods", "-l", "slipway.dev/kind=workload", "-o",
			`jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if err == nil && strings.Contains(out, " False") {
			err = fmt.Errorf("not ready:\n%s", out)
		}
		return err
	}))
	return out
}

// TestUninstall takes a platform with an app off the cluster, a level after
// the other. After the first an installation goes on where it was: the app,
// which never stopped, people, passwords. After the last, nothing is left, on
// the nodes' disks neither.
func TestUninstall(t *testing.T) {
	c := cluster.Shared(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, root: root, home: t.TempDir()}
	w.install(c, "", "")
	t.Cleanup(func() { // whatever happened
		if t.Failed() {
			t.Log(w.p.Log())
		}
		w.p.Keep = false
		_ = w.p.Stop()
	})
	repo, err := w.p.NewRepo(t.Context(), rig.Person{Name: admin, Password: password, Home: w.home}, filepath.Join(root, "test", "apps", "probe"), filepath.Join(t.TempDir(), "stays"), "stays")
	w.ok(err)
	if out, err := repo.Push(t.Context(), "first"); err != nil {
		t.Fatal(err, out)
	}
	w.serves("stays")
	before, pods := w.objects(), w.pods()
	if len(w.files()) == 0 {
		t.Error("no volume is on a node's disk")
	}

	t.Run("a dry run changes nothing", func(t *testing.T) {
		out := w.uninstall("--level", "namespaces", "--dry-run")
		if !strings.Contains(out, "Nothing stays.") || !strings.Contains(out, "- Namespace "+w.p.Apps) {
			t.Errorf("it says:\n%s", out)
		}
		if now := w.objects(); !slices.Equal(now, before) {
			t.Errorf("there were\n%s\nand are\n%s", strings.Join(before, "\n"), strings.Join(now, "\n"))
		}
	})
	t.Run("the platform alone", func(t *testing.T) {
		out := w.uninstall("--level", "platform", "--confirm", w.p.Namespace)
		_, stays, _ := strings.Cut(out, "Stays:\n")
		for _, word := range []string{"PersistentVolumeClaim " + w.p.Namespace + "/slipway-core", "Secret " + w.p.Namespace + "/slipway-ca", "Namespace " + w.p.Apps, "Deployment " + w.p.Apps + "/"} {
			if !strings.Contains(stays, word) {
				t.Errorf("%s does not stay:\n%s", word, out)
			}
		}
		w.only("/Namespace/", "PersistentVolume", "/Secret/", w.p.Apps+"/")
		if now := w.pods(); now != pods {
			t.Errorf("the apps' pods were\n%sand are\n%s", pods, now)
		}
	})
	t.Run("installed again", func(t *testing.T) {
		_ = w.p.Stop() // the way to it
		w.install(c, w.p.Namespace, "127.0.0.1:"+w.p.Hosts.Port)
		w.serves("stays")
		if now := w.pods(); now != pods {
			t.Errorf("the apps' pods were\n%sand are\n%s", pods, now)
		}
	})
	t.Run("with its data", func(t *testing.T) {
		if out := w.uninstall("--level", "data", "--confirm", w.p.Namespace); !strings.Contains(out, "Stays:\n  Namespace ") {
			t.Errorf("it says:\n%s", out)
		}
		w.only("/Namespace/")
	})
	t.Run("with its namespaces", func(t *testing.T) {
		w.uninstall("--level", "namespaces", "--confirm", w.p.Namespace)
		w.only()
		w.ok(rig.Until(t.Context(), time.Minute, func() error {
			if left := w.files(); len(left) > 0 {
				return fmt.Errorf("on the nodes' disks there is still %s", left)
			}
			return nil
		}))
	})
}
