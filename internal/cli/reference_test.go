package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/cli"
)

var update = flag.Bool("update", false, "write the documents made from the code")

//go:generate go test -run TestReferenceIsFresh . -update

func TestReferenceIsFresh(t *testing.T) {
	t.Parallel()
	doc := cli.Reference()
	file := filepath.Join("..", "..", "docs", "cli.md")
	if *update {
		if err := os.WriteFile(file, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(golden) != doc {
		t.Errorf("%s is out of date: run `go generate ./internal/cli`", file)
	}
}
