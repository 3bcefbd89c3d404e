package build_test

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/build"
)

func pack(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, h := range headers {
		body := h.Uname
		h.Uname = ""
		h.Size = int64(len(body))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &buf
}

// file is a header whose Uname is the content, until pack writes it.
func file(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uname: body}
}

func link(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

func TestSourceIsNamedByContent(t *testing.T) {
	t.Parallel()
	b := builder(t)
	add := func(hs ...tar.Header) string {
		t.Helper()
		name, err := b.AddSource(t.Context(), pack(t, hs...))
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	first := add(file("app.py", "1"), file("a/b.py", "2"))
	late := file("./a/b.py", "2")
	late.ModTime, late.Uid, late.Mode = time.Now(), 1000, 0o600
	if again := add(tar.Header{Name: "a/", Typeflag: tar.TypeDir}, late, file("app.py", "1"), file(".git/config", "x"), file("a/__pycache__/x.pyc", "x")); again != first {
		t.Errorf("the same files are %s and %s", first, again)
	}
	for name, hs := range map[string][]tar.Header{
		"content":    {file("app.py", "3"), file("a/b.py", "2")},
		"executable": {{Name: "app.py", Typeflag: tar.TypeReg, Mode: 0o755, Uname: "1"}, file("a/b.py", "2")},
		"name":       {file("app2.py", "1"), file("a/b.py", "2")},
	} {
		if add(hs...) == first {
			t.Errorf("a changed %s is the same source", name)
		}
	}
	contents, names, err := b.ReadSource(t.Context(), first, func(n string) bool { return n == "a/b.py" })
	if err != nil || contents["a/b.py"] != "2" || len(contents) != 1 || len(names) != 2 {
		t.Errorf("read %q, %q, %v", contents, names, err)
	}
}

func TestSourceRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		entries []tar.Header
		kind    errs.Kind
	}{
		"parent":             {[]tar.Header{file("../x", "")}, errs.KindInvalid},
		"hidden parent":      {[]tar.Header{file("a/../../x", "")}, errs.KindInvalid},
		"absolute":           {[]tar.Header{file("/etc/x", "")}, errs.KindInvalid},
		"device":             {[]tar.Header{{Name: "d", Typeflag: tar.TypeChar}}, errs.KindInvalid},
		"fifo":               {[]tar.Header{{Name: "d", Typeflag: tar.TypeFifo}}, errs.KindInvalid},
		"hard link":          {[]tar.Header{{Name: "d", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}}, errs.KindInvalid},
		"absolute link":      {[]tar.Header{link("l", "/etc/passwd")}, errs.KindInvalid},
		"link out":           {[]tar.Header{link("a/l", "../../x")}, errs.KindInvalid},
		"link through links": {[]tar.Header{file("a/b/c/f", ""), link("a/b/c/up", "../../.."), link("l", "a/b/c/up/../x")}, errs.KindInvalid},
		"link to itself":     {[]tar.Header{link("l", "l")}, errs.KindInvalid},
		"link to nothing":    {[]tar.Header{link("l", "")}, errs.KindInvalid},
		"link too long":      {[]tar.Header{link("l", strings.Repeat("x/", 2048))}, errs.KindInvalid},
		"name too long":      {[]tar.Header{file("a/"+strings.Repeat("ä", 128), "")}, errs.KindInvalid},
		"file below a link":  {[]tar.Header{link("l", "a"), file("l/x", "")}, errs.KindInvalid},
		"file below a file":  {[]tar.Header{file("l", ""), file("l/x", "")}, errs.KindInvalid},
		"too large":          {[]tar.Header{file("x", strings.Repeat("x", 3<<20))}, errs.KindExhausted},
		"too many":           {[]tar.Header{file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", "")}, errs.KindExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := builder(t, func(o *build.Options) { o.MaxSource, o.MaxFiles = 2<<20, 4 })
			if layer, err := b.AddSource(t.Context(), pack(t, tt.entries...)); !errs.Is(err, tt.kind) {
				t.Errorf("got %q, %v, want %s", layer, err, tt.kind)
			}
		})
	}
	b := builder(t)
	if _, err := b.AddSource(t.Context(), strings.NewReader(strings.Repeat("no tar", 1000))); !errs.Is(err, errs.KindInvalid) {
		t.Errorf("rubbish: %v", err)
	}
	if _, err := b.AddSource(t.Context(), pack(t, link("a", "b/c"), file("b/c", ""))); err != nil {
		t.Errorf("a link inside: %v", err)
	}
	if _, err := b.AddSource(t.Context(), pack(t, file(strings.Repeat("x", 255), ""))); err != nil {
		t.Errorf("the longest name: %v", err)
	}
}
