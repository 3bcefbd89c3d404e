package build

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// entry is one file, folder or link of a source.
type entry struct {
	name   string
	kind   byte // tar.TypeReg, TypeDir or TypeSymlink
	exec   bool
	link   string
	offset int64 // of its content in the spool
	size   int64
}

// AddSource stores an app's files as a layer that is named by their content,
// and returns the name. Owners, times and order do not count. What leaves the
// folder, devices and too much are Invalid or Exhausted.
func (b *Builder) AddSource(ctx context.Context, r io.Reader) (string, error) {
	dir, err := b.tempDir()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	spool, err := os.Create(filepath.Join(dir, "spool"))
	if err != nil {
		return "", err
	}
	defer spool.Close()
	entries, err := b.receive(ctx, r, spool)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if err := writeTar(ctx, sum, entries, spool); err != nil {
		return "", err
	}
	layer := "src-" + hex.EncodeToString(sum.Sum(nil))[:40]
	if ok, err := b.Engine.Layers().Has(ctx, layer); ok || err != nil {
		return layer, err
	}
	return layer, b.putTar(ctx, layer, func(ctx context.Context, w io.Writer) error {
		return writeTar(ctx, w, entries, spool)
	})
}

// putTar stores the layer that write writes.
func (b *Builder) putTar(ctx context.Context, layer string, write func(context.Context, io.Writer) error) error {
	pr, pw := io.Pipe()
	return loop.Run(ctx,
		func(ctx context.Context) error {
			err := write(ctx, pw)
			pw.CloseWithError(err)
			return err
		},
		func(ctx context.Context) error {
			err := b.Engine.Layers().Put(ctx, layer, pr)
			if err == nil { // it may have stopped reading: the layer was there
				_, err = io.Copy(io.Discard, pr)
			}
			pr.CloseWithError(err)
			return err
		})
}

// receive reads a tar stream, keeps contents in spool, and returns the entries
// in order of their names.
func (b *Builder) receive(ctx context.Context, r io.Reader, spool io.Writer) ([]entry, error) {
	files := map[string]entry{}
	var offset int64
	for tr := tar.NewReader(r); ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, broken(err)
		}
		e, ok, err := parseEntry(h)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if e.kind == tar.TypeReg {
			if offset+h.Size > b.MaxSource {
				return nil, errs.Exhausted("the app's files are larger than %d MB: keep data and virtual environments out of the repository", b.MaxSource>>20)
			}
			e.offset = offset
			if e.size, err = io.Copy(spool, tr); err != nil {
				return nil, broken(err)
			}
			offset += e.size
		}
		files[e.name] = e
		if len(files) > b.MaxFiles {
			return nil, errs.Exhausted("the app has more than %d files: keep virtual environments and node_modules out of the repository", b.MaxFiles)
		}
	}
	return arrange(files)
}

func broken(err error) error {
	var e *errs.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) {
		return err
	}
	return errs.Wrap(err, errs.KindInvalid, "the archive of the app's files is broken or was cut off")
}

// The longest that file systems of Linux take, in bytes.
const (
	longestName = 255 // of a file or folder
	longestLink = 4095
)

// parseEntry checks one header; ok is false for what is left out.
func parseEntry(h *tar.Header) (e entry, ok bool, err error) {
	name := strings.TrimSuffix(h.Name, "/")
	switch h.Typeflag {
	case tar.TypeXGlobalHeader:
		return e, false, nil
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink:
	case tar.TypeLink:
		return e, false, errs.Invalid("the archive has a hard link, %q: send a copy of the file", name)
	default:
		return e, false, errs.Invalid("the archive has %q, which is neither a file, a folder nor a link", name)
	}
	if strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\x00\\") || !utf8.ValidString(name) {
		return e, false, errs.Invalid("the archive has a name that cannot be used: %q", h.Name)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return e, false, errs.Invalid("the archive has %q, which leaves the app's folder", h.Name)
	}
	name = path.Clean(name)
	if name == "." {
		return e, false, nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".git" || part == "__pycache__" {
			return e, false, nil
		}
		if len(part) > longestName {
			return e, false, errs.Invalid("the archive has a name of %d bytes, %.40q…: at most %d can be kept", len(part), part, longestName)
		}
	}
	if h.Typeflag == tar.TypeSymlink && (h.Linkname == "" || len(h.Linkname) > longestLink) {
		return e, false, errs.Invalid("the archive has the link %q, which points nowhere or too far: %d bytes", name, len(h.Linkname))
	}
	e = entry{name: name, kind: h.Typeflag, exec: h.Mode&0o111 != 0, link: h.Linkname}
	return e, true, nil
}

// arrange adds the folders that were not named, checks links and sorts.
func arrange(files map[string]entry) ([]entry, error) {
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	for _, name := range names {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			parent, ok := files[dir]
			if ok && parent.kind != tar.TypeDir {
				return nil, errs.Invalid("the archive has %q below %q, which is no folder", name, dir)
			}
			files[dir] = entry{name: dir, kind: tar.TypeDir}
		}
	}
	entries := make([]entry, 0, len(files))
	for _, e := range files {
		if e.kind == tar.TypeSymlink {
			if err := staysInside(files, e); err != nil {
				return nil, err
			}
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// staysInside follows a link as the kernel would, so that a link through
// another link cannot leave the folder either.
func staysInside(files map[string]entry, e entry) error {
	bad := errs.Invalid("the link %q points to %q, outside of the app's folder", e.name, e.link)
	if strings.HasPrefix(e.link, "/") {
		return bad
	}
	at := path.Dir(e.name)
	rest := strings.Split(e.link, "/")
	for steps := 0; len(rest) > 0; steps++ {
		if steps > 400 {
			return errs.Invalid("the link %q leads to itself", e.name)
		}
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if at == "." {
				return bad
			}
			at = path.Dir(at)
			continue
		}
		at = path.Join(at, part)
		if next, ok := files[at]; ok && next.kind == tar.TypeSymlink {
			if strings.HasPrefix(next.link, "/") {
				return bad
			}
			rest = append(strings.Split(next.link, "/"), rest...)
			at = path.Dir(at)
		}
	}
	return nil
}

// writeTar writes the entries in a form that depends on nothing but them.
func writeTar(ctx context.Context, w io.Writer, entries []entry, content io.ReaderAt) error {
	tw := tar.NewWriter(w)
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Size: e.size, Mode: 0o644, ModTime: time.Unix(0, 0)}
		switch {
		case e.kind == tar.TypeDir:
			h.Name, h.Mode = e.name+"/", 0o755
		case e.kind == tar.TypeSymlink:
			h.Linkname, h.Mode = e.link, 0o777
		case e.exec:
			h.Mode = 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if e.kind == tar.TypeReg {
			if _, err := io.Copy(tw, io.NewSectionReader(content, e.offset, e.size)); err != nil {
				return err
			}
		}
	}
	return tw.Close()
}

// maxText bounds a file that detection reads.
const maxText = 1 << 20

// ReadSource returns the contents of those files of a source layer that want
// accepts, and the names of all. Files over 1 MiB are cut there.
func (b *Builder) ReadSource(ctx context.Context, layer string, want func(name string) bool) (contents map[string]string, names []string, err error) {
	r, err := b.Engine.Layers().Open(ctx, layer)
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	contents = map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return contents, names, nil
		}
		if err != nil {
			return nil, nil, err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg {
			continue
		}
		names = append(names, name)
		if !want(name) {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(tr, maxText))
		if err != nil {
			return nil, nil, err
		}
		contents[name] = string(text)
	}
}
