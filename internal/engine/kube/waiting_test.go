package kube

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestWaiting(t *testing.T) {
	scheduled := func(message string) corev1.PodStatus {
		return corev1.PodStatus{Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		}}}
	}
	container := func(reason, message string) corev1.PodStatus {
		return corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
		}}}
	}
	for name, tt := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"time": {container("ContainerCreating", ""), ""},
		"dies": {container("CrashLoopBackOff", "back-off 10s restarting"), ""},
		"room": {
			scheduled("0/2 nodes are available: 2 Insufficient memory. no new claims to deallocate, preemption: 0/2 nodes are available."),
			"no node has room for its 512 MiB of memory: 0/2 nodes are available: 2 Insufficient memory",
		},
		"volume": {
			scheduled("0/2 nodes are available: 2 node(s) had volume node affinity conflict."),
			"no node can take it: 0/2 nodes are available: 2 node(s) had volume node affinity conflict",
		},
		"pull":       {container("ErrImagePull", "not found"), "its image cannot be pulled: not found"},
		"pull later": {container("ImagePullBackOff", `Back-off pulling image "x": ErrImagePull: not found`), "its image cannot be pulled: not found"},
		"secret":     {container("CreateContainerConfigError", `secret "x" not found`), `its container cannot be made: secret "x" not found`},
	} {
		p := &corev1.Pod{Status: tt.status, Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")}},
		}}}}
		if got := waiting(p); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	d := &appsv1.Deployment{Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{{
		Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota: memory",
	}}}}
	if got := unmade(d); got != "Kubernetes refuses its pod: exceeded quota: memory" {
		t.Errorf("a quota is told as %q", got)
	}
	if got := unmade(nil); got != "" {
		t.Errorf("without a Deployment: %q", got)
	}
}
