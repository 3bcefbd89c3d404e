package kube

import (
	"context"
	"encoding/json"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// rest returns the client of a resource's group.
func (e *Engine) rest(resource string) rest.Interface {
	switch resource {
	case "deployments":
		return e.client.AppsV1().RESTClient()
	case "jobs":
		return e.client.BatchV1().RESTClient()
	case "poddisruptionbudgets":
		return e.client.PolicyV1().RESTClient()
	case "networkpolicies":
		return e.client.NetworkingV1().RESTClient()
	}
	return e.client.CoreV1().RESTClient()
}

// put makes an object as it should be, by server-side apply, and returns its
// metadata.
func (e *Engine) put(ctx context.Context, m manifest) (*metav1.PartialObjectMetadata, error) {
	return e.patch(ctx, types.ApplyPatchType, m.Resource, nameIn(m.Object), m.Object)
}

func (e *Engine) patch(ctx context.Context, kind types.PatchType, resource, name string, body any) (*metav1.PartialObjectMetadata, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r := e.rest(resource).Patch(kind).Namespace(e.opt.Namespace).Resource(resource).Name(name).Param("fieldManager", fieldManager)
	if kind == types.ApplyPatchType {
		r = r.Param("force", "true")
	}
	b, err = r.Body(b).Do(ctx).Raw()
	return answered(b, err)
}

// create makes an object that is not there yet.
func (e *Engine) create(ctx context.Context, m manifest) error {
	b, err := json.Marshal(m.Object)
	if err != nil {
		return err
	}
	return failed(e.rest(m.Resource).Post().Namespace(e.opt.Namespace).Resource(m.Resource).
		Param("fieldManager", fieldManager).SetHeader("Content-Type", "application/json").Body(b).Do(ctx).Error())
}

func answered(b []byte, err error) (*metav1.PartialObjectMetadata, error) {
	if err != nil {
		return nil, failed(err)
	}
	var m metav1.PartialObjectMetadata
	return &m, json.Unmarshal(b, &m)
}

// drop deletes an object, and what it owns before it; what is not there is no error.
func (e *Engine) drop(ctx context.Context, resource, name string) error {
	err := e.rest(resource).Delete().Namespace(e.opt.Namespace).Resource(resource).Name(name).
		Body(&metav1.DeleteOptions{PropagationPolicy: to(metav1.DeletePropagationForeground)}).Do(ctx).Error()
	if apierrors.IsNotFound(err) {
		return nil
	}
	return failed(err)
}

// read returns an object's Secret, or nil.
func (e *Engine) read(ctx context.Context, name string) (*corev1.Secret, error) {
	s, err := e.client.CoreV1().Secrets(e.opt.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // not there
	}
	return s, failed(err)
}

// failed gives Kubernetes' errors a kind.
func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err) && apierrors.ReasonForError(err) == metav1.StatusReasonForbidden:
		return errs.Wrap(err, errs.KindInternal, "Kubernetes forbids it: the platform's role lacks a right, or a quota or an admission rule of the namespace stands in the way")
	case apierrors.IsServerTimeout(err), apierrors.IsTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err):
		return errs.Wrap(errors.Join(engine.ErrAway, err), errs.KindUnavailable, "Kubernetes does not answer: try again")
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && errs.KindOf(err) == errs.KindInternal:
		// No answer of the API: the connection failed.
		return errs.Wrap(errors.Join(engine.ErrAway, err), errs.KindUnavailable, "Kubernetes cannot be reached: try again")
	}
	return err
}

func nameIn(o map[string]any) string {
	m, _ := o["metadata"].(map[string]any)
	s, _ := m["name"].(string)
	return s
}

func setReplicas(o map[string]any, n int) {
	if spec, ok := o["spec"].(map[string]any); ok {
		spec["replicas"] = n
	}
}
