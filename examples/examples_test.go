package examples_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"slipway.dev/slipway/examples"
	"slipway.dev/slipway/internal/base/errs"
)

// Every template is whole, with its requirements pinned to one version.
func TestTemplates(t *testing.T) {
	for _, tpl := range examples.Templates() {
		data, err := examples.Tar(tpl.Name)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		r := tar.NewReader(bytes.NewReader(data))
		for {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if h.Name == "requirements.txt" {
				for line := range bytes.Lines(text) {
					if !bytes.Contains(line, []byte("==")) {
						t.Errorf("%s does not pin %s", tpl.Name, line)
					}
				}
			}
		}
		if !slices.Contains(names, "requirements.txt") || len(names) < 2 {
			t.Errorf("%s has only %v", tpl.Name, names)
		}
	}
	if _, err := examples.Tar("../internal"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("got %v", err)
	}
}
