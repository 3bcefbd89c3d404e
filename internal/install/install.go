package install

import (
	"context"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// Installer works on one cluster.
type Installer struct {
	config  *rest.Config
	cluster cluster
	out     io.Writer // what a person wants to know
	timeout time.Duration
}

// Target says which cluster, as kubectl does.
type Target struct {
	Kubeconfig string // file; empty = $KUBECONFIG or ~/.kube/config, or the pod's own account
	Context    string
}

// Config reads how the cluster is reached.
func (t Target) Config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = t.Kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: t.Context}).ClientConfig()
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "no cluster is chosen: %v: name one with --kubeconfig and --context", err)
	}
	cfg.QPS, cfg.Burst, cfg.UserAgent = 50, 100, manager
	return cfg, nil
}

// New returns an installer that tells on out what it does and waits no longer
// than timeout for each part.
func New(cfg *rest.Config, out io.Writer, timeout time.Duration) (*Installer, error) {
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "the cluster's configuration cannot be used: %v", err)
	}
	return &Installer{config: cfg, cluster: cluster{c}, out: out, timeout: timeout}, nil
}

// Plan is what a run would do. Its secrets are those of the cluster, or new.
type Plan struct {
	Changes []Change `json:"changes"`
	plan    *plan
	objects []object
}

// Plan compares the values with the cluster. It changes nothing.
func (i *Installer) Plan(ctx context.Context, v Values) (*Plan, error) {
	inner, err := i.inner(ctx)
	if err != nil {
		return nil, err
	}
	networks, err := i.podNetworks(ctx, v)
	if err != nil {
		return nil, err
	}
	p := &plan{Values: v, inner: append(inner, networks...)}
	if err := p.fill(ctx, i.cluster.read, time.Now()); err != nil {
		return nil, err
	}
	if err := i.checkTLS(ctx, p); err != nil {
		return nil, err
	}
	if p.PullSecret != "" && p.pulls == nil {
		return nil, errs.NotFound("there is no Secret %s/%s to pull images with: make it with `kubectl create secret docker-registry %s --namespace %s --docker-server HOST --docker-username NAME --docker-password PASSWORD`",
			p.Namespace, p.PullSecret, p.PullSecret, p.Namespace)
	}
	objects, err := p.objects()
	if err != nil {
		return nil, err
	}
	changes, err := i.cluster.changes(ctx, p, objects)
	return &Plan{changes, p, objects}, err
}

// checkTLS looks at the administrator's certificate before anything is made.
func (i *Installer) checkTLS(ctx context.Context, p *plan) error {
	if p.TLSSecret == "" {
		return nil
	}
	data, err := i.cluster.read(ctx, p.Namespace, p.TLSSecret)
	if err != nil {
		return err
	}
	if len(data["tls.crt"]) == 0 || len(data["tls.key"]) == 0 {
		return errs.NotFound("there is no certificate in the Secret %s/%s: make it with `kubectl create secret tls %s --namespace %s --cert FILE --key FILE`, or leave out the setting to get a CA of its own",
			p.Namespace, p.TLSSecret, p.TLSSecret, p.Namespace)
	}
	return nil
}

// Print writes the objects as YAML. The values of Secrets are left out: a
// run makes them, or keeps those that are there.
func (p *Plan) Print(out io.Writer) error {
	for _, o := range p.objects {
		if s, ok := o.(*corev1.Secret); ok {
			o = redacted(s)
		}
		u, err := plain(o)
		if err != nil {
			return err
		}
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

func redacted(s *corev1.Secret) *corev1.Secret {
	s = s.DeepCopy()
	s.StringData = map[string]string{}
	for key := range s.Data {
		s.StringData[key] = "made by slipway install"
	}
	s.Data = nil
	return s
}

// stages are applied one after the other: each is ready before the next one,
// so that no pod fails for want of another part.
var stages = []struct {
	name  string
	parts []string // empty: all that is no pod
}{
	{"Namespaces, rights, settings", nil},
	{"Database", []string{partDatabase}},
	{"Core", []string{partCore}},
	{"Gateways and pull proxies", []string{partGateway, partPull}},
}

// Apply brings the cluster to the plan and waits until every part is ready.
func (i *Installer) Apply(ctx context.Context, p *Plan) error {
	began := time.Now()
	for n, s := range stages {
		stage := time.Now()
		var made []object
		for _, o := range p.objects {
			if runs(o) != (n > 0) || n > 0 && !oneOf(o.GetLabels()[labelPart], s.parts...) {
				continue
			}
			if _, err := i.cluster.apply(ctx, o, false); err != nil {
				return err
			}
			made = append(made, o)
		}
		if len(made) == 0 {
			continue
		}
		if err := i.wait(ctx, made); err != nil {
			return err
		}
		fmt.Fprintf(i.out, "✓ %s (%.1f s)\n", s.name, time.Since(stage).Seconds())
	}
	surplus, err := i.cluster.surplus(ctx, p.plan, p.objects)
	if err != nil {
		return err
	}
	for n := range surplus {
		if err := i.cluster.remove(ctx, &surplus[n]); err != nil {
			return err
		}
		fmt.Fprintf(i.out, "  deleted %s\n", nameOf(&surplus[n]))
	}
	fmt.Fprintf(i.out, "Everything is ready after %.1f s.\n", time.Since(began).Seconds())
	return nil
}

// runs tells whether pods are made of the object.
func runs(o runtime.Object) bool {
	return oneOf(o.GetObjectKind().GroupVersionKind().Kind, "Deployment", "StatefulSet", "DaemonSet")
}

// Admin makes the first administrator; false when there is one already.
func (i *Installer) Admin(ctx context.Context, p *Plan, name string, password secret.String) (bool, error) {
	code, said, err := i.exec(ctx, p.plan.Namespace, partCore, password.Reveal()+"\n",
		"/usr/local/bin/slipway", "bootstrap", "--data", dataDir, "--name", name, "--password-stdin")
	switch {
	case err != nil:
		return false, err
	case code == 0:
		return true, nil
	case code == exitConflict:
		return false, nil
	}
	return false, errs.Invalid("the first administrator cannot be made: %s", said)
}

// exitConflict is how our own commands end when it is there already.
const exitConflict = 6
