package kube_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/fake"
	"slipway.dev/slipway/internal/engine/initbin"
	"slipway.dev/slipway/internal/engine/kube"
	"slipway.dev/slipway/test/cluster"
)

// lab is the cluster that the tests share.
type lab struct {
	c      *cluster.Cluster
	config *rest.Config
	client kubernetes.Interface
	host   string // this machine's address, as pods reach it
	ns     string
	base   v1.Image
}

var labOnce = sync.OnceValues(openLab)

// cluster returns the lab, where `make test-cluster` has made one.
func useLab(t *testing.T) *lab {
	t.Helper()
	if os.Getenv("SLIPWAY_TEST_CLUSTER") == "" {
		t.Skip("set SLIPWAY_TEST_CLUSTER=1 to run on a real Kubernetes, as `make test-cluster` does")
	}
	l, err := labOnce()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func openLab() (*lab, error) {
	ctx := context.Background()
	c, err := cluster.Open(cluster.DefaultDir())
	if err != nil {
		c, err = cluster.Up(ctx, cluster.Options{Out: os.Stderr})
	}
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	base, err := baseImage()
	if err != nil {
		return nil, err
	}
	l := &lab{c: c, config: config, client: client, ns: fmt.Sprintf("kube-test-%d", os.Getpid()), base: base}
	l.host = c.Subnet.Addr().Next().String()
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: l.ns, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"},
	}}, metav1.CreateOptions{})
	return l, err
}

func TestMain(m *testing.M) {
	code := m.Run()
	if os.Getenv("SLIPWAY_TEST_CLUSTER") != "" {
		if l, err := labOnce(); err == nil {
			_ = l.client.CoreV1().Namespaces().Delete(context.Background(), l.ns, metav1.DeleteOptions{})
		}
	}
	os.Exit(code)
}

// baseImage is made of this machine's programs: a shell, Python and the init.
func baseImage() (v1.Image, error) {
	bin, err := initbin.Bytes()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{strings.TrimPrefix(kube.InitPath, "/"): bin}
	add := func(path string) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, p := range []string{"/bin/", "/lib/", "/lib64/"} {
			if strings.HasPrefix(path, p) {
				path = "/usr" + path
			}
		}
		files[path[1:]] = b
		return nil
	}
	libs := func(path string) error {
		out, _ := exec.Command("ldd", path).Output() // a static one has none
		for _, f := range strings.Fields(string(out)) {
			if strings.HasPrefix(f, "/") {
				if err := add(f); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for _, p := range []string{"python3", "dash", "sleep", "id", "cat", "wc", "ln", "mkdir", "chmod", "ls", "true"} {
		from := "/usr/bin/" + p
		if err := add(from); err != nil {
			return nil, err
		}
		if err := libs(from); err != nil {
			return nil, err
		}
	}
	files["usr/bin/sh"] = files["usr/bin/dash"]
	real, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		return nil, err
	}
	root := "/usr/lib/" + filepath.Base(real)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"__pycache__", "test", "idlelib", "lib2to3", "ensurepip"}, d.Name()) {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() {
			return nil
		}
		if strings.HasSuffix(path, ".so") {
			if err := libs(path); err != nil {
				return err
			}
		}
		return add(path)
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, d := range []string{"usr/", "app/", "home/app/", "tmp/", "var/tmp/", "etc/", "run/", "dev/", "proc/", "sys/"} {
		if err := tw.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	for _, l := range []string{"bin", "lib", "lib64"} {
		if err := tw.WriteHeader(&tar.Header{Name: l, Typeflag: tar.TypeSymlink, Linkname: "usr/" + l, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	for n, body := range files {
		if err := tw.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(body))}); err != nil {
			return nil, err
		}
		if _, err := tw.Write(body); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return appended(empty.Image, b.Bytes())
}

func appended(base v1.Image, data []byte) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(base, l)
	if err != nil {
		return nil, err
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", "amd64"
	return mutate.ConfigFile(img, cf)
}

// images loads what it makes onto the nodes. Its layers are the fake engine's.
type images struct {
	engine.Layers
	l *lab
}

var made sync.Map // reference of each image that the nodes have

func (i images) Keep(ctx context.Context, name string, r io.Reader) error { return i.Put(ctx, name, r) }

func (i images) Image(ctx context.Context, _ string, layers []engine.Layer) (string, error) {
	img := i.l.base
	for _, l := range layers {
		r, err := i.Open(ctx, l.Name)
		if err != nil {
			return "", err
		}
		var b bytes.Buffer
		tr, tw := tar.NewReader(r), tar.NewWriter(&b)
		for h, err := tr.Next(); err == nil; h, err = tr.Next() {
			h.Name, h.Mode = l.At[1:]+"/"+h.Name, h.Mode|0o555
			if h.Typeflag == tar.TypeLink {
				h.Linkname = l.At[1:] + "/" + h.Linkname
			}
			if err := tw.WriteHeader(h); err != nil {
				return "", err
			}
			if _, err := io.Copy(tw, tr); err != nil {
				return "", err
			}
		}
		if err := tw.Close(); err != nil {
			return "", err
		}
		if img, err = appended(img, b.Bytes()); err != nil {
			return "", err
		}
	}
	d, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref := "slipway.test/kube-" + d.Hex[:12] + ":1"
	if _, ok := made.Load(ref); ok {
		return ref, nil
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return "", err
	}
	f := filepath.Join(os.TempDir(), "kube-"+d.Hex[:12]+".tar")
	defer os.Remove(f)
	if err := tarball.WriteToFile(f, tag, img); err != nil {
		return "", err
	}
	if err := i.l.c.Load(ctx, f); err != nil {
		return "", err
	}
	made.Store(ref, true)
	return ref, nil
}

// address is a free port of this machine, as pods reach it.
func (l *lab) address(t *testing.T) string {
	t.Helper()
	ln := listen(t, net.JoinHostPort(l.host, "0"))
	defer ln.Close()
	return ln.Addr().String()
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// harness is an engine of its own, with its objects; change is for what differs.
func (l *lab) harness(t *testing.T, config *rest.Config, change ...func(*kube.Options)) enginetest.Harness {
	t.Helper()
	sum := sha256.Sum256([]byte(t.Name()))
	owner := "t-" + hex.EncodeToString(sum[:4])
	layers := images{fake.New(fake.Options{}).Layers(), l}
	link := l.address(t)
	opt := kube.Options{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Images: layers, Data: t.TempDir(), Config: config,
		Namespace: l.ns, Platform: "kube-test-none", Owner: owner, Links: map[string]string{"platform": link}, Inbox: l.address(t),
		From: []string{l.host + "/32"},
	}
	for _, fn := range change {
		fn(&opt)
	}
	var last *kube.Engine
	var end func()
	stop := func() {
		if last != nil {
			end()
			if err := last.Close(); err != nil {
				t.Error(err)
			}
			last = nil
		}
	}
	start := func() engine.Engine {
		stop()
		e, err := kube.New(opt)
		if err != nil {
			t.Fatal(err)
		}
		last, end = e, serve(t, opt.Inbox, e.Handler())
		return e
	}
	t.Cleanup(func() {
		if last == nil {
			return
		}
		s, err := last.Observe(context.Background())
		if err == nil && t.Failed() {
			t.Logf("at the end: %+v", s)
			l.dump(t, owner)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, w := range s.Workloads {
			_ = last.Remove(ctx, w.ID)
		}
		for _, k := range s.Tasks {
			_ = last.Remove(ctx, k.ID)
		}
		for _, v := range s.Volumes {
			_ = last.Remove(ctx, v.ID)
		}
		stop()
	})
	return enginetest.Harness{
		Engine: start(), Reopen: start, Real: true, Many: 20, Link: "tcp://" + link,
		Leftovers: func() []string { return l.leftovers(t, owner) },
	}
}

// dump shows what became of the pods.
func (l *lab) dump(t *testing.T, owner string) {
	out, err := l.c.Kubectl(context.Background(), "-n", l.ns, "describe", "pods", "-l", kube.LabelOwner+"="+owner)
	t.Log(out, err)
}

// leftovers lists an owner's objects in the namespace, but for the policies.
func (l *lab) leftovers(t *testing.T, owner string) (left []string) {
	t.Helper()
	out, err := l.c.Kubectl(t.Context(), "-n", l.ns, "get", "secrets,deployments,replicasets,jobs,pods,services,endpointslices,poddisruptionbudgets,persistentvolumeclaims",
		"-l", kube.LabelOwner+"="+owner, "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// serve answers pods until the returned function is called.
func serve(t *testing.T, addr string, h http.Handler) func() {
	t.Helper()
	ln := listen(t, addr)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	g := loop.New(context.Background(), slog.Default())
	g.Go("inbox", func(context.Context) error {
		_ = srv.Serve(ln) // ends by Close
		return nil
	})
	return func() {
		_ = srv.Close()
		_ = g.Stop()
	}
}

// TestContract runs the suite with no more rights than the rules give; each
// engine has an owner of its own in one namespace.
func TestContract(t *testing.T) {
	l := useLab(t)
	seen := &rights{used: map[string]bool{}}
	config := l.limited(t, seen)
	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return l.harness(t, config) })
	if !t.Failed() {
		seen.check(t)
	}
}
