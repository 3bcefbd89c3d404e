package kube

import (
	"context"
	"slices"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// Layers implements engine.Engine.
func (e *Engine) Layers() engine.Layers { return layers{e.opt.Images, e} }

// layers refuses to remove what is used, which only the engine knows.
type layers struct {
	Images
	e *Engine
}

// Remove implements engine.Layers.
func (l layers) Remove(ctx context.Context, name string) error {
	for _, k := range l.e.all() {
		if k.result == nil && slices.Contains(k.about.Layers, name) && !l.e.ended(l.e.name(k.ref)) {
			return errs.Conflict("layer %q is used by %s", name, k.ref)
		}
	}
	return l.Images.Remove(ctx, name)
}
