package install

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/platform"
)

var update = flag.Bool("update", false, "write the golden files")

// values are complete, changed by fn.
func values(t *testing.T, fn func(*Values)) Values {
	t.Helper()
	v := Values{Base: "slipway.example.com", Image: "registry.example.com/slipway:1"}
	if fn != nil {
		fn(&v)
	}
	if err := v.Complete(); err != nil {
		t.Fatal(err)
	}
	return v
}

// nothing is a cluster without our secrets.
func nothing(context.Context, string, string) (map[string][]byte, error) { return nil, nil }

func planned(t *testing.T, v Values) (*plan, []object) {
	t.Helper()
	p := &plan{Values: v}
	if err := p.fill(t.Context(), nothing, time.Now()); err != nil {
		t.Fatal(err)
	}
	objects, err := p.objects()
	if err != nil {
		t.Fatal(err)
	}
	return p, objects
}

var cases = map[string]func(*Values){
	"bundled": nil,
	"external": func(v *Values) {
		v.Database.URL = "postgres://slipway@db.example.com/slipway?sslmode=verify-full"
		v.TLSSecret, v.Gateways, v.PullSecret = "web", 3, "pull"
		v.Service = Service{Type: "LoadBalancer", SSHPort: -1, Class: "example.com/nlb", Annotations: map[string]string{"example.com/scheme": "internal"}}
		v.Storage = Storage{Class: "fast", SharedClass: "shared", CoreSize: "50Gi"}
		v.NodeSelector = map[string]string{"pool": "platform"}
		v.Tolerations = []Toleration{{Key: "dedicated", Operator: "Equal", Value: "slipway", Effect: "NoSchedule"}}
		v.Namespace, v.AppsNamespace, v.PullPort = "other", "other-apps", 5006
	},
}

// The objects are as in testdata: go test ./internal/install -update.
func TestGolden(t *testing.T) {
	for name, fn := range cases {
		p, objects := planned(t, values(t, fn))
		var b bytes.Buffer
		if err := (&Plan{plan: p, objects: objects}).Print(&b); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", name+".yaml")
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("%s: the objects differ from %s: look at the difference and run with -update", name, file)
		}
	}
}

// The Secret with which nodes pull is where each pod that needs it is.
func TestPullSecretIsCopied(t *testing.T) {
	p := &plan{Values: values(t, func(v *Values) { v.PullSecret = "registry" })}
	read := func(_ context.Context, namespace, name string) (map[string][]byte, error) {
		if namespace == "slipway" && name == "registry" {
			return map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")}, nil
		}
		return nil, nil
	}
	if err := p.fill(t.Context(), read, time.Now()); err != nil {
		t.Fatal(err)
	}
	objects, err := p.objects()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{"slipway/registry": true} // the administrator's
	for _, o := range objects {
		if s, ok := o.(*corev1.Secret); ok && s.Name == "registry" {
			there[s.Namespace+"/"+s.Name] = s.Type == corev1.SecretTypeDockerConfigJson && string(s.Data[corev1.DockerConfigJsonKey]) == "{}"
		}
	}
	for _, o := range objects {
		d, ok := o.(*appsv1.DaemonSet)
		if ok && !there[d.Namespace+"/"+d.Spec.Template.Spec.ImagePullSecrets[0].Name] {
			t.Errorf("%s cannot pull: there is only %v", d.Name, there)
		}
	}
}

// Viewers' addresses are seen where only nodes with a gateway take connections.
func TestTraffic(t *testing.T) {
	for name, tt := range map[string]struct {
		service Service
		want    corev1.ServiceExternalTrafficPolicy
		linger  int
	}{
		"balancer": {Service{}, corev1.ServiceExternalTrafficPolicyLocal, 30},
		"cluster":  {Service{Traffic: "Cluster"}, corev1.ServiceExternalTrafficPolicyCluster, 8},
		"nodes":    {Service{Type: "NodePort"}, corev1.ServiceExternalTrafficPolicyCluster, 8},
		"own":      {Service{Type: "NodePort", Traffic: "Local"}, corev1.ServiceExternalTrafficPolicyLocal, 8},
		"inside":   {Service{Type: "ClusterIP"}, "", 8},
	} {
		p, objects := planned(t, values(t, func(v *Values) { v.Service = tt.service }))
		i := slices.IndexFunc(objects, func(o object) bool { s, ok := o.(*corev1.Service); return ok && s.Name == nameEdge })
		if got := objects[i].(*corev1.Service).Spec.ExternalTrafficPolicy; got != tt.want {
			t.Errorf("%s: traffic is %q, not %q", name, got, tt.want)
		}
		if cfg, err := p.settings(); err != nil || cfg.Kube.LingerSeconds != tt.linger {
			t.Errorf("%s: gateways linger for %d s, not %d: %v", name, cfg.Kube.LingerSeconds, tt.linger, err)
		}
	}
}

func TestPrintedObjectsHoldNoSecret(t *testing.T) {
	p, objects := planned(t, values(t, nil))
	var b bytes.Buffer
	if err := (&Plan{plan: p, objects: objects}).Print(&b); err != nil {
		t.Fatal(err)
	}
	for name, data := range p.secrets {
		for key, value := range data {
			if strings.Contains(b.String(), string(value)) || bytes.Contains(b.Bytes(), []byte("PRIVATE KEY")) {
				t.Errorf("the value of %s in %s is printed", key, name)
			}
		}
	}
}

// pods are the templates of all pods, by part.
func pods(objects []object) map[string]corev1.PodTemplateSpec {
	out := map[string]corev1.PodTemplateSpec{}
	for _, o := range objects {
		part := o.GetLabels()[labelPart]
		switch o := o.(type) {
		case *appsv1.Deployment:
			out[part] = o.Spec.Template
		case *appsv1.StatefulSet:
			out[part] = o.Spec.Template
		case *appsv1.DaemonSet:
			out[part] = o.Spec.Template
		}
	}
	return out
}

func TestPodsAreRestricted(t *testing.T) {
	_, objects := planned(t, values(t, nil))
	all := pods(objects)
	if len(all) != 4 {
		t.Fatalf("%d parts, not 4", len(all))
	}
	for part, tpl := range all {
		s := tpl.Spec
		if s.HostNetwork != (part == partPull) || s.HostPID || s.HostIPC {
			t.Errorf("%s: uses the node's namespaces", part)
		}
		if !*s.SecurityContext.RunAsNonRoot || *s.SecurityContext.RunAsUser == 0 || s.SecurityContext.SeccompProfile == nil {
			t.Errorf("%s: %+v", part, s.SecurityContext)
		}
		for _, v := range s.Volumes {
			if v.HostPath != nil {
				t.Errorf("%s: mounts %s of the node", part, v.HostPath.Path)
			}
		}
		for _, c := range s.Containers {
			if *c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem || !slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: %+v", part, c.SecurityContext)
			}
			if c.Resources.Requests.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() || c.ReadinessProbe == nil {
				t.Errorf("%s: without requests, limits or a probe", part)
			}
			for _, e := range c.Env {
				if strings.Contains(strings.ToLower(e.Name), "password") {
					t.Errorf("%s: %s is in the environment", part, e.Name)
				}
			}
		}
	}
}

// The key of the internal authority is for the installer alone.
func TestNoPodHasTheAuthoritysKey(t *testing.T) {
	_, objects := planned(t, values(t, nil))
	for part, tpl := range pods(objects) {
		for _, v := range tpl.Spec.Volumes {
			if v.Secret != nil && v.Secret.SecretName == secretCA {
				t.Errorf("%s mounts %s", part, secretCA)
			}
		}
	}
}

func TestRights(t *testing.T) {
	_, objects := planned(t, values(t, nil))
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.Role:
			if o.Namespace != "slipway-apps" {
				t.Errorf("the role %s is in %s: the platform needs nothing there", o.Name, o.Namespace)
			}
			checkRules(t, o.Name, o.Rules)
		case *rbacv1.ClusterRole:
			checkRules(t, o.Name, o.Rules)
			for _, r := range o.Rules {
				for _, verb := range r.Verbs {
					if !slices.Contains([]string{"get", "list", "watch"}, verb) {
						t.Errorf("%s may %s %s in the whole cluster", o.Name, verb, r.Resources)
					}
				}
			}
		case *corev1.ServiceAccount:
			if want := slices.Contains([]string{"slipway-core", "slipway-gateway"}, o.Name); *o.AutomountServiceAccountToken != want {
				t.Errorf("%s has a token: %v", o.Name, !want)
			}
		}
	}
}

func checkRules(t *testing.T, name string, rules []rbacv1.PolicyRule) {
	t.Helper()
	for _, r := range rules {
		for _, s := range slices.Concat(r.Verbs, r.Resources, r.APIGroups) {
			if s == "*" {
				t.Errorf("%s: a wildcard in %+v", name, r)
			}
		}
	}
}

// Apps reach the gateways' and the core's platform doors and no other; only
// gateways reach core and link.
func TestDoorsAreShut(t *testing.T) {
	_, objects := planned(t, values(t, nil))
	shut := false
	for _, o := range objects {
		n, ok := o.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		shut = shut || len(n.Spec.PodSelector.MatchLabels) == 0 && len(n.Spec.Ingress) == 0
		for _, r := range n.Spec.Ingress {
			for _, port := range r.Ports {
				open, apps := len(r.From) == 0, false
				for _, f := range r.From {
					apps = apps || f.NamespaceSelector != nil
				}
				name := port.Port.StrVal
				outside := n.Name == nameGateway && (name == "edge" || name == "ssh") || name == "registry"
				if open && !outside || apps && name != "platform" {
					t.Errorf("%s lets too many in to %s", n.Name, name)
				}
			}
		}
	}
	if !shut {
		t.Error("nothing shuts what no policy names")
	}
}

// A second run keeps what the first made; a certificate that ends soon is made
// anew, by the same authority.
func TestSecretsStay(t *testing.T) {
	v := values(t, nil)
	first, _ := planned(t, v)
	kept := func(_ context.Context, _, name string) (map[string][]byte, error) { return first.secrets[name], nil }
	again := &plan{Values: v}
	if err := again.fill(t.Context(), kept, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, data := range first.secrets {
		for key, value := range data {
			if !bytes.Equal(value, again.secrets[name][key]) {
				t.Errorf("%s in %s was made again", key, name)
			}
		}
	}
	before := string(first.secrets[secretCoreIdentity][platform.IdentityCert])
	late := &plan{Values: v}
	if err := late.fill(t.Context(), kept, time.Now().Add(identityLife*3/4)); err != nil {
		t.Fatal(err)
	}
	if string(late.secrets[secretCoreIdentity][platform.IdentityCert]) == before {
		t.Error("a certificate in its last third was not renewed")
	}
	if _, err := platform.ParseAuthority(platform.Pair{Cert: late.secrets[secretCA][platform.IdentityCA], Key: secret.New(string(late.secrets[secretCA][keyAuthority]))}); err != nil {
		t.Error(err)
	}
}

// The settings in the ConfigMap are settings that a process can read.
func TestSettingsCanBeRead(t *testing.T) {
	for name, fn := range cases {
		p, _ := planned(t, values(t, fn))
		config, _, err := p.config()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "slipway.yaml")
		if err := os.WriteFile(file, []byte(config.Data[configFile]), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := platform.ReadConfig(file)
		if err == nil {
			err = cfg.Complete()
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if cfg.Engine != platform.EngineKube || cfg.Kube.AppsNamespace != p.AppsNamespace || cfg.Hosts().API() != "https://api-slipway.example.com" {
			t.Errorf("%s: %+v", name, cfg)
		}
	}
}

// Git over SSH has a port of its own from the outside to the core, or none.
func TestSSHPort(t *testing.T) {
	for want, port := range map[string]int32{"ssh://git@git-slipway.example.com": 0, "ssh://git@git-slipway.example.com:2022": 2022, "": -1} {
		p, objects := planned(t, values(t, func(v *Values) { v.Service.SSHPort, v.Service.SSHNode = port, 30022 }))
		cfg, err := p.settings()
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.Hosts().SSH(); got != want {
			t.Errorf("with %d it is called %q, not %q", port, got, want)
		}
		leads := map[string]corev1.ServicePort{}
		for _, o := range objects {
			if s, ok := o.(*corev1.Service); ok {
				for _, p := range s.Spec.Ports {
					if p.Name == "ssh" {
						leads[s.Name] = p
					}
				}
			}
		}
		switch {
		case want == "":
			if len(leads) > 0 {
				t.Errorf("without SSH there is %v", leads)
			}
		case len(leads) != 2 || leads[nameEdge].NodePort != 30022 || leads[nameEdge].TargetPort.StrVal != "ssh" || leads[nameCore].NodePort != 0:
			t.Errorf("with %d there is %v", port, leads)
		}
	}
	v := Values{Base: "slipway.example.com", Image: "i", Service: Service{SSHPort: 443}}
	if err := v.Complete(); len(errs.FieldsOf(err)) != 1 || errs.FieldsOf(err)[0].Name != "service.ssh_port" {
		t.Errorf("a port for two: %v", err)
	}
}

func TestProblemsAreToldAtOnce(t *testing.T) {
	v := Values{
		Namespace: "x", AppsNamespace: "x", PullPolicy: "sometimes", Gateways: -1, Service: Service{Type: "Magic"},
		Database: Database{URL: "postgres://u:secret@h/d", Size: "big"}, TrustedProxies: []string{"nowhere"}, Base: "nodot",
	}
	err := v.Complete()
	if !errs.Is(err, errs.KindInvalid) {
		t.Fatal(err)
	}
	for _, want := range []string{"image", "apps_namespace", "pull_policy", "gateways", "service.type", "database.url", "database.size", "base", "trusted_proxies"} {
		if !slices.ContainsFunc(errs.FieldsOf(err), func(f errs.Field) bool { return f.Name == want }) {
			t.Errorf("nothing is said of %s: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the password is repeated:", err)
	}
}
