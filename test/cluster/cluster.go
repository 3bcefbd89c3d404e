// Package cluster runs a real Kubernetes on one Linux machine, for tests and
// for people who work on Slipway: etcd, the control plane and two kubelets
// with their own containerd, DNS, dynamic volumes, metrics and enforced
// network policies, all built from Go modules at fixed versions.
//
// Each machine of the cluster is a process in PID, network, mount and UTS
// namespaces of its own, so that one kill leaves nothing of it. API starts a
// control plane alone, without root, for tests that need no pods.
package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"slipway.dev/slipway/internal/base/loop"
)

// Cluster is one running cluster: everything of it is named by its folder.
type Cluster struct {
	Dir    string       `json:"dir"`    // its data, configuration and logs
	ID     string       `json:"id"`     // short, in the names of its bridge, firewall table and cgroups
	Subnet netip.Prefix `json:"subnet"` // nodes, pods and services are in it
	Parts  string       `json:"parts"`  // folder with bin and images
	Nodes  int          `json:"nodes"`  // how many
}

// Options of Up.
type Options struct {
	Dir   string    // the cluster's folder; default DefaultDir
	Nodes int       // default 2
	Out   io.Writer // progress
}

// Cache is the folder of the user that keeps what was built.
func Cache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "slipway", "cluster")
}

// DefaultDir is the folder of the cluster that people share on a machine.
func DefaultDir() string { return filepath.Join(Cache(), "run") }

// Open returns the running cluster of a folder. The error is os.ErrNotExist
// when none runs there.
func Open(dir string) (*Cluster, error) {
	dir, err := folder(dir)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("no cluster runs in %s; start it with `make cluster-up`: %w", dir, err)
	}
	c := &Cluster{}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s/cluster.json: %w", dir, err)
	}
	for _, m := range c.machines() {
		if m.pid() == 0 {
			return nil, fmt.Errorf("the cluster in %s has lost its %s; start it again with `make cluster-up`: %w", dir, m.name, os.ErrNotExist)
		}
	}
	return c, nil
}

// Up returns the running cluster of the folder; it starts one unless it runs,
// and builds what is not yet built. What is left of an earlier one is thrown
// away. Only root can.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a cluster needs root: it makes namespaces, interfaces and cgroups")
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	dir, err := folder(o.Dir)
	if err != nil {
		return nil, err
	}
	parts, err := Build(ctx, o.Out, All)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, filepath.Join(Cache(), id(dir)+".lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c, err := Open(dir); err == nil {
		return c, nil
	}
	c := &Cluster{Dir: dir, ID: id(dir), Parts: parts, Nodes: o.Nodes}
	if err := c.down(ctx); err != nil {
		return nil, err
	}
	if err := c.start(ctx, o.Out); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Logs(20))
	}
	return c, nil
}

// Down ends the cluster of the folder and removes all that it made: processes,
// namespaces, interfaces, routes, firewall rules, cgroups and data. Nothing to
// do is no error.
func Down(ctx context.Context, dir string) error {
	dir, err := folder(dir)
	if err != nil {
		return err
	}
	unlock, err := lock(ctx, filepath.Join(Cache(), id(dir)+".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	c := &Cluster{Dir: dir, ID: id(dir), Nodes: mostNodes}
	return c.down(ctx)
}

// mostNodes is how many nodes a subnet has room for.
const mostNodes = 9

func folder(dir string) (string, error) {
	if dir == "" {
		dir = DefaultDir()
	}
	return filepath.Abs(dir)
}

func id(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:3])
}

// Kubeconfig is the path of the administrator's configuration.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.Dir, "kubeconfig") }

// Bin is the path of one of the programs that were built, such as kubectl.
func (c *Cluster) Bin(name string) string { return filepath.Join(c.Parts, "bin", name) }

// Kubectl runs kubectl as the administrator and returns what it wrote; the
// error has its complaints.
func (c *Cluster) Kubectl(ctx context.Context, args ...string) (string, error) {
	return c.kubectl(ctx, nil, args...)
}

func (c *Cluster) kubectl(ctx context.Context, in io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Bin("kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	cmd.Stdin = in
	return output(cmd)
}

// Apply creates or updates the objects of a manifest.
func (c *Cluster) Apply(ctx context.Context, manifest io.Reader) error {
	_, err := c.kubectl(ctx, manifest, "apply", "--server-side", "--force-conflicts", "--field-manager=test-cluster", "-f", "-")
	return err
}

// steps prints what is done and how long it took.
type steps struct{ out io.Writer }

func (s steps) do(name string, fn func() error) error {
	began := time.Now()
	err := fn()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	fmt.Fprintf(s.out, "  %s %-44s %6.1f s\n", mark, name, time.Since(began).Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// patience is how long a condition may take on a busy machine.
const patience = 3 * time.Minute

// until calls fn until it returns no error, and after patience returns its last one.
func until(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if loop.Sleep(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("gave up waiting: %w", err)
		}
	}
}

// output runs cmd and returns its standard output; the error has its standard error.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, exit.Stderr)
	}
	return string(out), err
}
