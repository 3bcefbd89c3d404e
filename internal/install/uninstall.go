package install

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// Level is how much an uninstallation takes away.
type Level int

// The levels; each takes what the one before it takes, too.
const (
	LevelPlatform   Level = iota // what runs; data stays, and apps go on without the platform
	LevelData                    // apps, their files, the database, certificates
	LevelNamespaces              // the namespaces with all that is in them
)

// ParseLevel is the inverse of a flag's word.
func ParseLevel(s string) (Level, error) {
	if n := slices.Index([]string{"platform", "data", "namespaces"}, s); n >= 0 {
		return Level(n), nil
	}
	return 0, errs.Invalid("%q is none of platform, data, namespaces", s)
}

// labelOwner marks what the engine has made for apps.
const labelOwner = "slipway.dev/owner"

// made are the kinds that the engine makes for apps, what runs first.
var made = []kindOf{
	{schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "deployments", false, false},
	{schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}, "jobs", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "Service"}, "services", false, false},
	{schema.GroupVersionKind{Group: "policy", Version: "v1", Kind: "PodDisruptionBudget"}, "poddisruptionbudgets", false, false},
	{schema.GroupVersionKind{Group: "networking.k8s.io", Version: "v1", Kind: "NetworkPolicy"}, "networkpolicies", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, "secrets", false, false},
	{schema.GroupVersionKind{Version: "v1", Kind: "PersistentVolumeClaim"}, "persistentvolumeclaims", true, false},
}

// Removal is what an uninstallation would do.
type Removal struct {
	Delete []string `json:"delete"`
	Keep   []string `json:"keep"` // every object of ours that stays

	namespace string
	objects   []unstructured.Unstructured // in the order of their deletion
}

// Removal lists what is taken and what stays. It changes nothing.
func (i *Installer) Removal(ctx context.Context, namespace string, level Level) (*Removal, error) {
	all, err := i.cluster.installed(ctx, namespace)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errs.NotFound("no platform is installed in the namespace %s", namespace)
	}
	slices.Reverse(all) // what runs before what it needs, namespaces last
	claims, err := i.claims(ctx, namespace)
	if err != nil {
		return nil, err
	}
	apps, err := i.apps(ctx, all)
	if err != nil {
		return nil, err
	}
	r := &Removal{namespace: namespace}
	for _, u := range slices.Concat(claimsLast(all, claims), nil) {
		take := !kindNamed(u.GetKind()).keep || level >= LevelData && u.GetKind() != "Namespace" || level >= LevelNamespaces
		r.add(u, take)
	}
	// Apps go after the core, which would make them again, and before the namespaces.
	at := slices.IndexFunc(r.objects, func(u unstructured.Unstructured) bool { return u.GetKind() == "Namespace" })
	if at < 0 {
		at = len(r.objects)
	}
	for _, u := range apps {
		if level >= LevelData {
			r.objects = slices.Insert(r.objects, at, u)
			at++
			r.Delete = append(r.Delete, nameOf(&u))
		} else {
			r.Keep = append(r.Keep, nameOf(&u))
		}
	}
	return r, nil
}

func (r *Removal) add(u unstructured.Unstructured, take bool) {
	if !take {
		r.Keep = append(r.Keep, nameOf(&u))
		return
	}
	r.Delete = append(r.Delete, nameOf(&u))
	r.objects = append(r.objects, u)
}

func claimsLast(all, claims []unstructured.Unstructured) []unstructured.Unstructured {
	for _, c := range claims {
		if !slices.ContainsFunc(all, func(u unstructured.Unstructured) bool { return nameOf(&u) == nameOf(&c) }) {
			at := slices.IndexFunc(all, func(u unstructured.Unstructured) bool { return u.GetKind() == "Namespace" })
			all = slices.Insert(all, max(at, 0), c)
		}
	}
	return all
}

// claims are those that a StatefulSet made: they carry the part's labels alone.
func (i *Installer) claims(ctx context.Context, namespace string) ([]unstructured.Unstructured, error) {
	l, err := i.cluster.of("PersistentVolumeClaim", namespace).List(ctx, metav1.ListOptions{LabelSelector: labelName + "=slipway"})
	if err != nil {
		return nil, refused(err)
	}
	for n := range l.Items {
		l.Items[n].SetGroupVersionKind(kindNamed("PersistentVolumeClaim").GroupVersionKind)
	}
	return l.Items, nil
}

// apps are what the engine made, in the apps' namespace of this installation.
func (i *Installer) apps(ctx context.Context, all []unstructured.Unstructured) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, ns := range all {
		if ns.GetKind() != "Namespace" {
			continue
		}
		for _, k := range made {
			l, err := i.cluster.Resource(k.GroupVersion().WithResource(k.resource)).Namespace(ns.GetName()).List(ctx, metav1.ListOptions{LabelSelector: labelOwner})
			if err != nil {
				return nil, refused(err)
			}
			for _, u := range l.Items {
				u.SetGroupVersionKind(k.GroupVersionKind)
				out = append(out, u)
			}
		}
	}
	return out, nil
}

// Remove does it and returns when nothing of it is left. Killed at any point,
// it is finished by the next run.
func (i *Installer) Remove(ctx context.Context, r *Removal) error {
	for n := range r.objects {
		if err := i.drop(ctx, &r.objects[n]); err != nil {
			return err
		}
	}
	end := time.Now().Add(i.timeout)
	for {
		var left []string
		for n := range r.objects {
			u := &r.objects[n]
			_, err := i.resource(u).Get(ctx, u.GetName(), metav1.GetOptions{})
			if err == nil {
				left = append(left, nameOf(u))
			} else if !apierrors.IsNotFound(err) {
				return refused(err)
			}
		}
		if len(left) == 0 {
			fmt.Fprintf(i.out, "%d objects are gone.\n", len(r.objects))
			return nil
		}
		if time.Now().After(end) {
			return errs.Unavailable("still there after %s: %s", i.timeout, strings.Join(left, ", "))
		}
		if err := loop.Sleep(ctx, askEvery); err != nil {
			return err
		}
	}
}

func (i *Installer) drop(ctx context.Context, u *unstructured.Unstructured) error {
	err := i.resource(u).Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationBackground)})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", nameOf(u), refused(err))
	}
	return nil
}
