package e2e_test

import (
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// image makes a small container image as docker saves them: image FILE.
func (w *world) image(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: image FILE")
	}
	img, err := random.Image(10_000, 2)
	ts.Check(err)
	tag, err := name.NewTag("example.com/small:v1")
	ts.Check(err)
	ts.Check(tarball.WriteToFile(ts.MkAbs(args[0]), tag, img))
}
