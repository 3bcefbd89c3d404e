package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

const askEvery = 500 * time.Millisecond

// wait returns when every object that pods are made of is as it should be.
// What it waits for is told whenever that changes.
func (i *Installer) wait(ctx context.Context, objects []object) error {
	end := time.Now().Add(i.timeout)
	told := map[string]string{}
	for {
		var behind []string
		for _, o := range objects {
			if !runs(o) {
				continue
			}
			name, why, err := i.behind(ctx, o)
			if err != nil {
				return err
			}
			if why != "" {
				behind = append(behind, name+": "+why)
			}
			if why != "" && told[name] != why {
				fmt.Fprintf(i.out, "  … %s: %s\n", name, why)
			}
			told[name] = why
		}
		if len(behind) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return errs.Unavailable("not ready after %s: %s: mend that and run the same command again, it goes on from here", i.timeout, strings.Join(behind, "; "))
		}
		if err := loop.Sleep(ctx, askEvery); err != nil {
			return err
		}
	}
}

// behind says what an object still waits for, or nothing.
func (i *Installer) behind(ctx context.Context, o object) (name, why string, err error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	u, err := i.cluster.of(kind, o.GetNamespace()).Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return "", "", refused(err)
	}
	r, err := status.Compute(u)
	if err != nil {
		return "", "", err
	}
	if r.Status == status.CurrentStatus {
		return nameOf(u), "", nil
	}
	trouble, err := i.trouble(ctx, u.GetNamespace(), o.GetLabels()[labelPart])
	if trouble == "" {
		trouble = r.Message
		if strings.HasSuffix(trouble, "not found") { // a field: its controller has not looked at the object yet
			trouble = "it begins"
		}
	}
	return nameOf(u), trouble, err
}

// trouble says what stands in the way of a part's pods, in the kubelet's or the
// scheduler's words; empty while they only start.
func (i *Installer) trouble(ctx context.Context, namespace, part string) (string, error) {
	pods, err := i.cluster.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace).
		List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector(part)).String()})
	if err != nil {
		return "", refused(err)
	}
	for n := range pods.Items {
		var p corev1.Pod
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(pods.Items[n].Object, &p); err != nil {
			return "", err
		}
		if text := podTrouble(&p); text != "" {
			return p.Name + ": " + text, nil
		}
	}
	return "", nil
}

func podTrouble(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "no node takes it: " + c.Message
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		w := s.State.Waiting
		switch {
		case w == nil || oneOf(w.Reason, "ContainerCreating", "PodInitializing"):
		case s.LastTerminationState.Terminated != nil && w.Reason == "CrashLoopBackOff":
			return "it ended with: " + lastLine(s.LastTerminationState.Terminated.Message)
		default:
			return w.Reason + ": " + w.Message
		}
	}
	return ""
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// The states of a part, the worst last.
const (
	Ready       = "ready"
	Updating    = "updating"
	Degraded    = "degraded"
	Unavailable = "unavailable"
	Missing     = "missing"
)

// PartStatus is how one part of the platform is.
type PartStatus struct {
	Part   string `json:"part"`
	State  string `json:"state"`
	Wanted int64  `json:"wanted"`
	Ready  int64  `json:"ready"`
	Image  string `json:"image,omitempty"`
	Why    string `json:"why,omitempty"`
}

// Status tells how each part is. It asks Kubernetes alone, so it works while
// the platform does not.
func (i *Installer) Status(ctx context.Context, namespace string) ([]PartStatus, error) {
	all, err := i.cluster.installed(ctx, namespace)
	if err != nil {
		return nil, err
	}
	found := map[string]*unstructured.Unstructured{}
	bundled := false
	for n, u := range all {
		switch part := u.GetLabels()[labelPart]; {
		case runs(&all[n]):
			found[part] = &all[n]
		case part == partDatabase:
			bundled = true // its service, say, is there
		}
	}
	if len(all) == 0 {
		return nil, errs.NotFound("no platform is installed in the namespace %s: `slipway install` puts one there", namespace)
	}
	parts := []string{partGateway, partCore, partPull}
	if bundled || found[partDatabase] != nil {
		parts = append(parts, partDatabase)
	}
	var out []PartStatus
	for _, part := range parts {
		s := PartStatus{Part: part, State: Missing, Why: "it is not installed: run `slipway install` again"}
		if u := found[part]; u != nil {
			s = partStatus(part, u)
			if s.State != Ready {
				if s.Why, err = i.trouble(ctx, u.GetNamespace(), part); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func partStatus(part string, u *unstructured.Unstructured) PartStatus {
	number := func(fields ...string) int64 {
		n, _, _ := unstructured.NestedInt64(u.Object, fields...)
		return n
	}
	s := PartStatus{Part: part, State: Ready}
	s.Wanted, s.Ready = number("spec", "replicas"), number("status", "readyReplicas")
	updated := number("status", "updatedReplicas")
	if u.GetKind() == "DaemonSet" {
		s.Wanted, s.Ready, updated = number("status", "desiredNumberScheduled"), number("status", "numberReady"), number("status", "updatedNumberScheduled")
	}
	if c, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers"); len(c) > 0 {
		s.Image, _, _ = unstructured.NestedString(c[0].(map[string]any), "image")
	}
	switch {
	case s.Wanted > 0 && s.Ready == 0:
		s.State = Unavailable
	case updated < s.Wanted || number("status", "observedGeneration") < u.GetGeneration():
		s.State = Updating
	case s.Ready < s.Wanted:
		s.State = Degraded
	}
	return s
}
