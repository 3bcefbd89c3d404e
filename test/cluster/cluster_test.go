package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/cluster"
)

// online asks for the tests that build Kubernetes, and need root.
func online(t *testing.T) {
	if os.Getenv(cluster.Variable) == "" {
		t.Skip("set " + cluster.Variable + "=1 to build and start Kubernetes, as `make test-cluster` does")
	}
}

func TestAPI(t *testing.T) {
	online(t)
	client, err := kubernetes.NewForConfig(cluster.API(t))
	if err != nil {
		t.Fatal(err)
	}
	made, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{})
	if err != nil || made.UID == "" {
		t.Errorf("created %v: %v", made, err)
	}
}

// eventually fails the test when fn does not succeed in minutes.
func eventually(t *testing.T, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(4 * time.Minute)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		_ = loop.Sleep(t.Context(), 300*time.Millisecond) // the next call fails for the same reason
	}
}

type rig struct {
	*testing.T
	c *cluster.Cluster
}

// kubectl must succeed.
func (r rig) kubectl(args ...string) string {
	r.Helper()
	out, err := r.c.Kubectl(r.Context(), args...)
	if err != nil {
		r.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (r rig) apply(manifest string) {
	r.Helper()
	if err := r.c.Apply(r.Context(), strings.NewReader(manifest)); err != nil {
		r.Fatal(err)
	}
}

// ready waits for pods with a label.
func (r rig) ready(label string) {
	r.Helper()
	out, err := r.c.Kubectl(r.Context(), "wait", "pod", "-l", label, "--for=condition=Ready", "--timeout=4m")
	if err != nil {
		pods, _ := r.c.Kubectl(r.Context(), "describe", "pod", "-l", label)
		r.Fatal(err, out, pods)
	}
}

// fetch has a pod ask for a page, and gives up after three seconds.
func (r rig) fetch(pod, url string) (string, error) {
	return r.c.Kubectl(r.Context(), "exec", pod, "--", "timeout", "3", "wget", "-q", "-O", "-", url)
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - name: web
        image: slipway.test/busybox:1
        command: [sh, -c, 'mkdir /www && echo "$HOSTNAME" >/www/index.html && exec httpd -f -p 8080 -h /www']
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client-n1, labels: {app: client}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: "slipway.test/busybox:1", command: [sleep, "100000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client-n2, labels: {app: client}}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 0
  containers: [{name: client, image: "slipway.test/busybox:1", command: [sleep, "100000"]}]
`

// TestCluster starts one, uses all that it offers, and looks for what is left
// after its end.
func TestCluster(t *testing.T) {
	online(t)
	dir := filepath.Join(t.TempDir(), "cluster")
	t.Cleanup(func() {
		if err := cluster.Down(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	c, err := cluster.Up(t.Context(), cluster.Options{Dir: dir, Out: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs(15))
		}
	})
	rig{t, c}.apply(web)
	rig{t, c}.ready("app in (web, client)")
	for _, part := range []struct {
		name string
		fn   func(rig)
	}{
		{"a second start finds it", again},
		{"Services by name, over both nodes, and from the host", services},
		{"names of the outside", outside},
		{"network policies", policies},
		{"volumes", volumes},
		{"images", images},
		{"metrics", metrics},
		{"the API server does not answer", apiAway},
		{"a kubelet is away", kubeletAway},
	} {
		t.Run(part.name, func(t *testing.T) { part.fn(rig{t, c}) })
	}
	t.Run("nothing is left", func(t *testing.T) { end(t, c) })
}

func again(r rig) {
	same, err := cluster.Up(r.Context(), cluster.Options{Dir: r.c.Dir})
	if err != nil || same.Subnet != r.c.Subnet {
		r.Errorf("got %v, %v", same, err)
	}
	r.Setenv(cluster.Variable, r.c.Dir)
	cfg, err := cluster.Shared(r).Config()
	if err != nil || !strings.Contains(cfg.Host, ":6443") {
		r.Errorf("got %v, %v", cfg, err)
	}
}

func services(r rig) {
	for _, pod := range []string{"client-n1", "client-n2"} {
		seen := map[string]bool{}
		eventually(r.T, "both replicas answer "+pod, func() error {
			out, err := r.fetch(pod, "http://web.default.svc.cluster.local/")
			seen[out] = err == nil
			if len(seen) < 2 {
				return fmt.Errorf("seen %v: %w", seen, err)
			}
			return err
		})
	}
	port := r.kubectl("get", "service", "web", "-o=jsonpath={.spec.ports[0].nodePort}")
	for n := 1; n <= r.c.Nodes; n++ {
		eventually(r.T, "the host gets an answer", func() error {
			resp, err := http.Get("http://" + net.JoinHostPort(r.c.NodeIP(n), port))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err == nil && !strings.HasPrefix(string(text), "web-") {
				err = fmt.Errorf("got %q", text)
			}
			return err
		})
	}
}

// modulesHost is a name of the outside that this machine surely uses: where
// go gets modules from.
func modulesHost(r rig) string {
	out, err := exec.CommandContext(r.Context(), "go", "env", "GOPROXY").Output()
	if err != nil {
		r.Fatal(err)
	}
	first, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(string(out)), "|", ","), ",")
	u, err := url.Parse(first)
	if err != nil || u.Hostname() == "" {
		r.Fatalf("GOPROXY begins with %q, which has no host", first)
	}
	return u.Hostname()
}

func outside(r rig) {
	known := modulesHost(r)
	if _, err := net.DefaultResolver.LookupHost(r.Context(), known); err != nil {
		r.Logf("this host does not know %s itself: %v", known, err)
		return
	}
	eventually(r.T, "a pod resolves "+known, func() error {
		_, err := r.c.Kubectl(r.Context(), "exec", "client-n2", "--", "nslookup", known)
		return err
	})
	eventually(r.T, "a pod connects to it", func() error {
		_, err := r.c.Kubectl(r.Context(), "exec", "client-n1", "--", "nc", "-w", "10", known, "443", "-e", "true")
		return err
	})
}

const denyAll = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}
`

const allowFriends = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {friend: "yes"}}}]}]}
`

const denyEgress = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client}
spec: {podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}
`

func policies(r rig) {
	get := func(pod string) error {
		_, err := r.fetch(pod, "http://web/")
		return err
	}
	refused := func(pod string) func() error {
		return func() error {
			if get(pod) == nil {
				return errors.New(pod + " got an answer that the policy forbids")
			}
			return nil
		}
	}
	r.apply(denyAll)
	for _, pod := range []string{"client-n1", "client-n2"} {
		for range 3 { // of two replicas one may be on the same node
			eventually(r.T, "denied", refused(pod))
		}
	}
	r.apply(allowFriends)
	r.kubectl("label", "pod", "client-n2", "friend=yes")
	eventually(r.T, "allowed", func() error { return get("client-n2") })
	eventually(r.T, "still denied", refused("client-n1"))
	r.kubectl("delete", "networkpolicy", "web")
	eventually(r.T, "allowed without a policy", func() error { return get("client-n1") })
	r.apply(denyEgress)
	eventually(r.T, "not let out", refused("client-n1"))
	r.kubectl("delete", "networkpolicy", "client")
	eventually(r.T, "let out", func() error { return get("client-n1") })
}

const volume = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: keeper, labels: {app: keeper}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000, runAsGroup: 1000}
  containers:
  - {name: keeper, image: "slipway.test/busybox:1", command: [sh, -c, 'echo run >>/data/runs; exec sleep 100000'], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

func volumes(r rig) {
	r.apply(volume)
	r.ready("app=keeper")
	r.kubectl("delete", "pod", "keeper")
	r.apply(volume)
	r.ready("app=keeper")
	if runs := r.kubectl("exec", "keeper", "--", "cat", "/data/runs"); runs != "run\nrun" {
		r.Errorf("the volume holds %q after two runs", runs)
	}
	r.kubectl("delete", "pod/keeper", "pvc/data")
	eventually(r.T, "the volume goes with its claim", func() error {
		left, err := r.c.Kubectl(r.Context(), "get", "pv", "-o=name")
		if err == nil && left != "" {
			err = errors.New("left: " + left)
		}
		return err
	})
}

func images(r rig) {
	img, err := tarball.ImageFromPath(filepath.Join(r.c.Parts, "images", "busybox.tar"), nil)
	if err != nil {
		r.Fatal(err)
	}
	tag, err := name.NewTag("slipway.test/loaded:1")
	if err != nil {
		r.Fatal(err)
	}
	archive := filepath.Join(r.TempDir(), "loaded.tar")
	if err := errors.Join(tarball.WriteToFile(archive, tag, img), r.c.Load(r.Context(), archive)); err != nil {
		r.Fatal(err)
	}
	for n := 1; n <= r.c.Nodes; n++ {
		r.apply(fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: loaded-%[1]d, labels: {app: loaded}}
spec: {nodeName: n%[1]d, terminationGracePeriodSeconds: 0, containers: [{name: a, image: "slipway.test/loaded:1", imagePullPolicy: Never, command: [sleep, "100000"]}]}
`, n))
	}
	r.ready("app=loaded")
}

func metrics(r rig) {
	eventually(r.T, "metrics of a pod", func() error {
		out, err := r.c.Kubectl(r.Context(), "get", "--raw=/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/client-n1")
		if err == nil && !strings.Contains(out, `"memory":"`) {
			err = errors.New("no memory in " + out)
		}
		return err
	})
}

func apiAway(r rig) {
	ask := func() error {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		return r.c.Ready(ctx)
	}
	if err := r.c.Pause(r.Context(), cluster.Control, "kube-apiserver"); err != nil {
		r.Fatal(err)
	}
	if ask() == nil {
		r.Error("a paused API server answers")
	}
	if err := r.c.Resume(r.Context(), cluster.Control, "kube-apiserver"); err != nil {
		r.Fatal(err)
	}
	eventually(r.T, "it answers again", ask)
	if err := r.c.Kill(r.Context(), cluster.Control, "kube-apiserver"); err != nil {
		r.Fatal(err)
	}
	eventually(r.T, "it is started again", ask)
}

func kubeletAway(r rig) {
	node := func(want string) func() error {
		return func() error {
			got, err := r.c.Kubectl(r.Context(), "get", "node", "n2", `-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
			if err == nil && got != want {
				err = fmt.Errorf("n2 is ready: %q", got)
			}
			return err
		}
	}
	if err := r.c.Stop(r.Context(), "n2", "kubelet"); err != nil {
		r.Fatal(err)
	}
	eventually(r.T, "the node is missed", node("Unknown"))
	if err := r.c.Start(r.Context(), "n2", "kubelet"); err != nil {
		r.Fatal(err)
	}
	eventually(r.T, "the node is back", node("True"))
}

func end(t *testing.T, c *cluster.Cluster) {
	if err := cluster.Down(t.Context(), c.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.Contains(l.Attrs().Name, c.ID) {
			t.Errorf("interface %s is left", l.Attrs().Name)
		}
	}
	if rules, err := exec.Command("nft", "list", "tables").Output(); err != nil || strings.Contains(string(rules), c.ID) {
		t.Errorf("the firewall's tables (%v): %s", err, rules)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*" + c.ID, "/sys/fs/cgroup/*/*" + c.ID} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("cgroups are left: %v", left)
		}
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range cmdlines {
		if text, _ := os.ReadFile(f); strings.Contains(string(text), c.Dir) {
			t.Errorf("a process is left: %q", text)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.Dir) {
		t.Errorf("mounts are left (%v): %s", err, mounts)
	}
}
