package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// waiting tells what keeps a pod from starting, in words for those who deploy.
// It is empty while that is only a matter of time.
func waiting(p *corev1.Pod) string {
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		// The kubelet tells the cause of a pull that failed in two ways, in turn.
		_, cause, _ := strings.Cut(w.Message, "ErrImagePull: ")
		cause = cut(cmp.Or(cause, w.Message, w.Reason))
		switch w.Reason {
		case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError", "RegistryUnavailable":
			return "its image cannot be pulled: " + cause
		case "CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError":
			return "its container cannot be made: " + cause
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status != corev1.ConditionFalse || c.Reason != corev1.PodReasonUnschedulable {
			continue
		}
		cause, _, _ := strings.Cut(c.Message, ". ") // then come thoughts about preemption
		cause = cut(strings.TrimSuffix(cause, "."))
		if strings.Contains(cause, "Insufficient memory") {
			return fmt.Sprintf("no node has room for its %d MiB of memory: %s", memoryOf(p)>>20, cause)
		}
		return "no node can take it: " + cause
	}
	return ""
}

func memoryOf(p *corev1.Pod) (n int64) {
	for _, c := range p.Spec.Containers {
		n += c.Resources.Requests.Memory().Value()
	}
	return n
}

// unmade tells why a Deployment's pods are not made at all.
func unmade(d *appsv1.Deployment) string {
	if d == nil {
		return ""
	}
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return "Kubernetes refuses its pod: " + cut(c.Message)
		}
	}
	return ""
}

func cut(s string) string {
	if len(s) > 300 {
		return strings.ToValidUTF8(s[:300], "") + " …"
	}
	return s
}
