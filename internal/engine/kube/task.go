package kube

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// drainFor bounds how long a task's end waits for the last of its log.
const drainFor = 10 * time.Second

// restoreTask creates a task's Job, unless it began or ended before. It is
// called with the object's lock.
func (e *Engine) restoreTask(ctx context.Context, name string, k known, objects []manifest) error {
	if k.began == "" && k.result == nil && e.cache.job(name) == nil {
		for _, m := range objects {
			if err := e.create(ctx, m); err != nil && !apierrors.IsAlreadyExists(err) {
				return err
			}
		}
		return e.await(ctx, func() bool { return e.cache.job(name) != nil && e.cache.secret(name) != nil || e.ended(name) })
	}
	return e.await(ctx, func() bool { return e.cache.secret(name) != nil || e.ended(name) })
}

// reconcileTask records a task's end.
func (e *Engine) reconcileTask(ctx context.Context, name string, k known) (time.Duration, error) {
	if k.result != nil {
		return 0, nil
	}
	j := e.cache.job(name)
	p := e.taskPod(name, k)
	late := j != nil && strings.Contains(jobMessage(j), "deadline")
	if p != nil {
		if exit := taskExit(p); exit != nil {
			if !e.logs.drained(p) && time.Since(exit.At) < drainFor {
				return 200 * time.Millisecond, nil
			}
			if exit.Failed() && taken(p) && !late {
				return 0, e.record(ctx, name, result{Lost: true, At: exit.At, Node: p.Spec.NodeName})
			}
			return 0, e.record(ctx, name, result{Exit: exit, At: exit.At, Node: p.Spec.NodeName})
		}
		if j != nil && !finished(j) || p.Status.Phase != corev1.PodFailed && p.DeletionTimestamp == nil {
			return 0, nil
		}
	}
	switch {
	case j == nil && k.began == "" && p == nil:
		return 0, e.repair(ctx, name)
	case j != nil && !finished(j):
		return 0, nil
	case late && k.began == "":
		why := "Kubernetes did not say why"
		if p != nil {
			why = cmp.Or(waiting(p), why)
		}
		exit := &engine.Exit{Code: 125, At: time.Now().UTC(), Message: fmt.Sprintf("its pod did not start within %s: %s", startFor, why)}
		return 0, e.record(ctx, name, result{Exit: exit, At: exit.At})
	}
	// The pod vanished, or its node: nobody saw the end.
	return 0, e.record(ctx, name, result{Lost: true, At: time.Now().UTC()})
}

// taskExit is how the program ended, as its pod tells, or nil.
func taskExit(p *corev1.Pod) *engine.Exit {
	if t := status(p).State.Terminated; t != nil && !t.FinishedAt.IsZero() {
		return exitOf(t, p)
	}
	for _, c := range p.Status.InitContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return exitOf(t, p)
		}
	}
	return nil
}

// taken reports whether a pod was ended by others, such as a drain of its node,
// which says nothing about its program. What it brought upon itself is its own.
func taken(p *corev1.Pod) bool {
	if strings.Contains(p.Status.Message, "exceeds") { // more files than its limit
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return p.DeletionTimestamp != nil
}

// record writes a task's end down, once.
func (e *Engine) record(ctx context.Context, name string, r result) error {
	defer e.locks.lock(name)()
	s, err := e.read(ctx, name)
	if err != nil || s == nil || s.Annotations[noteResult] != "" {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = e.annotateAt(ctx, s, map[string]any{noteResult: string(b)})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// annotateAt is Conflict when the Secret has changed since it was read.
func (e *Engine) annotateAt(ctx context.Context, s *corev1.Secret, notes map[string]any) error {
	_, err := e.patch(ctx, types.MergePatchType, "secrets", s.Name, map[string]any{"metadata": map[string]any{
		"resourceVersion": s.ResourceVersion, "uid": string(s.UID), "annotations": notes,
	}})
	if apierrors.IsConflict(err) {
		return errs.Wrap(err, errs.KindConflict, "it was changed by somebody else: try again")
	}
	return err
}

// Handler answers pods: a task asks whether it may begin, and hands over the
// folders that it keeps. It belongs on the listener at Options.Inbox, below
// HandlerPath, and needs no other authentication.
func (e *Engine) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+HandlerPath+inside.WordBegin, e.answer(e.begin))
	mux.HandleFunc("POST "+HandlerPath+inside.WordKeep, e.answer(e.keep))
	return mux
}

// statuses of the answers; the init tries again after any but 4xx.
var statuses = map[errs.Kind]int{
	errs.KindInvalid: http.StatusBadRequest, errs.KindUnauthenticated: http.StatusUnauthorized, errs.KindDenied: http.StatusForbidden,
	errs.KindNotFound: http.StatusNotFound, errs.KindConflict: http.StatusConflict, errs.KindUnsupported: http.StatusUnprocessableEntity,
}

// answer checks the token and renders errors as plain text, for the init.
func (e *Engine) answer(fn func(r *http.Request, s *corev1.Secret, t inside.PodTask) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, t, err := e.asks(r)
		if err == nil {
			err = fn(r, s, t)
		}
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		code := statuses[errs.KindOf(err)]
		if code == 0 {
			e.log.Error("a task was not answered", "object", r.URL.Query().Get("object"), "error", err)
			code = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, errs.Message(err))
	}
}

// asks finds which task asks, by its token. Nobody learns which tasks there are.
func (e *Engine) asks(r *http.Request) (*corev1.Secret, inside.PodTask, error) {
	refused := errs.Unauthenticated("the engine knows no such task")
	name := r.URL.Query().Get("object")
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" || len(validation.IsDNS1123Label(name)) != 0 {
		return nil, inside.PodTask{}, refused
	}
	s, err := e.read(r.Context(), name)
	if err != nil {
		return nil, inside.PodTask{}, err
	}
	var p inside.Pod
	if s == nil || s.Labels[LabelOwner] != e.opt.Owner || json.Unmarshal(s.Data[keySpec], &p) != nil || p.Task == nil ||
		subtle.ConstantTimeCompare([]byte(p.Task.Token), []byte(token)) != 1 {
		return nil, inside.PodTask{}, refused
	}
	if s.Annotations[noteResult] != "" {
		return nil, inside.PodTask{}, errs.Conflict("this task has ended")
	}
	return s, *p.Task, nil
}

// begin lets one start of a task go, ever. The API server decides between two
// that ask at once, or two engines that answer.
func (e *Engine) begin(r *http.Request, s *corev1.Secret, _ inside.PodTask) error {
	b, err := io.ReadAll(io.LimitReader(r.Body, 200))
	if err != nil || len(b) == 0 {
		return errs.Invalid("the start has no name")
	}
	switch s.Annotations[noteBegan] {
	case string(b): // the answer was lost
		return nil
	case "":
		err := e.annotateAt(r.Context(), s, map[string]any{noteBegan: string(b)})
		if errs.Is(err, errs.KindConflict) {
			return errs.Unavailable("the task changed just now: ask again")
		}
		return err
	}
	return errs.Conflict("this task began before: a task runs once, ever")
}

// keep makes a layer of a folder of the task.
func (e *Engine) keep(r *http.Request, s *corev1.Secret, _ inside.PodTask) error {
	var rec record
	if err := json.Unmarshal(s.Data[keyRecord], &rec); err != nil {
		return err
	}
	i, err := strconv.Atoi(r.URL.Query().Get("folder"))
	if err != nil || i < 0 || i >= len(rec.Keep) {
		return errs.Invalid("the task keeps no such folder")
	}
	if s.Annotations[noteBegan] == "" {
		return errs.Conflict("this task has not begun")
	}
	if err := e.opt.Images.Keep(r.Context(), rec.Keep[i].Name, r.Body); err != nil {
		return fmt.Errorf("keep layer %s: %w", rec.Keep[i].Name, err)
	}
	return nil
}
