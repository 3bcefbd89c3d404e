package api_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/api"
)

var update = flag.Bool("update", false, "write the documents made from the code")

//go:generate go test -run TestSpecIsFresh . -update

func TestSpecIsFresh(t *testing.T) {
	t.Parallel()
	doc, err := api.Spec()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "docs", "api", "openapi.json")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, doc, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(golden, doc) {
		t.Errorf("%s is out of date: run `go generate ./internal/api`, and look at what changed on the wire", file)
	}
}
