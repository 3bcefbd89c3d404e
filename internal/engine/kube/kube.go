// Package kube is the engine on Kubernetes: a Workload is a Deployment, a Task a
// Job, a Volume a claim, all plain objects with an owner label.
//
// What is wanted lies in one Secret per object, written before anything else
// and deleted first: it carries the environment, the init's orders and the
// objects as they were first rendered. Whatever differs from it is put right,
// whatever has none is deleted, so that the engine can be killed between any
// two calls, and so that nothing but the pods' logs is kept outside of the
// cluster. PID 1 of every pod is slipway-init.
package kube

import (
	"net/http"

	"slipway.dev/slipway/internal/base/errs"
)

// Engine implements engine.Engine.
type Engine struct {
	opt Options
}

// New connects to the cluster and waits until what it has is known.
func New(_ Options) (*Engine, error) {
	return nil, errs.Unsupported("the engine on Kubernetes is not ready yet")
}

// Close ends the engine's own work. Pods go on. Closing twice is harmless.
func (e *Engine) Close() error { return nil }

// Handler answers pods: a task asks whether it may begin, and hands over the
// folders that it keeps. It belongs on the listener at Options.Inbox, below
// HandlerPath, and needs no other authentication.
func (e *Engine) Handler() http.Handler { return http.NotFoundHandler() }
