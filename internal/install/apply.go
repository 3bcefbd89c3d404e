package install

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"slipway.dev/slipway/internal/base/errs"
)

// cluster is a Kubernetes to install on.
type cluster struct{ dynamic.Interface }

func (c cluster) of(kind, namespace string) dynamic.ResourceInterface {
	k := kindNamed(kind)
	r := c.Resource(k.GroupVersion().WithResource(k.resource))
	if k.global {
		return r
	}
	return r.Namespace(namespace)
}

func kindNamed(kind string) kindOf {
	return kinds[slices.IndexFunc(kinds, func(k kindOf) bool { return k.Kind == kind })]
}

// read returns the data of a Secret, nil when there is none.
func (c cluster) read(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	o, err := c.of("Secret", namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, refused(err)
	}
	var s struct {
		Data map[string][]byte `json:"data"`
	}
	text, err := o.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	return s.Data, err
}

// plain is the object as it is sent: without what only the server may say.
func plain(o object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(m, "status")
	dropEmptyTimes(m)
	return &unstructured.Unstructured{Object: m}, nil
}

// dropEmptyTimes removes the creation times that Go cannot leave out.
func dropEmptyTimes(v any) {
	switch v := v.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(key string, value any) bool { return key == "creationTimestamp" && value == nil })
		for _, inner := range v {
			dropEmptyTimes(inner)
		}
	case []any:
		for _, inner := range v {
			dropEmptyTimes(inner)
		}
	}
}

// apply brings one object to what is wanted.
func (c cluster) apply(ctx context.Context, o object, dry bool) (*unstructured.Unstructured, error) {
	u, err := plain(o)
	if err != nil {
		return nil, err
	}
	text, err := u.MarshalJSON()
	if err != nil {
		return nil, err
	}
	opt := metav1.PatchOptions{FieldManager: manager, Force: ptr(true)}
	if dry {
		opt.DryRun = []string{metav1.DryRunAll}
	}
	out, err := c.of(u.GetKind(), u.GetNamespace()).Patch(ctx, u.GetName(), types.ApplyPatchType, text, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(u), refused(err))
	}
	return out, nil
}

// Change is one object that a run makes, changes or deletes.
type Change struct {
	Object string   `json:"object"`
	Do     string   `json:"do"`               // make, change, delete
	Fields []string `json:"fields,omitempty"` // what changes, without values of Secrets
}

// The things to do.
const (
	doMake   = "make"
	doChange = "change"
	doDelete = "delete"
)

// changes asks the server what applying the objects would change, and finds
// what an earlier run has made and this one no longer wants.
func (c cluster) changes(ctx context.Context, p *plan, objects []object) ([]Change, error) {
	var out []Change
	for _, o := range objects {
		u, err := plain(o)
		if err != nil {
			return nil, err
		}
		live, err := c.of(u.GetKind(), u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			out = append(out, Change{Object: nameOf(u), Do: doMake})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", nameOf(u), refused(err))
		}
		next, err := c.apply(ctx, o, true)
		if err != nil {
			return nil, err
		}
		if fields := difference(live, next); len(fields) > 0 {
			out = append(out, Change{Object: nameOf(u), Do: doChange, Fields: fields})
		}
	}
	surplus, err := c.surplus(ctx, p, objects)
	for _, u := range surplus {
		out = append(out, Change{Object: nameOf(&u), Do: doDelete})
	}
	return out, err
}

// surplus are objects of this installation that are wanted no more. What holds
// data is none of them.
func (c cluster) surplus(ctx context.Context, p *plan, objects []object) ([]unstructured.Unstructured, error) {
	wanted := map[string]bool{}
	for _, o := range objects {
		u, err := plain(o)
		if err != nil {
			return nil, err
		}
		wanted[nameOf(u)] = true
	}
	all, err := c.installed(ctx, p.Namespace)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(u unstructured.Unstructured) bool {
		return wanted[nameOf(&u)] || kindNamed(u.GetKind()).keep
	}), nil
}

// installed lists everything that an installation has made, by kind.
func (c cluster) installed(ctx context.Context, namespace string) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for _, k := range kinds {
		l, err := c.of(k.Kind, metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: labelInstall + "=" + namespace + "," + labelManagedBy + "=" + manager})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", k.resource, refused(err))
		}
		for _, u := range l.Items {
			u.SetGroupVersionKind(k.GroupVersionKind)
			out = append(out, u)
		}
	}
	return out, nil
}

func (c cluster) remove(ctx context.Context, u *unstructured.Unstructured) error {
	err := c.of(u.GetKind(), u.GetNamespace()).Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: ptr(metav1.DeletePropagationForeground)})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s: %w", nameOf(u), refused(err))
	}
	return nil
}

func nameOf(u *unstructured.Unstructured) string {
	if ns := u.GetNamespace(); ns != "" {
		return u.GetKind() + " " + ns + "/" + u.GetName()
	}
	return u.GetKind() + " " + u.GetName()
}

// refused says in our kinds what the API server answered.
func refused(err error) error {
	switch {
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return errs.Wrap(err, errs.KindDenied, "Kubernetes does not let you: %v", err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return errs.Wrap(err, errs.KindInvalid, "Kubernetes refuses it: %v", err)
	case apierrors.IsConflict(err):
		return errs.Wrap(err, errs.KindConflict, "it was changed meanwhile: %v", err)
	case apierrors.IsNotFound(err):
		return errs.Wrap(err, errs.KindNotFound, "%v", err)
	}
	return errs.Wrap(err, errs.KindUnavailable, "Kubernetes does not answer as it should: %v", err)
}

// difference lists the fields that two states of an object differ in.
func difference(live, next *unstructured.Unstructured) []string {
	a, b := live.DeepCopy(), next.DeepCopy()
	for _, u := range []*unstructured.Unstructured{a, b} {
		delete(u.Object, "status")
		for _, f := range []string{"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"} {
			unstructured.RemoveNestedField(u.Object, "metadata", f)
		}
	}
	d := differ{secret: live.GetKind() == "Secret"}
	d.walk("", a.Object, b.Object)
	return d.out
}

type differ struct {
	secret bool
	out    []string
}

func (d *differ) walk(path string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if aok && bok {
		for _, key := range sortedKeys(am) {
			d.walk(join(path, key), am[key], bm[key])
		}
		for _, key := range sortedKeys(bm) {
			if _, there := am[key]; !there {
				d.walk(join(path, key), nil, bm[key])
			}
		}
		return
	}
	al, aok := a.([]any)
	bl, bok := b.([]any)
	if aok && bok && len(al) == len(bl) {
		for i := range al {
			d.walk(path+"["+strconv.Itoa(i)+"]", al[i], bl[i])
		}
		return
	}
	if d.secret && strings.HasPrefix(path, "data") {
		d.out = append(d.out, path+" (secret)")
		return
	}
	as, aok := a.(string)
	bs, bok := b.(string)
	if aok && bok && strings.Contains(as+bs, "\n") {
		d.lines(path, strings.Split(as, "\n"), strings.Split(bs, "\n"))
		return
	}
	d.out = append(d.out, path+": "+short(a)+" → "+short(b))
}

// lines tells which lines of a text go and which come.
func (d *differ) lines(path string, a, b []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			d.out = append(d.out, path+": - "+strings.TrimSpace(line))
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			d.out = append(d.out, path+": + "+strings.TrimSpace(line))
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func short(v any) string {
	if v == nil {
		return "none"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "…"
	}
	if s, ok := v.(string); ok {
		text = []byte(s)
	}
	if len(text) > 80 {
		return string(text[:77]) + "…"
	}
	return string(text)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
