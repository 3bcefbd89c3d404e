package install

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Labels of everything that is installed.
const (
	labelName      = "app.kubernetes.io/name"
	labelPart      = "app.kubernetes.io/component"
	labelManagedBy = "app.kubernetes.io/managed-by"
	labelInstall   = "slipway.dev/install" // the platform's namespace: which installation it belongs to
	manager        = "slipway-install"
)

// Parts of the platform, as they are named in labels and by status.
const (
	partCore     = "core"
	partGateway  = "gateway"
	partPull     = "pull"
	partDatabase = "postgres"
	partPlatform = "platform" // what belongs to none of them alone
)

// user is the id under which the platform's own processes run.
const user = int64(10001)

// object is a typed object of Kubernetes with its meta data.
type object interface {
	metav1.Object
	runtime.Object
}

type kindOf struct {
	schema.GroupVersionKind
	resource string
	keep     bool // holds data: it outlives the platform unless that is asked for
	global   bool // belongs to no namespace
}

// kinds are all that the installer makes. Deleting goes from the end.
var kinds = []kindOf{
	{schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, "namespaces", true, true},
	{schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, "serviceaccounts", false, false},
	{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRole"}, "clusterroles", false, true},
	{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "ClusterRoleBinding"}, "clusterrolebindings", false, true},
	{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, "roles", false, false},
	{schema.GroupVersionKind{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "RoleBinding"}, "rolebindings", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "secrets", true, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, "configmaps", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}, "persistentvolumeclaims", true, false},
	{schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}, "networkpolicies", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "services", false, false},
	{schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, "poddisruptionbudgets", false, false},
	{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "StatefulSet"}, "statefulsets", false, false},
	{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "deployments", false, false},
	{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}, "daemonsets", false, false},
}

// labels are for one part's objects; selector is the part of them that does
// not change over the life of an installation.
func (p *plan) labels(part string) map[string]string {
	l := selector(part)
	l[labelManagedBy], l[labelInstall] = manager, p.Namespace
	return l
}

func selector(part string) map[string]string {
	return map[string]string{labelName: "slipway", labelPart: part}
}

func (p *plan) meta(part, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: p.Namespace, Name: name, Labels: p.labels(part)}
}

func (p *plan) metaIn(namespace, part, name string) metav1.ObjectMeta {
	m := p.meta(part, name)
	m.Namespace = namespace
	return m
}

func typeMeta(kind string) metav1.TypeMeta {
	for _, k := range kinds {
		if k.Kind == kind {
			return metav1.TypeMeta{APIVersion: k.GroupVersion().String(), Kind: kind}
		}
	}
	panic("no such kind: " + kind)
}

// namespace makes one with a level of Pod Security.
func (p *plan) namespace(name, level string) *corev1.Namespace {
	m := p.metaIn("", partPlatform, name)
	maps.Copy(m.Labels, map[string]string{
		"pod-security.kubernetes.io/enforce": level, "pod-security.kubernetes.io/enforce-version": "latest",
	})
	return &corev1.Namespace{TypeMeta: typeMeta("Namespace"), ObjectMeta: m}
}

// account is for pods that ask nothing of Kubernetes unless token says so.
func (p *plan) account(namespace, part string, token bool) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{
		TypeMeta: typeMeta("ServiceAccount"), ObjectMeta: p.metaIn(namespace, part, "slipway-"+part), AutomountServiceAccountToken: &token,
	}
}

// service leads to a part's pods; ports are name and number.
func (p *plan) service(part, name string, ports ...corev1.ServicePort) *corev1.Service {
	for i := range ports {
		if ports[i].TargetPort == (intstr.IntOrString{}) {
			ports[i].TargetPort = intstr.FromString(ports[i].Name)
		}
		ports[i].Protocol = corev1.ProtocolTCP
	}
	return &corev1.Service{
		TypeMeta: typeMeta("Service"), ObjectMeta: p.meta(part, name),
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: selector(part), Ports: ports},
	}
}

// pod fits what the level restricted of Pod Security asks, and nodes that the
// administrator chose.
func (p *plan) pod(part string, containers ...corev1.Container) corev1.PodSpec {
	spec := corev1.PodSpec{
		ServiceAccountName: "slipway-" + part, EnableServiceLinks: new(bool), NodeSelector: p.NodeSelector, Containers: containers,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: ptr(true), RunAsUser: ptr(user), RunAsGroup: ptr(user), FSGroup: ptr(user),
			FSGroupChangePolicy: ptr(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	for _, t := range p.Tolerations {
		spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
			Key: t.Key, Operator: corev1.TolerationOperator(t.Operator), Value: t.Value, Effect: corev1.TaintEffect(t.Effect),
		})
	}
	if p.PullSecret != "" {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: p.PullSecret}}
	}
	for i := range spec.Containers {
		c := &spec.Containers[i]
		c.ImagePullPolicy = corev1.PullPolicy(p.PullPolicy)
		c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		c.SecurityContext = &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(bool), ReadOnlyRootFilesystem: ptr(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		}
	}
	return spec
}

// process is a container of the platform's own image.
func (p *plan) process(verb string, args ...string) corev1.Container {
	return corev1.Container{
		Name: verb, Image: p.Image, Command: append([]string{"/usr/local/bin/slipway", verb, "--config", configDir + "/" + configFile}, args...),
		Env: []corev1.EnvVar{{Name: "HOME", Value: "/tmp"}},
	}
}

// volumes adds volumes to a pod and mounts each in its first container.
func volumes(spec *corev1.PodSpec, all ...volume) {
	for _, v := range all {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: v.name, VolumeSource: v.source})
		m := corev1.VolumeMount{Name: v.name, MountPath: v.at, SubPath: v.sub, ReadOnly: v.source.EmptyDir == nil && v.source.PersistentVolumeClaim == nil}
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, m)
	}
}

type volume struct {
	name, at string
	source   corev1.VolumeSource
	sub      string // a file of it
}

func fromSecret(name, at, secret string) volume {
	return volume{name: name, at: at, source: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret, DefaultMode: ptr(int32(0o440))}}}
}

func fromConfig(name, at, config string) volume {
	return volume{name: name, at: at, source: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: config}}}}
}

func fromClaim(name, at, claim string) volume {
	return volume{name: name, at: at, source: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

func empty(name, at string) volume {
	return volume{name: name, at: at, source: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// get is a probe over plain HTTP.
func get(path, port string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString(port)}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 5,
	}
}

func ptr[T any](v T) *T { return &v }
