package oci_test

import (
	"context"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"

	"slipway.dev/slipway/internal/base/loop"
)

func mutateEmpty() v1.ImageIndex { return empty.Index }

// group runs fn beside the test and waits for it in the end.
func group(t *testing.T, fn func()) {
	t.Helper()
	g := loop.New(context.WithoutCancel(t.Context()), nil)
	g.Go("beside", func(context.Context) error { fn(); return nil })
	t.Cleanup(func() { _ = g.Wait() })
}
