package install

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"slipway.dev/slipway/internal/platform"
)

// Where things are in the platform's pods.
const (
	configDir   = "/etc/slipway/config"
	configFile  = "slipway.yaml"
	identityDir = "/etc/slipway/identity"
	secretsDir  = "/etc/slipway/secrets"
	tlsDir      = "/etc/slipway/tls"
	dataDir     = "/var/lib/slipway"
)

// Names of objects.
const (
	nameConfig   = "slipway-config"
	nameCore     = "slipway-core"
	nameGateway  = "slipway-gateway"
	namePull     = "slipway-pull"
	nameDatabase = "slipway-postgres"
	nameEdge     = "slipway" // the service of browsers
)

// plan is what an installation is to be: the values, and the secrets that are
// there or were made.
type plan struct {
	Values
	secrets secrets
	inner   []string          // networks of the cluster itself, shut for apps
	pulls   map[string][]byte // the Secret with which nodes pull the platform's images
}

// pullNamespace holds the pull proxies alone: they need the node's loopback,
// which Pod Security lets only privileged namespaces have.
func (p *plan) pullNamespace() string { return p.Namespace + "-pull" }

// settings are slipway.yaml of the core and of the gateways.
func (p *plan) settings() (platform.Config, error) {
	cfg := platform.Config{
		Base: p.Base, Engine: platform.EngineKube, PublicPort: strconv.Itoa(int(p.Service.HTTPSPort)), Data: dataDir,
		TrustedProxies: p.TrustedProxies, GitHosts: p.GitHosts, AppMemoryMB: p.AppMemoryMB, KeyFile: secretsDir + "/" + keySeal,
		Log: platform.Log{Format: "json"},
		Kube: platform.Kube{
			Namespace: p.Namespace, AppsNamespace: p.AppsNamespace, Identity: identityDir, StorageClass: p.Storage.Class, SharedStorageClass: p.Storage.SharedClass,
			PullHost: fmt.Sprintf("127.0.0.1:%d", p.PullPort), Shut: p.inner,
			LingerSeconds: p.linger(),
		},
	}
	if p.Service.SSHPort > 0 {
		cfg.SSHListen, cfg.SSHPublicPort = ":2222", strconv.Itoa(int(p.Service.SSHPort))
	}
	if p.TLSSecret != "" {
		cfg.TLS = platform.TLS{CertFile: tlsDir + "/tls.crt", KeyFile: tlsDir + "/tls.key"}
	}
	p.setDatabase(&cfg)
	p.setBucket(&cfg)
	return cfg, cfg.Complete()
}

// linger is how long a gateway that stops goes on serving, in seconds. A load
// balancer that asks each node takes longer to hear of it than Kubernetes' own
// proxies; 0 is enough for those.
func (p *plan) linger() int {
	if p.Service.Type == string(corev1.ServiceTypeLoadBalancer) && p.Service.Traffic == string(corev1.ServiceExternalTrafficPolicyLocal) {
		return 30
	}
	return 0
}

// config holds the settings, and a mark of them: pods whose mark differs from
// the present one are replaced.
func (p *plan) config() (*corev1.ConfigMap, string, error) {
	cfg, err := p.settings()
	if err != nil {
		return nil, "", err
	}
	text, err := cfg.Print()
	sum := sha256.Sum256(text)
	return &corev1.ConfigMap{
		TypeMeta: typeMeta("ConfigMap"), ObjectMeta: p.meta(partPlatform, nameConfig), Data: map[string]string{configFile: string(text)},
	}, hex.EncodeToString(sum[:8]), err
}

// objects are all of it, in the order in which they are applied.
func (p *plan) objects() ([]object, error) {
	config, mark, err := p.config()
	if err != nil {
		return nil, err
	}
	out := []object{
		p.namespace(p.Namespace, "restricted"), p.namespace(p.AppsNamespace, "restricted"), p.namespace(p.pullNamespace(), "privileged"),
		p.account(p.Namespace, partCore, true), p.account(p.Namespace, partGateway, true), p.account(p.pullNamespace(), partPull, false),
	}
	out = append(out, p.rights()...)
	out = append(out, p.secretObjects()...)
	out = append(out, config, p.claim(partCore, nameCore, p.Storage.CoreSize))
	out = append(out, p.policies()...)
	if p.Database.Bundled() {
		out = append(out, p.database()...)
	}
	out = append(out, p.coreService(), p.gatewayService(), p.core(mark), p.edge(), p.gatewayBudget(), p.gateway(mark), p.pull(mark))
	order := func(o object) int {
		return slices.IndexFunc(kinds, func(k kindOf) bool { return k.Kind == o.GetObjectKind().GroupVersionKind().Kind })
	}
	slices.SortStableFunc(out, func(a, b object) int { return order(a) - order(b) })
	return out, nil
}

func (p *plan) claim(part, name, size string) *corev1.PersistentVolumeClaim {
	spec := corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
	if p.Storage.Class != "" {
		spec.StorageClassName = &p.Storage.Class
	}
	return &corev1.PersistentVolumeClaim{TypeMeta: typeMeta("PersistentVolumeClaim"), ObjectMeta: p.meta(part, name), Spec: spec}
}

// core is one pod: two would write the same volume. The old one ends first;
// meanwhile the gateways serve on, and let what needs the core wait.
func (p *plan) core(mark string) *appsv1.Deployment {
	cfg, _ := p.settings() // checked by config
	c := p.process("core")
	c.Ports = []corev1.ContainerPort{
		port("core", cfg.Kube.Ports.Core), port("link", cfg.Kube.Ports.Link), port("registry", cfg.Kube.Ports.Registry),
		port("platform", cfg.Kube.Ports.Platform), port("metrics", portOf(cfg.Metrics)),
	}
	if cfg.SSH() {
		c.Ports = append(c.Ports, port("ssh", cfg.Kube.Ports.SSH))
	}
	env, more := p.outside()
	c.Env = append(c.Env, env...)
	c.Resources = needs("250m", "256Mi", "2Gi")
	c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = get("/healthz", "metrics", 1, 120), get("/readyz", "metrics", 1, 5), get("/healthz", "metrics", 10, 6)
	spec := p.pod(partCore, c)
	spec.TerminationGracePeriodSeconds = ptr(int64(30))
	volumes(&spec,
		fromConfig("config", configDir, nameConfig), fromSecret("identity", identityDir, secretCoreIdentity), fromSecret("secrets", secretsDir, secretCore),
		fromClaim("data", dataDir, nameCore), empty("tmp", "/tmp"))
	return &appsv1.Deployment{
		TypeMeta: typeMeta("Deployment"), ObjectMeta: p.meta(partCore, nameCore),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(1)), Selector: &metav1.LabelSelector{MatchLabels: selector(partCore)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: p.template(partCore, mark+more, spec), RevisionHistoryLimit: ptr(int32(3)),
		},
	}
}

func (p *plan) coreService() *corev1.Service {
	cfg, _ := p.settings()
	k := cfg.Kube.Ports
	ports := []corev1.ServicePort{servicePort("core", k.Core), servicePort("link", k.Link), servicePort("registry", k.Registry), servicePort("platform", k.Platform)}
	if cfg.SSH() {
		ports = append(ports, servicePort("ssh", k.SSH))
	}
	return p.service(partCore, nameCore, ports...)
}

// gateway is the edge: replicas that need nothing of each other, on nodes apart.
func (p *plan) gateway(mark string) *appsv1.Deployment {
	cfg, _ := p.settings()
	c := p.process("gateway")
	c.Ports = []corev1.ContainerPort{port("edge", portOf(cfg.Listen)), port("platform", cfg.Kube.Ports.Platform), port("metrics", portOf(cfg.Metrics))}
	if cfg.SSH() {
		c.Ports = append(c.Ports, port("ssh", portOf(cfg.SSHListen)))
	}
	c.Resources = needs("100m", "64Mi", "512Mi")
	c.StartupProbe, c.ReadinessProbe, c.LivenessProbe = get("/healthz", "metrics", 1, 60), get("/readyz", "metrics", 1, 2), get("/healthz", "metrics", 10, 3)
	spec := p.pod(partGateway, c)
	spec.TerminationGracePeriodSeconds = ptr(int64(60)) // the time until nobody comes any more, and then the drain
	spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")}
	// The policy lies on emptyDir: a container that dies begins with the last
	// table even while the core is away.
	volumes(&spec, fromConfig("config", configDir, nameConfig), fromSecret("identity", identityDir, secretGatewayIdentity), empty("data", dataDir), empty("tmp", "/tmp"))
	if p.TLSSecret != "" {
		volumes(&spec, fromSecret("tls", tlsDir, p.TLSSecret))
	} else {
		volumes(&spec, fromSecret("tls", dataDir+"/tls", secretWebCA))
	}
	return &appsv1.Deployment{
		TypeMeta: typeMeta("Deployment"), ObjectMeta: p.meta(partGateway, nameGateway),
		Spec: appsv1.DeploymentSpec{
			Replicas: &p.Gateways, Selector: &metav1.LabelSelector{MatchLabels: selector(partGateway)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{
				MaxUnavailable: ptr(intstr.FromInt32(0)), MaxSurge: ptr(intstr.FromInt32(1)),
			}},
			Template: p.template(partGateway, mark, spec), RevisionHistoryLimit: ptr(int32(3)),
		},
	}
}

func spread(key string) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: &metav1.LabelSelector{MatchLabels: selector(partGateway)},
		MatchLabelKeys: []string{"pod-template-hash"},
	}
}

// gatewayService is for apps.
func (p *plan) gatewayService() *corev1.Service {
	cfg, _ := p.settings()
	return p.service(partGateway, nameGateway, servicePort("platform", cfg.Kube.Ports.Platform))
}

// edge is the one service that is reached from outside. The ports of browsers
// lead to the same door, which tells plain HTTP from TLS.
func (p *plan) edge() *corev1.Service {
	ports := []corev1.ServicePort{
		{Name: "https", Port: p.Service.HTTPSPort, TargetPort: intstr.FromString("edge"), NodePort: p.Service.HTTPSNode},
		{Name: "http", Port: 80, TargetPort: intstr.FromString("edge"), NodePort: p.Service.HTTPNode},
	}
	if p.Service.SSHPort > 0 {
		ports = append(ports, corev1.ServicePort{Name: "ssh", Port: p.Service.SSHPort, NodePort: p.Service.SSHNode})
	}
	s := p.service(partGateway, nameEdge, ports...)
	s.Annotations = p.Service.Annotations
	s.Spec.Type = corev1.ServiceType(p.Service.Type)
	if s.Spec.Type != corev1.ServiceTypeClusterIP {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicy(p.Service.Traffic)
	}
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && p.Service.Class != "" {
		s.Spec.LoadBalancerClass = &p.Service.Class
	}
	return s
}

func (p *plan) gatewayBudget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta: typeMeta("PodDisruptionBudget"), ObjectMeta: p.meta(partGateway, nameGateway),
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: ptr(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: selector(partGateway)}},
	}
}

// pull is on every node: through it the kubelet reaches the registry without
// DNS and without trusting our CA.
func (p *plan) pull(mark string) *appsv1.DaemonSet {
	cfg, _ := p.settings()
	c := corev1.Container{
		Name: "pull", Image: p.Image,
		Command: []string{
			"/usr/local/bin/slipway", "pull-proxy", "--listen", cfg.Kube.PullHost, "--registry", cfg.Kube.At(cfg.Kube.Ports.Registry), "--identity", identityDir, "--cache", dataDir,
		},
		Resources: needs("20m", "32Mi", "256Mi"),
	}
	c.ReadinessProbe = &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "127.0.0.1", Port: intstr.FromInt32(p.PullPort)}},
		PeriodSeconds: 5, FailureThreshold: 3, TimeoutSeconds: 5,
	}
	spec := p.pod(partPull, c)
	spec.HostNetwork, spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	// Apps run on nodes that the platform's own pods may not: it is everywhere.
	spec.NodeSelector, spec.Tolerations = nil, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	volumes(&spec, fromSecret("identity", identityDir, secretPullIdentity), empty("cache", dataDir), empty("tmp", "/tmp"))
	return &appsv1.DaemonSet{
		TypeMeta: typeMeta("DaemonSet"), ObjectMeta: p.metaIn(p.pullNamespace(), partPull, namePull),
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: selector(partPull)}, Template: p.template(partPull, mark, spec), RevisionHistoryLimit: ptr(int32(3)),
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{
				MaxUnavailable: ptr(intstr.FromString("25%")),
			}},
		},
	}
}

// annotationConfig changes with what pods read once, at their start.
const annotationConfig = "slipway.dev/config"

func (p *plan) template(part, mark string, spec corev1.PodSpec) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: p.labels(part), Annotations: map[string]string{annotationConfig: mark}}, Spec: spec,
	}
}

func needs(cpu, memory, limit string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)},
	}
}

func port(name, number string) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: atoi(number), Protocol: corev1.ProtocolTCP}
}

func servicePort(name, number string) corev1.ServicePort {
	return corev1.ServicePort{Name: name, Port: atoi(number)}
}

func atoi(s string) int32 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		panic(err) // settings were checked
	}
	return int32(n)
}
