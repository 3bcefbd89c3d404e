package image_test

import (
	"context"
	"testing"

	"slipway.dev/slipway/internal/base/loop"
)

// beside runs fn beside the test, which waits for it in the end.
func beside(t *testing.T, fn func()) {
	t.Helper()
	g := loop.New(context.WithoutCancel(t.Context()), nil)
	g.Go("beside", func(context.Context) error { fn(); return nil })
	t.Cleanup(func() { _ = g.Wait() })
}
