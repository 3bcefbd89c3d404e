package ignore_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/ignore"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func packed(t *testing.T, dir string) ([]string, error) {
	t.Helper()
	var buf bytes.Buffer
	if err := ignore.Tar(t.Context(), dir, &buf); err != nil {
		return nil, err
	}
	var names []string
	for tr := tar.NewReader(&buf); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestTarLeavesOutWhatGitWould(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"plain":       {map[string]string{"app.py": "", "assets/a.css": ""}, "app.py assets/a.css"},
		"never":       {map[string]string{"app.py": "", ".git/config": "", "a/__pycache__/x": "", ".venv/x": "", "node_modules/x": "", "env/pyvenv.cfg": "", "env/x": ""}, "app.py"},
		"patterns":    {map[string]string{".gitignore": "# no\n*.log\n/data/\nbuild\n", "x.log": "", "a/y.log": "", "data/z": "", "a/data/z": "", "a/build/z": "", "app.py": ""}, ".gitignore a/data/z app.py"},
		"negation":    {map[string]string{".gitignore": "*.csv\n!keep.csv\n", "a.csv": "", "keep.csv": "", "a/keep.csv": ""}, ".gitignore a/keep.csv keep.csv"},
		"nested":      {map[string]string{".gitignore": "*.txt\n", "a/.gitignore": "!*.txt\n/b.txt\n", "x.txt": "", "a/a.txt": "", "a/b.txt": "", "a/c/b.txt": ""}, ".gitignore a/.gitignore a/a.txt a/c/b.txt"},
		"stars":       {map[string]string{".gitignore": "a/**/z\n**/q\r\n", "a/b/c/z": "", "a/z": "", "b/z": "", "b/q": ""}, ".gitignore b/z"},
		"directories": {map[string]string{".gitignore": "out/\n", "out/x": "", "a/out": ""}, ".gitignore a/out"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, tt.files)
			got, err := packed(t, dir)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("packed %q, want %q", s, tt.want)
			}
		})
	}
}

func TestTarRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		make func(dir string) error
		kind errs.Kind
	}{
		"empty":          {func(string) error { return nil }, errs.KindInvalid},
		"absolute link":  {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "x")) }, errs.KindInvalid},
		"link upwards":   {func(dir string) error { return os.Symlink("../x", filepath.Join(dir, "x")) }, errs.KindInvalid},
		"missing folder": {os.RemoveAll, errs.KindNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "d")
			if err := errors.Join(os.Mkdir(dir, 0o755), tt.make(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := packed(t, dir); !errs.Is(err, tt.kind) {
				t.Errorf("got %v, want %s", err, tt.kind)
			}
		})
	}
}

func TestTarKeepsLinksInside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"a/x": "1"})
	if err := os.Symlink("a/x", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	got, err := packed(t, dir)
	if err != nil || strings.Join(got, " ") != "a/x l" {
		t.Errorf("packed %q, %v", got, err)
	}
}
