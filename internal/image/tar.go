package image

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// whiteout begins the names by which layers of an image hide what lies below.
const whiteout = ".wh."

// spool is a tar stream at rest, so that it can be written in order.
type spool struct {
	file    *os.File
	entries map[string]entry
}

type entry struct {
	tar.Header
	offset int64
}

// spoolTar reads a folder. kept allows what a program may leave behind.
func spoolTar(ctx context.Context, r io.Reader, kept bool) (_ *spool, err error) {
	f, err := os.CreateTemp("", "slipway-layer-*")
	if err != nil {
		return nil, err
	}
	s := &spool{f, map[string]entry{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if err := os.Remove(f.Name()); err != nil { // it lives as long as it is open
		return nil, err
	}
	tr := tar.NewReader(r)
	var offset int64
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return s, errors.Join(ctx.Err(), s.check())
		}
		if err != nil {
			return nil, errs.Wrap(err, errs.KindInvalid, "the layer is no readable tar stream")
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if kept && !plainType(h.Typeflag) {
			continue
		}
		name, err := checkEntry(h, kept)
		if err != nil {
			return nil, err
		}
		if name == "." || h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e := entry{clean(h, name), offset}
		if h.Typeflag == tar.TypeReg {
			n, err := io.Copy(f, tr)
			if err != nil {
				return nil, errs.Wrap(err, errs.KindInvalid, "the layer is no readable tar stream")
			}
			offset += n
		}
		if old, there := s.entries[name]; there && old.Typeflag == tar.TypeDir && h.Typeflag == tar.TypeDir {
			continue
		}
		s.entries[name] = e
	}
}

func plainType(t byte) bool {
	switch t {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeXGlobalHeader:
		return true
	}
	return false
}

// checkEntry returns an entry's clean name.
func checkEntry(h *tar.Header, kept bool) (string, error) {
	c := *h
	if kept && h.Typeflag == tar.TypeSymlink {
		c.Linkname = "." // leads anywhere
	}
	name, err := engine.CheckEntry(&c)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(path.Base(name), whiteout) {
		return "", errs.Invalid("the name %q cannot be kept in an image, where names with %s hide files: rename it", h.Name, whiteout)
	}
	return name, nil
}

// clean makes a header that depends on nothing but the content: root's, without
// special bits, readable by all. Times stay, for Python compares them with
// those in its bytecode.
func clean(h *tar.Header, name string) tar.Header {
	out := tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, ModTime: h.ModTime.Truncate(time.Second), Format: tar.FormatPAX}
	switch h.Typeflag {
	case tar.TypeDir:
		out.Name, out.Mode, out.ModTime = name+"/", 0o755, time.Unix(0, 0)
	case tar.TypeReg:
		out.Size, out.Mode = h.Size, 0o644
		if h.Mode&0o100 != 0 {
			out.Mode = 0o755
		}
	case tar.TypeLink:
		out.Linkname = path.Clean(h.Linkname)
	case tar.TypeSymlink:
		out.Mode = 0o777
	}
	return out
}

// check adds folders that the stream left out and finds what cannot be a tree.
func (s *spool) check() error {
	for name, e := range maps.Clone(s.entries) {
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			over, there := s.entries[d]
			if !there {
				s.entries[d] = entry{Header: clean(&tar.Header{Typeflag: tar.TypeDir}, d)}
				continue
			}
			if over.Typeflag != tar.TypeDir {
				return errs.Invalid("entry %q lies below %q, which is no folder", name, d)
			}
		}
		if e.Typeflag == tar.TypeLink {
			if to, there := s.entries[e.Linkname]; !there || to.Typeflag != tar.TypeReg {
				return errs.Invalid("entry %q is a link to %q, which is no file", name, e.Linkname)
			}
		}
	}
	return nil
}

// write writes the folder below a path, in order of names; hard links come last.
func (s *spool) write(ctx context.Context, w io.Writer, at string) error {
	tw := tar.NewWriter(w)
	if err := writeParents(tw, at); err != nil {
		return err
	}
	below := strings.TrimPrefix(at, "/")
	names := slices.Sorted(maps.Keys(s.entries))
	for _, links := range []bool{false, true} {
		for _, name := range names {
			e := s.entries[name]
			if (e.Typeflag == tar.TypeLink) != links {
				continue
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			h := e.Header
			h.Name = path.Join(below, name)
			if links {
				h.Linkname = path.Join(below, h.Linkname)
			}
			if h.Typeflag == tar.TypeDir {
				h.Name += "/"
			}
			if err := tw.WriteHeader(&h); err != nil {
				return err
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := io.Copy(tw, io.NewSectionReader(s.file, e.offset, h.Size)); err != nil {
					return err
				}
			}
		}
	}
	return tw.Close()
}

// Close forgets the spooled bytes.
func (s *spool) Close() error { return s.file.Close() }

// writeParents writes the folders down to the path.
func writeParents(tw *tar.Writer, at string) error {
	parts := strings.Split(strings.Trim(at, "/"), "/")
	for n := range parts {
		if parts[n] == "" {
			continue
		}
		h := clean(&tar.Header{Typeflag: tar.TypeDir}, strings.Join(parts[:n+1], "/"))
		if err := tw.WriteHeader(&h); err != nil {
			return err
		}
	}
	return nil
}

// move copies entries from below one path to below another.
func move(ctx context.Context, r *tar.Reader, w *tar.Writer, from, to string) error {
	rename := func(name string) (string, bool) {
		rel, ok := strings.CutPrefix(name, from)
		rel = strings.TrimPrefix(rel, "/")
		return path.Join(to, rel), ok && rel != ""
	}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		name, inside := rename(h.Name)
		if !inside {
			continue // a folder on the way
		}
		out := clean(h, name)
		if h.Typeflag == tar.TypeLink {
			out.Linkname, _ = rename(h.Linkname)
		}
		if err := w.WriteHeader(&out); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}

// writeInit writes what is of ours in every image.
func writeInit(w io.Writer, program []byte) error {
	tw := tar.NewWriter(w)
	for _, dir := range []string{"app/", "home/", "home/app/", "usr/", "usr/local/", "usr/local/bin/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: InitPath[1:], Mode: 0o755, Size: int64(len(program)), ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	if _, err := tw.Write(program); err != nil {
		return err
	}
	return tw.Close()
}
