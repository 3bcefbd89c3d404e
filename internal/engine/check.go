package engine

import (
	"archive/tar"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/base/errs"
)

// Check finds what cannot be right with an object, the same for every engine.
func Check(o Object) error {
	ref := o.Ref()
	if !ValidName(ref.Scope) || !ValidName(ref.Name) {
		return errs.Invalid("%q is no ref: scope and name must match [a-z0-9][a-z0-9_.-]{0,62}", ref.String())
	}
	switch o := o.(type) {
	case Workload:
		return check(o, nil)
	case Task:
		return check(o.Workload, o.Keep)
	case Volume:
		return nil
	}
	return errs.Invalid("there are no objects like %s", ref)
}

// ValidName reports whether s can name an object, a scope or a layer.
func ValidName(s string) bool {
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return s != "" && len(s) <= 63
}

func check(w Workload, keep []Layer) error {
	var fields []errs.Field
	bad := func(name, format string, args ...any) {
		fields = append(fields, errs.Field{Name: name, Message: fmt.Sprintf(format, args...)})
	}
	if len(w.Command) == 0 || w.Command[0] == "" {
		bad("command", "must not be empty")
	}
	if w.Replicas < 0 || w.Replicas > 1000 {
		bad("replicas", "must be between 0 and 1000")
	}
	if w.Port < 0 || w.Port > 65535 {
		bad("port", "must be between 0 and 65535")
	}
	for _, v := range w.Env {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.ContainsRune(v.Value.Reveal(), 0) {
			bad("env", "%q cannot be a variable, or its value has a NUL byte", v.Name)
		}
	}
	at := func(field, p string) {
		if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || taken(p) {
			bad(field, "cannot be at %q", p)
		}
	}
	for _, l := range w.Layers {
		at("layers", l.At)
	}
	for _, l := range keep {
		at("keep", l.At)
		if !ValidName(l.Name) {
			bad("keep", "%q is no name of a layer", l.Name)
		}
	}
	for _, m := range w.Mounts {
		at("mounts", m.Path)
	}
	return errs.Fields("the object cannot be right", fields...)
}

// taken reports whether the path belongs to the system inside.
func taken(p string) bool {
	first, _, _ := strings.Cut(p[1:], "/")
	switch first {
	case "proc", "sys", "dev", "run", "etc", "usr", "bin", "sbin", "lib", "lib64", "lib32":
		return true
	}
	return false
}

// CheckEntry returns the clean relative name of a layer's entry, "." for the
// folder itself; Invalid when it, or what it links to, is outside, or when it
// is neither file nor folder nor link.
func CheckEntry(h *tar.Header) (string, error) {
	name := path.Clean(h.Name)
	if !filepath.IsLocal(name) {
		return "", errs.Invalid("entry %q leaves the folder", h.Name)
	}
	to := h.Linkname
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
		return name, nil
	case tar.TypeSymlink:
		// An absolute one would be safe in a sandbox, but not for a reader outside.
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
	case tar.TypeLink:
		to = path.Clean(to)
	default:
		return "", errs.Invalid("entry %q is neither a file nor a folder nor a link", h.Name)
	}
	if !filepath.IsLocal(to) {
		return "", errs.Invalid("link %q leads to %q, out of the folder", h.Name, h.Linkname)
	}
	return name, nil
}
