package cluster

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
)

// Version is the Kubernetes that is built.
const Version = "v1.37.2"

// parts has a module file and its sums for each module that is built from, and
// the main packages that are our own.
//
//go:embed parts
var parts embed.FS

// recipe changes when the same modules are to be built or packed in another way.
const recipe = "1"

// Selection says what Build builds.
type Selection int

// What Build can be asked for.
const (
	OnlyAPI Selection = iota // what API needs
	All
)

func (s Selection) has(st step) bool { return s == All || !st.all }

// step is one run of the compiler.
type step struct {
	title    string
	module   string            // parts/<module>.mod
	binaries map[string]string // name → package, or the folder of a main package of ours
	tags     string
	ldflags  string
	cgo      bool
	all      bool // not needed by API
}

const (
	kubernetes = "k8s.io/kubernetes/cmd/"
	containerd = "github.com/containerd/containerd/v2/cmd/"
	plugins    = "github.com/containernetworking/plugins/plugins/"
)

func recipes() []step {
	v := "k8s.io/component-base/version."
	stamp := "-X " + v + "gitVersion=" + Version + " -X " + v + "gitMajor=1 -X " + v + "gitMinor=" + strings.Split(Version, ".")[1] + " -X " + v + "gitTreeState=clean"
	return []step{
		{title: "etcd", module: "etcd", binaries: map[string]string{"etcd": "go.etcd.io/etcd/server/v3"}},
		{title: "kube-apiserver, kubectl", module: "kubernetes", ldflags: stamp, binaries: map[string]string{
			"kube-apiserver": kubernetes + "kube-apiserver", "kubectl": kubernetes + "kubectl",
		}},
		{title: "controllers, scheduler, kubelet, kube-proxy", module: "kubernetes", ldflags: stamp, all: true, binaries: map[string]string{
			"kube-controller-manager": kubernetes + "kube-controller-manager", "kube-scheduler": kubernetes + "kube-scheduler",
			"kubelet": kubernetes + "kubelet", "kube-proxy": kubernetes + "kube-proxy",
		}},
		{title: "metrics-server, network policies", module: "addons", all: true, binaries: map[string]string{
			"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server", "kube-network-policies": "sigs.k8s.io/kube-network-policies/cmd",
		}},
		{title: "local-path-provisioner", module: "addons", all: true, binaries: map[string]string{"local-path-provisioner": "github.com/rancher/local-path-provisioner"}},
		{title: "coredns", module: "addons", all: true, binaries: map[string]string{"coredns": "parts/coredns"}},
		{title: "containerd", module: "containerd", tags: "no_btrfs,no_zfs,no_devmapper,no_aufs", all: true, binaries: map[string]string{
			"containerd": containerd + "containerd", "containerd-shim-runc-v2": containerd + "containerd-shim-runc-v2", "ctr": containerd + "ctr",
		}},
		// Its nsenter is C, and without seccomp every sandbox is refused.
		{title: "runc", module: "runc", cgo: true, tags: "netgo,osusergo,seccomp", all: true, binaries: map[string]string{"runc": "github.com/opencontainers/runc"}},
		{title: "network plugins", module: "cni", all: true, binaries: map[string]string{
			"ptp": plugins + "main/ptp", "loopback": plugins + "main/loopback", "host-local": plugins + "ipam/host-local", "portmap": plugins + "meta/portmap",
		}},
		{title: "pause", module: "cni", all: true, binaries: map[string]string{"pause": "parts/pause"}},
	}
}

// Build builds what is not yet there and returns the folder that has bin and
// images. Several processes may call it at once; the others wait. What was
// built stays, so that a second call goes on where the first was ended.
func Build(ctx context.Context, out io.Writer, what Selection) (string, error) {
	dir := filepath.Join(Cache(), Version+"-"+fingerprint())
	if complete(dir, what) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	began := time.Now()
	fmt.Fprintf(out, "Building Kubernetes %s into %s\n", Version, dir)
	tmp := filepath.Join(dir, "tmp") // of an earlier one too, if that was killed
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for i, st := range recipes() {
		if !what.has(st) || present(dir, st) {
			continue
		}
		err := steps{out}.do(st.title, func() error { return st.build(ctx, dir, filepath.Join(tmp, fmt.Sprint(i))) })
		if err != nil {
			return "", err
		}
	}
	if what == All {
		if err := os.MkdirAll(tmp, 0o755); err != nil {
			return "", err
		}
		if err := (steps{out}).do("images", func() error { return packImages(ctx, dir, tmp) }); err != nil {
			return "", err
		}
	}
	fmt.Fprintf(out, "Built in %s\n", time.Since(began).Round(time.Second))
	return dir, nil
}

// fingerprint names the content of all module files, of our mains and of the recipe.
func fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, recipe, runtime.GOARCH)
	_ = fs.WalkDir(parts, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := parts.ReadFile(path)
		fmt.Fprintln(h, path, len(text))
		h.Write(text)
		return err
	}) // an embedded file is always readable
	return hex.EncodeToString(h.Sum(nil)[:4])
}

func complete(dir string, what Selection) bool {
	for _, st := range recipes() {
		if what.has(st) && !present(dir, st) {
			return false
		}
	}
	return what == OnlyAPI || havingImages(dir)
}

func present(dir string, st step) bool {
	for name := range st.binaries {
		if _, err := os.Stat(filepath.Join(dir, "bin", name)); err != nil {
			return false
		}
	}
	return true
}

// build compiles in a module of the step's own and moves the programs to their
// place when all are whole.
func (st step) build(ctx context.Context, dir, tmp string) error {
	if err := os.MkdirAll(filepath.Join(tmp, "out"), 0o755); err != nil {
		return err
	}
	for _, ext := range []string{"mod", "sum"} {
		if err := unpack("parts/"+st.module+"."+ext, filepath.Join(tmp, "go."+ext)); err != nil {
			return err
		}
	}
	flags := []string{"build", "-trimpath", "-ldflags=-s -w " + st.ldflags, "-tags=" + st.tags}
	results := map[string]string{} // file that the compiler writes → name
	var packages []string
	for name, pkg := range st.binaries {
		if strings.HasPrefix(pkg, "parts/") {
			if err := unpack(pkg+"/main.go", filepath.Join(tmp, "main.go")); err != nil {
				return err
			}
			packages, results["main"] = append(packages, "main.go"), name
			continue
		}
		packages, results[result(pkg)] = append(packages, pkg), name
	}
	cmd := exec.CommandContext(ctx, "go", append(append(flags, "-o", "out/"), packages...)...)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "GOTOOLCHAIN=auto", "CGO_ENABLED=0")
	if st.cgo {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1")
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(cmd.Args[1:], " "), err, text[max(0, len(text)-4000):])
	}
	for file, name := range results {
		if err := os.Rename(filepath.Join(tmp, "out", file), filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return nil
}

// result is the name that the compiler gives to a package's program.
func result(pkg string) string {
	base := filepath.Base(pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		return filepath.Base(filepath.Dir(pkg))
	}
	return base
}

func unpack(name, to string) error {
	text, err := parts.ReadFile(name)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644)
}

// lock waits until no other process holds the file's lock.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, err
		}
		if err := loop.Sleep(ctx, 300*time.Millisecond); err != nil {
			f.Close()
			return nil, fmt.Errorf("waiting for the lock %s: %w", file, err)
		}
	}
}
