package kube

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

const (
	home      = "/home/app"
	container = "app"
	portApp   = "app"   // the name of a container's port, for policies
	portUsage = "usage" // of the init
)

// Bounds that are not in the contract.
const (
	scratchWorkload = 4 << 30  // bytes that a replica may write beside volumes
	scratchTask     = 16 << 30 // of a build
	shmBytes        = 256 << 20
	startFor        = 10 * time.Minute // for a task's pod to be scheduled and pulled
)

// manifest is an object as it is sent to the cluster.
type manifest struct {
	Resource string         `json:"resource"`
	Object   map[string]any `json:"object"`
}

// newManifest drops what server-side apply would take for a wish.
func newManifest(resource string, o runtime.Object) (manifest, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return manifest{}, err
	}
	delete(m, "status")
	// As it comes back from JSON, so that it can be changed in one way.
	b, err := json.Marshal(prune(m))
	if err != nil {
		return manifest{}, err
	}
	out := manifest{Resource: resource}
	return out, json.Unmarshal(b, &out.Object)
}

// prune removes nulls.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x == nil {
				delete(v, k)
			} else {
				v[k] = prune(x)
			}
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

func to[T any](v T) *T { return &v }

func (e *Engine) meta(ref engine.Ref) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: e.name(ref), Namespace: e.opt.Namespace, Labels: e.labels(ref),
		Annotations: map[string]string{NoteRef: ref.String()},
	}
}

func (e *Engine) selector(ref engine.Ref) map[string]string {
	return map[string]string{LabelObject: e.name(ref)}
}

// render makes all objects of a record but its Secret; held are the claims that
// hold its pods on one node. The Deployment or Job is
// the last.
func (e *Engine) render(r record, image string, held []string) ([]manifest, error) {
	var all []manifest
	add := func(resource string, o runtime.Object) error {
		m, err := newManifest(resource, o)
		all = append(all, m)
		return err
	}
	if r.task() {
		err := add("jobs", e.job(r, image, held))
		return all, err
	}
	if r.Port != 0 {
		if err := add("services", e.service(r)); err != nil {
			return nil, err
		}
	}
	if err := add("poddisruptionbudgets", e.budget(r, held)); err != nil {
		return nil, err
	}
	err := add("deployments", e.deployment(r, image, held))
	return all, err
}

func (e *Engine) deployment(r record, image string, held []string) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: e.meta(r.Ref),
		Spec: appsv1.DeploymentSpec{
			Selector:             &metav1.LabelSelector{MatchLabels: e.selector(r.Ref)},
			Strategy:             appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType},
			RevisionHistoryLimit: to(int32(0)),
			Template:             e.pod(r, image, held),
		},
	}
}

// service has no address: it makes the EndpointSlices that gateways read.
func (e *Engine) service(r record) *corev1.Service {
	return &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: e.meta(r.Ref),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: e.selector(r.Ref),
			Ports: []corev1.ServicePort{{Name: portApp, Port: int32(r.Port), Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt(r.Port)}},
		},
	}
}

// budget lets a drain of nodes end one replica at a time.
// Replicas that cannot move without each other must go together.
func (e *Engine) budget(r record, held []string) *policyv1.PodDisruptionBudget {
	most := intstr.FromInt(1)
	if len(held) > 0 {
		most = intstr.FromString("100%")
	}
	return &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: e.meta(r.Ref),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &most, Selector: &metav1.LabelSelector{MatchLabels: e.selector(r.Ref)},
			UnhealthyPodEvictionPolicy: to(policyv1.AlwaysAllow),
		},
	}
}

// job is a task. Its controller must not start a second pod, whatever becomes
// of the first; a second one would be refused by Handler.
func (e *Engine) job(r record, image string, held []string) *batchv1.Job {
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: e.meta(r.Ref),
		Spec: batchv1.JobSpec{
			BackoffLimit: to(int32(0)), Completions: to(int32(1)), Parallelism: to(int32(1)),
			PodReplacementPolicy: to(batchv1.Failed),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:          batchv1.PodFailurePolicyActionFailJob,
				OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue}},
			}}},
			// The init ends the program in time; this ends a pod that never starts.
			ActiveDeadlineSeconds: to(seconds(r.Deadline + r.Grace + startFor)),
			Template:              e.pod(r, image, held),
		},
	}
}

func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

// pod is the same for workloads and tasks: restricted Pod Security, nothing of
// the cluster, and slipway-init as PID 1.
func (e *Engine) pod(r record, image string, held []string) corev1.PodTemplateSpec {
	id := uid(r.Ref.Scope)
	labels := e.labels(r.Ref)
	labels[labelEgress] = string(r.Egress)
	c := corev1.Container{
		Name: container, Image: image, ImagePullPolicy: e.opt.PullPolicy,
		Command: []string{InitPath, "pod"},
		Env: []corev1.EnvVar{
			{Name: inside.PodIP, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.podIP"}}},
			{Name: inside.PodUID, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.uid"}}},
		},
		Ports:                    []corev1.ContainerPort{{Name: portUsage, ContainerPort: inside.UsagePort, Protocol: corev1.ProtocolTCP}},
		Resources:                e.resources(r),
		SecurityContext:          locked(),
		TerminationMessagePath:   inside.TerminationLog,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}
	if r.Port != 0 {
		c.Ports = append(c.Ports, corev1.ContainerPort{Name: portApp, ContainerPort: int32(r.Port), Protocol: corev1.ProtocolTCP})
		c.ReadinessProbe = &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt(r.Port)}},
			PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 3,
		}
	}
	p := corev1.PodSpec{
		AutomountServiceAccountToken: to(false), EnableServiceLinks: to(false), Hostname: "app",
		// The init ends the program; the kubelet only when the init does not.
		TerminationGracePeriodSeconds: to(seconds(r.Grace) + 5),
		RestartPolicy:                 corev1.RestartPolicyAlways,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: to(true), RunAsUser: to(id), RunAsGroup: to(id), FSGroup: to(id),
			FSGroupChangePolicy: to(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// A dead node's replicas are replaced after half a minute, not after five.
		Tolerations: []corev1.Toleration{leave("node.kubernetes.io/not-ready"), leave("node.kubernetes.io/unreachable")},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{
			spread(corev1.LabelTopologyZone, e.selector(r.Ref)), spread(corev1.LabelHostname, e.selector(r.Ref)),
		},
	}
	e.folders(r, &p, &c)
	p.Affinity = together(held, labels)
	if r.task() {
		p.RestartPolicy, p.Tolerations, p.TopologySpreadConstraints = corev1.RestartPolicyNever, nil, nil
	}
	p.Containers = []corev1.Container{c}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{NoteRef: r.Ref.String()}},
		Spec:       p,
	}
}

func locked() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: to(false), Privileged: to(false), ReadOnlyRootFilesystem: to(true), RunAsNonRoot: to(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func leave(taint string) corev1.Toleration {
	return corev1.Toleration{Key: taint, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: to(int64(30))}
}

func spread(key string, selector map[string]string) corev1.TopologySpreadConstraint {
	return corev1.TopologySpreadConstraint{
		MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector: &metav1.LabelSelector{MatchLabels: selector},
	}
}

// held lists the claims of a record that one node at a time can have.
func (e *Engine) held(r record) []string {
	var all []string
	for _, m := range r.Mounts {
		name := e.name(m.Volume)
		if c := e.cache.claim(name); c != nil && !slices.Contains(c.Spec.AccessModes, corev1.ReadWriteMany) {
			all = append(all, name)
		}
	}
	return all
}

// together keeps all pods that mount a claim which one node at a time can have
// on one node: elsewhere they would wait for it without end. It labels them for that.
func together(held []string, labels map[string]string) *corev1.Affinity {
	var terms []corev1.PodAffinityTerm
	for _, name := range held {
		key := labelVolume + name
		labels[key] = ""
		terms = append(terms, corev1.PodAffinityTerm{
			TopologyKey: corev1.LabelHostname, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{key: ""}},
		})
	}
	if terms == nil {
		return nil
	}
	return &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: terms}}
}

// resources: memory is guaranteed and enforced, processor time is a share.
func (e *Engine) resources(r record) corev1.ResourceRequirements {
	memory := *resource.NewQuantity(cmp.Or(r.Limits.MemoryBytes, e.opt.Memory), resource.BinarySI)
	scratch := int64(scratchWorkload)
	if r.task() {
		scratch = scratchTask
	}
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{
			corev1.ResourceMemory:           memory,
			corev1.ResourceCPU:              *resource.NewMilliQuantity(cmp.Or(r.Limits.MilliCPU, 50), resource.DecimalSI),
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(64<<20, resource.BinarySI),
		},
		Limits: corev1.ResourceList{
			corev1.ResourceMemory:           memory,
			corev1.ResourceEphemeralStorage: *resource.NewQuantity(scratch, resource.BinarySI),
		},
	}
}

// folders adds what can be written, and the Secret's files.
func (e *Engine) folders(r record, p *corev1.PodSpec, c *corev1.Container) {
	mount := func(v corev1.VolumeSource, name string, ms ...corev1.VolumeMount) {
		p.Volumes = append(p.Volumes, corev1.Volume{Name: name, VolumeSource: v})
		for _, m := range ms {
			m.Name = name
			c.VolumeMounts = append(c.VolumeMounts, m)
		}
	}
	empty := func() corev1.VolumeSource {
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	}
	mount(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: e.name(r.Ref), DefaultMode: to(int32(0o444)),
		Items: []corev1.KeyToPath{{Key: keySpec, Path: keySpec}, {Key: keyPasswd, Path: keyPasswd}, {Key: keyGroup, Path: keyGroup}},
	}}, "slipway",
		corev1.VolumeMount{MountPath: inside.Dir, ReadOnly: true},
		corev1.VolumeMount{MountPath: "/etc/passwd", SubPath: keyPasswd, ReadOnly: true},
		corev1.VolumeMount{MountPath: "/etc/group", SubPath: keyGroup, ReadOnly: true})
	mount(empty(), "home", corev1.VolumeMount{MountPath: home})
	mount(empty(), "tmp", corev1.VolumeMount{MountPath: "/tmp"}, corev1.VolumeMount{MountPath: "/var/tmp"})
	mount(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
		Medium: corev1.StorageMediumMemory, SizeLimit: resource.NewQuantity(shmBytes, resource.BinarySI),
	}}, "shm", corev1.VolumeMount{MountPath: "/dev/shm"})
	var copies []string
	var copied []corev1.VolumeMount
	for i, k := range r.Keep {
		name := "keep" + strconv.Itoa(i)
		mount(empty(), name, corev1.VolumeMount{MountPath: k.At})
		for _, l := range r.Layers {
			if l.At == k.At {
				copies = append(copies, k.At, path.Join("/tmp", name))
				copied = append(copied, corev1.VolumeMount{Name: name, MountPath: path.Join("/tmp", name)})
			}
		}
	}
	for i, m := range r.Mounts {
		mount(corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: e.name(m.Volume)}},
			"volume"+strconv.Itoa(i), corev1.VolumeMount{MountPath: m.Path, ReadOnly: m.ReadOnly})
	}
	if len(copies) == 0 {
		return
	}
	// The folder in the image is hidden by the one that can be written.
	p.InitContainers = []corev1.Container{{
		Name: "fill", Image: c.Image, ImagePullPolicy: c.ImagePullPolicy, Command: append([]string{InitPath, "fill"}, copies...),
		Resources: c.Resources, SecurityContext: locked(), VolumeMounts: copied,
		TerminationMessagePath: inside.TerminationLog, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
	}}
}

// claim is a volume.
func (e *Engine) claim(v engine.Volume) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: e.meta(v.ID),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: *resource.NewQuantity(cmp.Or(v.Bytes, e.opt.VolumeBytes), resource.BinarySI),
			}},
		},
	}
	c.Annotations[noteAbout] = fmt.Sprintf("%d %t", v.Bytes, v.Shared)
	class := e.opt.StorageClass
	if v.Shared && e.opt.SharedStorageClass != "" {
		class, c.Spec.AccessModes = e.opt.SharedStorageClass, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	}
	if class = strings.TrimSpace(class); class != "" {
		c.Spec.StorageClassName = &class
	}
	return c
}
