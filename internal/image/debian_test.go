package image_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/image"
)

// Two who want the same Debian at once get one: the second waits for the first.
func TestDebianIsMadeOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can bootstrap; CI runs as root")
	}
	dir := t.TempDir()
	runs, goOn := filepath.Join(dir, "runs"), filepath.Join(dir, "go")
	script := "#!/bin/bash\nset -e\nroot=${@: -2:1}\nmkdir -p $root/usr/bin\necho x > $root/usr/bin/x\necho run >> " + runs +
		"\nwhile [ ! -e " + goOn + " ]; do read -t 0.02 <> <(:) || true; done\n"
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "debootstrap"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	files := make(chan string, 2)
	g := loop.New(t.Context(), nil)
	for range 2 {
		g.Go("layer", func(ctx context.Context) error {
			f, err := image.DebianLayer(ctx, image.Debian{Mirror: "http://mirror.test", Suite: "trixie", Cache: filepath.Join(dir, "cache"), Progress: io.Discard})
			files <- f
			return err
		})
	}
	for end := time.Now().Add(time.Minute); ; {
		if b, err := os.ReadFile(runs); err == nil && len(b) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing is bootstrapped")
		}
		_ = loop.Sleep(t.Context(), 5*time.Millisecond)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if a, b := <-files, <-files; a != b || a == "" {
		t.Errorf("files %q and %q", a, b)
	}
	b, err := os.ReadFile(runs)
	if n := strings.Count(string(b), "run"); err != nil || n != 1 {
		t.Errorf("bootstrapped %d times: %v", n, err)
	}
}
