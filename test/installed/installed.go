// Package installed puts the platform on the Kubernetes of package cluster with
// the real `slipway install`, into namespaces of its own, and drives it as
// package rig drives one on this machine: by the same names, of which a port on
// loopback leads to the nodes.
package installed

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/rig"
)

// Options of Install.
type Options struct {
	Root     string // of the checkout, with bin/slipway
	Cluster  *cluster.Cluster
	Admin    string    // user name of the first administrator
	Password string    // and the password
	Dir      string    // folder for what is made on the way
	Out      io.Writer // progress

	Namespace string // of the platform; default a new one
	Listen    string // the address that leads to it; default a free port of loopback
	Keep      bool   // Stop ends only the way to it, and a failure leaves it there
}

// Platform is an installation on a cluster.
type Platform struct {
	*rig.Instance
	Options
	Apps  string        // namespace of apps
	Took  time.Duration // how long `slipway install` took, images on the nodes
	front *front        // for browsers and git
	ssh   *front        // for git over SSH
}

// authorities are those that this machine trusts: its way to packages, which
// builds in the cluster take too, may need one of its own.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// base is below localhost, which browsers, curl and the CLI lead to loopback.
const base = "slipway.localhost"

// Install installs the platform, or finds it installed, and waits until it serves.
func Install(ctx context.Context, o Options) (_ *Platform, err error) {
	if o.Namespace == "" {
		o.Namespace = "e2e-" + strings.ToLower(rand.Text()[:6])
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	p := &Platform{Options: o, Apps: o.Namespace + "-apps"}
	if p.front, err = listen(ctx, o.Cluster, o.Listen); err != nil {
		return nil, err
	}
	if p.ssh, err = listen(ctx, o.Cluster, besides(o.Listen)); err != nil {
		p.front.close()
		return nil, err
	}
	images, err := p.load(ctx)
	if err != nil {
		p.closeFronts()
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%w\n%s", err, p.Log()), p.Stop())
		}
	}()
	password := filepath.Join(o.Dir, "admin-password")
	if err := os.WriteFile(password, []byte(o.Password+"\n"), 0o600); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.slipway(ctx, "install", "--engine", "k8s", "--yes", "--base", base, "--image", images.platform, "--database-image", images.postgres,
		"--namespace", p.Namespace, "--apps-namespace", p.Apps, "--service-type", "NodePort", "--https-port", p.front.port(), "--ssh-port", p.ssh.port(),
		"--pull-port", pullPort(p.Namespace), "--pod-network", p.Cluster.Pods().String(), "--base-image", images.base, "--outside-ca-file", authorities, "--admin", o.Admin, "--admin-password-file", password); err != nil {
		return nil, err
	}
	p.Took = time.Since(began)
	for name, f := range map[string]*front{"https": p.front, "ssh": p.ssh} {
		node, err := p.Kubectl(ctx, "get", "service", "slipway", "-o", `jsonpath={.spec.ports[?(@.name=="`+name+`")].nodePort}`)
		if err != nil {
			return nil, err
		}
		f.to(node)
	}
	ca := filepath.Join(o.Dir, "ca.pem")
	if err := p.secret(ctx, "slipway-web-ca", `ca\.crt`, ca); err != nil {
		return nil, err
	}
	hosts := slipway.Hosts{Scheme: "https", Base: base, Port: p.front.port(), SSHPort: p.ssh.port()}
	p.Instance, err = rig.Attach(rig.Options{Binary: p.binary(), Out: o.Out}, hosts, ca, p)
	if err != nil {
		return nil, err
	}
	return p, rig.Until(ctx, time.Minute, func() error {
		res, err := p.Follow(ctx, p.Client(), hosts.API()+"/portal")
		if err == nil {
			err = res.Body.Close()
		}
		return err
	})
}

// besides is the address of SSH beside that of browsers, as on one machine.
func besides(addr string) string {
	host, port, _ := strings.Cut(addr, ":")
	if port != "0" {
		port = "2222"
	}
	return host + ":" + port
}

func (p *Platform) closeFronts() {
	p.front.close()
	p.ssh.close()
}

func (p *Platform) binary() string { return filepath.Join(p.Root, "bin", "slipway") }

// slipway runs one of the commands that work on a cluster.
func (p *Platform) slipway(ctx context.Context, args ...string) error {
	return p.command(ctx, append(args, "--kubeconfig", p.Cluster.Kubeconfig())...)
}

// command runs a command of slipway.
func (p *Platform) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, p.binary(), args...)
	cmd.Stdout, cmd.Stderr = p.Out, p.Out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("slipway %s: %w", args[0], err)
	}
	return nil
}

// secret writes what a Secret has for the key to a file.
func (p *Platform) secret(ctx context.Context, name, key, file string) error {
	text, err := p.Kubectl(ctx, "get", "secret", name, "-o", "jsonpath={.data."+key+"}")
	if err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o600)
}

// Kubectl works on the platform's namespace.
func (p *Platform) Kubectl(ctx context.Context, args ...string) (string, error) {
	return p.Cluster.Kubectl(ctx, append([]string{"-n", p.Namespace}, args...)...)
}

const component = "app.kubernetes.io/component="

// Kill kills one pod of the core or of the gateways as a crash does: at once.
// It is another pod that comes back.
func (p *Platform) Kill(part string) error {
	ctx := context.Background()
	pods, err := p.Kubectl(ctx, "get", "pods", "-l", component+part, "-o", "name")
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(pods, "\n")
	if name == "" {
		return fmt.Errorf("no pod of the part %s", part)
	}
	_, err = p.Kubectl(ctx, "delete", name, "--grace-period=0", "--force", "--wait=false")
	return err
}

// Ready waits until every part of the platform is ready.
func (p *Platform) Ready(ctx context.Context) error {
	return rig.Until(ctx, 3*time.Minute, func() error {
		out, err := exec.CommandContext(ctx, p.binary(), "install", "status", "--kubeconfig", p.Cluster.Kubeconfig(), "--namespace", p.Namespace).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		return err
	})
}

// Stop takes the platform off the cluster, with its namespaces.
func (p *Platform) Stop() error {
	p.closeFronts()
	if p.Keep {
		return nil
	}
	return p.slipway(context.Background(), "uninstall", "--level", "namespaces", "--namespace", p.Namespace, "--confirm", p.Namespace)
}

// Log is what the platform's pods printed, and how the pods are.
func (p *Platform) Log() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var b strings.Builder
	for _, ns := range []string{p.Namespace, p.Apps, p.Namespace + "-pull"} {
		for _, args := range [][]string{
			{"get", "pods,jobs,pvc", "-o", "wide"},
			{"get", "events", "--sort-by=.lastTimestamp", "--field-selector=type!=Normal"},
			{"logs", "-l", component + "core", "--tail=-1", "--prefix"},
			{"logs", "-l", component + "gateway", "--tail=-1", "--prefix"},
			{"logs", "-l", component + "pull", "--tail=-1", "--prefix"},
			{"logs", "-l", component + "postgres", "--tail=40", "--prefix"},
		} {
			out, err := p.Cluster.Kubectl(ctx, append([]string{"-n", ns}, args...)...)
			if err != nil {
				out += err.Error()
			}
			if strings.TrimSpace(out) != "" {
				fmt.Fprintf(&b, "── %s: kubectl %s\n%s\n", ns, strings.Join(args, " "), out)
			}
		}
	}
	return b.String()
}

// Left are the objects of apps, which are to be gone when the apps are.
func (p *Platform) Left(ctx context.Context) (string, error) {
	return p.Cluster.Kubectl(ctx, "-n", p.Apps, "get", "deployments,jobs,pods,services,secrets,persistentvolumeclaims,poddisruptionbudgets",
		"-l", "slipway.dev/scope", "-o", "name")
}

// pullPort is one of the nodes' loopback that hardly any other installation has.
func pullPort(namespace string) string {
	return fmt.Sprint(20000 + crc32.ChecksumIEEE([]byte(namespace))%9000)
}
