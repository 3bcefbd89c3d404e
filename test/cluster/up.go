package cluster

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/base/loop"
)

//go:embed manifests/*.yaml
var manifests embed.FS

// start makes everything anew.
func (c *Cluster) start(ctx context.Context, out io.Writer) error {
	step := steps{out}.do
	if err := step("bridge, certificates and configuration", func() error { return c.prepare(ctx) }); err != nil {
		return err
	}
	if err := step("etcd and API server", func() error { return c.startControl(ctx) }); err != nil {
		return err
	}
	if err := step("nodes", func() error { return c.startNodes(ctx) }); err != nil {
		return err
	}
	return step("DNS, volumes, metrics, network policies", func() error { return c.addons(ctx) })
}

func (c *Cluster) prepare(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.Dir, "logs"), 0o755); err != nil {
		return err
	}
	if err := c.makeBridge(ctx); err != nil {
		return err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "cluster.json"), text, 0o644); err != nil {
		return err
	}
	if err := c.writePKI(); err != nil {
		return err
	}
	for _, m := range c.machines() {
		if err := errors.Join(m.configure(), m.boot(ctx)); err != nil {
			return fmt.Errorf("machine %s: %w", m.name, err)
		}
	}
	m := c.machines()[0]
	return m.tell(ctx, "coredns", "start")
}

func (c *Cluster) startControl(ctx context.Context) error {
	m, err := c.machine(Control)
	if err != nil {
		return err
	}
	for _, p := range m.programs() {
		if p.name == "kube-controller-manager" {
			if err := until(ctx, c.Ready); err != nil {
				return fmt.Errorf("the API server is not ready: %w", err)
			}
		}
		if err := m.tell(ctx, p.name, "start"); err != nil {
			return err
		}
	}
	return nil
}

// Ready asks the API server whether it is.
func (c *Cluster) Ready(ctx context.Context) error {
	_, err := c.Kubectl(ctx, "get", "--raw=/readyz")
	return err
}

func (c *Cluster) startNodes(ctx context.Context) error {
	var starts []func(context.Context) error
	for _, m := range c.nodes() {
		starts = append(starts, m.startNode)
	}
	if err := loop.Run(ctx, starts...); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) error {
		ready, err := c.Kubectl(ctx, "get", "nodes", `-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && strings.Count(ready, "True") != c.Nodes {
			err = fmt.Errorf("of %d nodes these are ready: %q", c.Nodes, ready)
		}
		return err
	})
}

func (m machine) startNode(ctx context.Context) error {
	if err := m.makeCgroups(); err != nil {
		return err
	}
	if err := m.tell(ctx, "containerd", "start"); err != nil {
		return err
	}
	if err := until(ctx, func(ctx context.Context) error {
		_, err := output(m.command(ctx, "ctr", "version"))
		return err
	}); err != nil {
		return fmt.Errorf("containerd of %s: %w", m.name, err)
	}
	for _, ref := range allImages() {
		if err := m.load(ctx, imageFile(m.c.Parts, ref)); err != nil {
			return err
		}
	}
	if err := m.forward(ctx); err != nil {
		return err
	}
	return errors.Join(m.tell(ctx, "kube-proxy", "start"), m.tell(ctx, "kubelet", "start"))
}

func (m machine) load(ctx context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := m.command(ctx, "ctr", "images", "import", "--snapshotter", "overlayfs", "-")
	cmd.Stdin = f
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("load %s on %s: %w", file, m.name, err)
	}
	return nil
}

// forward lets the node pass packets on, and hands each new connection of pods
// to kube-network-policies. It would set rules of nftables itself, but those
// need a feature that not every kernel has; these do the same for all. Without
// the program a connection that waits is refused after a time, as it must be.
func (m machine) forward(ctx context.Context) error {
	pods := m.c.podsOf(m.number).String()
	rules := fmt.Sprintf(`*mangle
-A POSTROUTING -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A POSTROUTING -m owner --uid-owner 0 -j ACCEPT
-A POSTROUTING -s %[1]s -j NFQUEUE --queue-num %[2]d
-A POSTROUTING -d %[1]s -j NFQUEUE --queue-num %[2]d
COMMIT
`, pods, policyQueue)
	cmd := m.command(ctx, "iptables-restore")
	cmd.Stdin = strings.NewReader(rules)
	if _, err := output(cmd); err != nil {
		return err
	}
	_, err := output(m.command(ctx, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"))
	return err
}

const policyQueue = 98

func (c *Cluster) addons(ctx context.Context) error {
	dir, err := manifests.ReadDir("manifests")
	if err != nil {
		return err
	}
	data := map[string]any{"DNS": c.dns(), "Queue": policyQueue, "Busybox": BusyboxImage}
	var all bytes.Buffer
	for _, f := range dir {
		text, err := manifests.ReadFile("manifests/" + f.Name())
		if err != nil {
			return err
		}
		out, err := fill(string(text), data)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		all.WriteString("---\n" + out)
	}
	if err := c.Apply(ctx, &all); err != nil {
		return err
	}
	for _, kind := range []string{"daemonset", "deployment"} {
		names, err := c.Kubectl(ctx, "-n", "kube-system", "get", kind, "-o=name")
		if err != nil {
			return err
		}
		for name := range strings.FieldsSeq(names) {
			if _, err := c.Kubectl(ctx, "-n", "kube-system", "rollout", "status", name, "--timeout="+patience.String()); err != nil {
				pods, _ := c.Kubectl(ctx, "-n", "kube-system", "describe", "pods")
				return fmt.Errorf("%w\n%s", err, pods)
			}
		}
	}
	return until(ctx, func(ctx context.Context) error {
		_, err := c.Kubectl(ctx, "get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes")
		return err
	})
}

func (c *Cluster) down(ctx context.Context) error {
	for _, m := range c.machines() {
		if err := m.halt(); err != nil {
			return err
		}
	}
	if err := c.unplug(ctx); err != nil {
		return err
	}
	if err := until(ctx, func(context.Context) error { return c.removeCgroups() }); err != nil {
		return err
	}
	return os.RemoveAll(c.Dir)
}

// Logs returns the last lines of every program's log.
func (c *Cluster) Logs(lines int) string {
	var b strings.Builder
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "logs", "*.log"))
	for _, f := range logs {
		text, err := os.ReadFile(f)
		if err != nil || len(text) == 0 {
			continue
		}
		all := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&b, "── %s\n%s\n", f, strings.Join(all[max(0, len(all)-lines):], "\n"))
	}
	return b.String()
}
