// Package ignore packs a folder as git would: what .gitignore files leave out
// stays out, and so does what never belongs to an app's source.
package ignore

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"

	"slipway.dev/slipway/internal/base/errs"
)

// never are folders that are left out with or without a .gitignore.
var never = []string{".git", ".venv", "__pycache__", "node_modules"}

// Tar writes the folder dir as a tar stream, in order of names, without owners
// and times. Invalid for a link that leaves the folder, for what is neither
// file, folder nor link, and when nothing is left.
func Tar(ctx context.Context, dir string, w io.Writer) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errs.NotFound("there is no folder %s", dir)
	case err != nil:
		return err
	case !st.IsDir():
		return errs.Invalid("%s is not a folder: give the app's folder", dir)
	}
	p := packer{ctx: ctx.Err, root: dir, tw: tar.NewWriter(w)}
	if err := p.folder(nil, nil); err != nil {
		return err
	}
	if p.files == 0 {
		return errs.Invalid("%s holds no files, or .gitignore leaves out all of them", dir)
	}
	return p.tw.Close()
}

type packer struct {
	ctx   func() error
	root  string
	tw    *tar.Writer
	files int
}

// folder packs one folder; patterns are those of the folders above, the
// strongest last.
func (p *packer) folder(at []string, patterns []gitignore.Pattern) error {
	if err := p.ctx(); err != nil {
		return err
	}
	dir := filepath.Join(p.root, filepath.Join(at...))
	more, err := readPatterns(filepath.Join(dir, ".gitignore"), at)
	if err != nil {
		return err
	}
	patterns = slices.Concat(patterns, more)
	match := gitignore.NewMatcher(patterns)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := append(slices.Clone(at), e.Name())
		if slices.Contains(never, e.Name()) || match.Match(name, e.IsDir()) {
			continue
		}
		if e.IsDir() {
			if _, err := os.Lstat(filepath.Join(dir, e.Name(), "pyvenv.cfg")); err == nil {
				continue // a virtual environment by any name
			}
			err = p.folder(name, patterns)
		} else {
			err = p.file(path.Join(name...))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) file(name string) error {
	full := filepath.Join(p.root, filepath.FromSlash(name))
	st, err := os.Lstat(full)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Mode: 0o644}
	switch {
	case st.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(full)
		if err != nil {
			return err
		}
		if to = filepath.ToSlash(to); path.IsAbs(to) || !filepath.IsLocal(path.Join(path.Dir(name), to)) {
			return errs.Invalid("the link %s points to %s, outside of the folder: replace it by a copy", name, to)
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, to, 0o777
		p.files++
		return p.tw.WriteHeader(h)
	case !st.Mode().IsRegular():
		return errs.Invalid("%s is neither a file, a folder nor a link", name)
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size()
	if st.Mode()&0o100 != 0 {
		h.Mode = 0o755
	}
	f, err := os.Open(full)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.CopyN(p.tw, f, st.Size()); err != nil {
		return fmt.Errorf("%s changed while it was read: %w", name, err)
	}
	p.files++
	return nil
}

func readPatterns(file string, domain []string) ([]gitignore.Pattern, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ps []gitignore.Pattern
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			ps = append(ps, gitignore.ParsePattern(line, domain))
		}
	}
	return ps, nil
}
