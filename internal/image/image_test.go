package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/proto/oci"
)

var _ engine.Layers = (*image.Images)(nil)

// file is an entry of a layer.
type file struct {
	name, body, link string
	kind             byte // 0 = a file
	mode             int64
	at               time.Time
}

func tarOf(t *testing.T, files ...file) io.Reader {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Typeflag: f.kind, Name: f.name, Linkname: f.link, Size: int64(len(f.body)), Mode: f.mode, ModTime: f.at, Uid: 1000, Uname: "ada"}
		if f.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := errors.Join(tw.WriteHeader(h), func() error { _, err := io.WriteString(tw, f.body); return err }()); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

type rig struct {
	*image.Images
	t     *testing.T
	store *oci.Store
	host  string
	base  v1.Image
}

func newRig(t *testing.T, o image.Options) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.store, err = oci.Open(t.Context(), oci.Storage{Folder: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	internal := oci.NewInternal(t.Context(), oci.InternalOptions{Store: r.store, Pull: []string{image.AppsRepo}, Push: []string{image.BaseRepo}})
	t.Cleanup(func() { _ = internal.Close() })
	s := httptest.NewServer(internal)
	t.Cleanup(s.Close)
	r.host = s.Listener.Addr().String()
	o.Store, o.Host = r.store, r.host
	if r.Images, err = image.Open(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) withBase() *rig {
	r.t.Helper()
	var err error
	if r.base, err = random.Image(1000, 2); err != nil {
		r.t.Fatal(err)
	}
	if err := r.SetBase(r.t.Context(), r.base); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) put(name string, files ...file) {
	r.t.Helper()
	if err := r.Put(r.t.Context(), name, tarOf(r.t, files...)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) image(scope string, layers ...engine.Layer) string {
	r.t.Helper()
	ref, err := r.Image(r.t.Context(), scope, layers)
	if err != nil {
		r.t.Fatal(err)
	}
	return ref
}

// pull gets an image as a kubelet does and returns its files by name.
func (r *rig) pull(ref string) (v1.Image, map[string]string) {
	r.t.Helper()
	at, err := name.NewDigest(ref, name.Insecure)
	if err != nil {
		r.t.Fatal(err)
	}
	img, err := remote.Image(at)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := validate.Image(img, validate.Fast); err != nil {
		r.t.Error(err)
	}
	files := map[string]string{}
	flat := mutate.Extract(img)
	defer flat.Close()
	tr := tar.NewReader(flat)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return img, files
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if h.Uid != 0 || h.Uname != "" {
			r.t.Errorf("%s is not root's", h.Name)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			r.t.Fatal(err)
		}
		files[strings.TrimSuffix(h.Name, "/")] = fmt.Sprintf("%o %s%s", h.Mode, h.Linkname, body)
	}
}

func TestImage(t *testing.T) {
	r := newRig(t, image.Options{Hint: func(l string) string {
		if strings.HasPrefix(l, "env-") {
			return "/env"
		}
		return ""
	}}).withBase()
	r.put("env-1", file{name: "lib/a.py", body: "a", mode: 0o640}, file{name: "bin/run", body: "run", mode: 0o4711}, file{name: "bin/same", link: "bin/run", kind: tar.TypeLink})
	r.put("src-1", file{name: "./app.py", body: "app"}, file{name: "data/link", link: "../app.py", kind: tar.TypeSymlink})
	ref := r.image("app_1", engine.Layer{Name: "env-1", At: "/env"}, engine.Layer{Name: "src-1", At: "/app"})
	img, files := r.pull(ref)
	for name, want := range map[string]string{
		"env/lib/a.py": "644 a", "env/bin/run": "755 run", "app/app.py": "644 app", "app/data/link": "777 ../app.py",
		"env/bin/same": "0 env/bin/run", "home/app": "755 ",
	} {
		if files[name] != want {
			t.Errorf("%s is %q, not %q", name, files[name], want)
		}
	}
	if !strings.HasPrefix(files[strings.TrimPrefix(image.InitPath, "/")], "755 \x7fELF") {
		t.Error("the image has no slipway-init")
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 5 {
		t.Errorf("%d layers, %v: want two of the base, the init's and two", len(layers), err)
	}
	if again := r.image("app_1", engine.Layer{Name: "env-1", At: "/env"}, engine.Layer{Name: "src-1", At: "/app"}); again != ref {
		t.Errorf("the same layers gave %s and then %s", ref, again)
	}
	if base := r.image("app_1"); base == ref {
		t.Error("no layers gave the same image")
	}
	if _, err := r.Image(t.Context(), "app_1", []engine.Layer{{Name: "missing", At: "/app"}}); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("a layer that is not there: %v", err)
	}
	if _, files := r.pull(r.image("strange-.name-", engine.Layer{Name: "src-1", At: "/app"})); files["app/app.py"] == "" {
		t.Error("a scope with an odd name has no image")
	}
}

func TestNoBase(t *testing.T) {
	r := newRig(t, image.Options{})
	if _, err := r.Image(t.Context(), "app_1", nil); !errs.Is(err, errs.KindConflict) || !strings.Contains(err.Error(), "slipway image base") {
		t.Errorf("without a base image: %v", err)
	}
}

// TestRestart: what is kept is known to the next process, which makes the same images.
func TestRestart(t *testing.T) {
	r := newRig(t, image.Options{}).withBase()
	r.put("src-1", file{name: "app.py", body: "app"})
	ref := r.image("app_1", engine.Layer{Name: "src-1", At: "/app"})
	before, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Images, err = image.Open(t.Context(), image.Options{Store: r.store, Host: r.host})
	if err != nil {
		t.Fatal(err)
	}
	after, err := r.List(t.Context())
	if err != nil || !slices.Equal(before, after) || len(after) != 1 || after[0].Bytes == 0 {
		t.Errorf("before %v, after %v, %v", before, after, err)
	}
	if again := r.image("app_1", engine.Layer{Name: "src-1", At: "/app"}); again != ref {
		t.Errorf("after a restart the same layers gave %s, not %s", again, ref)
	}
	if err := r.Remove(t.Context(), "src-1"); err != nil {
		t.Fatal(err)
	}
	if m, err := r.store.Tags(t.Context(), "apps/app_1"); len(m) != 0 || err != nil {
		t.Errorf("the image outlives its layer: %v, %v", m, err)
	}
}

func TestLayers(t *testing.T) {
	r := newRig(t, image.Options{}).withBase()
	ctx := t.Context()
	r.put("one", file{name: "b", body: "1"}, file{name: "a", body: "2"})
	r.put("one", file{name: "c", body: "other"}) // does nothing
	open := func(name string) (names []string) {
		t.Helper()
		f, err := r.Open(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		tr := tar.NewReader(f)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return names
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
	}
	if got := open("one"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the layer has %q", got)
	}
	r.image("app_1", engine.Layer{Name: "one", At: "/deep/down"}) // packs it again
	if got := open("one"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("after an image the layer has %q", got)
	}
	if _, err := r.Open(ctx, "missing"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("open what is not there: %v", err)
	}
	if err := r.Put(ctx, "torn", io.MultiReader(io.LimitReader(tarOf(t, file{name: "a", body: strings.Repeat("a", 5000)}), 2000))); !errs.Is(err, errs.KindInvalid) {
		t.Errorf("a torn stream: %v", err)
	}
	if ok, err := r.Has(ctx, "torn"); ok || err != nil {
		t.Errorf("a torn layer is there: %v", err)
	}
	// What cannot be a layer, or could not be one in an image.
	for what, files := range map[string][]file{
		"leaves":    {{name: "../a"}},
		"link out":  {{name: "a", link: "/etc/passwd", kind: tar.TypeSymlink}},
		"device":    {{name: "a", kind: tar.TypeChar}},
		"whiteout":  {{name: "dir/.wh.file", body: "x"}},
		"opaque":    {{name: ".wh..wh..opq"}},
		"no folder": {{name: "a", body: "x"}, {name: "a/b", body: "y"}},
		"by a link": {{name: "d/x", body: "x"}, {name: "a", link: "d", kind: tar.TypeSymlink}, {name: "a/b", body: "y"}},
		"dead link": {{name: "a", link: "nothing", kind: tar.TypeLink}},
	} {
		if err := r.Put(ctx, "bad", tarOf(t, files...)); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// A task may leave behind what only makes sense inside.
	if err := r.Keep(ctx, "env-1", tarOf(t, file{name: "bin/python", link: "/usr/bin/python3", kind: tar.TypeSymlink}, file{name: "pipe", kind: tar.TypeFifo})); err != nil {
		t.Fatal(err)
	}
	_, files := r.pull(r.image("app_1", engine.Layer{Name: "env-1", At: "/env"}))
	if files["env/bin/python"] != "777 /usr/bin/python3" || files["env/pipe"] != "" {
		t.Errorf("kept: %q", files)
	}
}

// TestReproducible: the same content is the same blob, in whatever order and
// by whomever it comes.
func TestReproducible(t *testing.T) {
	r := newRig(t, image.Options{})
	at := time.Unix(1_700_000_000, 0)
	r.put("one", file{name: "dir/a", body: "1", at: at}, file{name: "b", body: "2", at: at, mode: 0o600})
	r.put("two", file{name: "b", body: "2", at: at.Add(time.Millisecond), mode: 0o444}, file{name: "dir", kind: tar.TypeDir}, file{name: "dir/a", body: "1", at: at})
	one, err := r.store.Manifest(t.Context(), image.LayersRepo, "one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := r.store.Manifest(t.Context(), image.LayersRepo, "two")
	if err != nil {
		t.Fatal(err)
	}
	layers := func(m oci.Manifest) string {
		_, rest, _ := strings.Cut(string(m.Body), `"layers":`)
		rest, _, _ = strings.Cut(rest, "]")
		return rest
	}
	if layers(one) != layers(two) {
		t.Errorf("two blobs of the same content:\n%s\n%s", layers(one), layers(two))
	}
}

func TestRemoveAndSweep(t *testing.T) {
	user := ""
	r := newRig(t, image.Options{Used: func(string) string { return user }}).withBase()
	ctx := t.Context()
	r.put("env-1", file{name: "a", body: "a"})
	r.put("src-1", file{name: "b", body: "b"})
	both := r.image("app_1", engine.Layer{Name: "env-1", At: "/env"}, engine.Layer{Name: "src-1", At: "/app"})
	other := r.image("app_2", engine.Layer{Name: "env-1", At: "/env"})
	user = "workload/app_1/web-v1"
	if err := r.Remove(ctx, "src-1"); !errs.Is(err, errs.KindConflict) || !strings.Contains(err.Error(), user) {
		t.Errorf("remove what is used: %v", err)
	}
	user = ""
	if err := r.Remove(ctx, "src-1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(ctx, "src-1"); err != nil {
		t.Errorf("twice: %v", err)
	}
	if err := r.Sweep(ctx, func(string) bool { return true }, -time.Hour); err != nil {
		t.Fatal(err)
	}
	gone := func(ref string) bool {
		at, err := name.NewDigest(ref, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		_, err = remote.Get(at)
		return err != nil
	}
	if !gone(both) || gone(other) {
		t.Errorf("after removing a layer its image is gone: %v, another's: %v", gone(both), gone(other))
	}
	r.pull(other) // nothing of it is missing
	if err := r.Sweep(ctx, func(scope string) bool { return scope != "app_2" }, -time.Hour); err != nil {
		t.Fatal(err)
	}
	if !gone(other) {
		t.Error("the image of a scope that is no more stays")
	}
	r.pull(r.image("app_2", engine.Layer{Name: "env-1", At: "/env"})) // the layer and the base are there still
}

// TestNothingLeft: when an app is gone, its layers, its images and, after a
// collection, their content are gone too.
func TestNothingLeft(t *testing.T) {
	r := newRig(t, image.Options{}).withBase()
	ctx := t.Context()
	r.image("app_1") // the base image and slipway-init
	size := func() int64 {
		t.Helper()
		if err := r.Sweep(ctx, func(scope string) bool { return scope == "app_1" }, -time.Hour); err != nil {
			t.Fatal(err)
		}
		n, err := r.store.Size(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := size()
	for _, n := range []string{"1", "2"} {
		r.put("env-"+n, file{name: "a", body: "environment" + n})
		r.put("src-"+n, file{name: "b", body: "source" + n})
		r.image("app_2", engine.Layer{Name: "env-" + n, At: "/env"}, engine.Layer{Name: "src-" + n, At: "/app"})
	}
	with, err := r.store.Size(ctx)
	if err != nil || with <= before {
		t.Fatalf("%d bytes with an app, %d without: %v", with, before, err)
	}
	if err := r.RemoveScope(ctx, "app_2"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []string{"env-1", "env-2", "src-1", "src-2"} {
		if err := r.Remove(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	if after := size(); after != before {
		t.Errorf("%d bytes are kept, %d before the app", after, before)
	}
	scopes, err := r.store.Below(ctx, image.AppsRepo)
	if err != nil || !slices.Equal(scopes, []string{"app_1"}) {
		t.Errorf("images of %q are left: %v", scopes, err)
	}
}

// TestBytecode: Python takes the bytecode in an image as it is.
func TestBytecode(t *testing.T) {
	python := "/usr/bin/python3"
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), python, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for name, mode := range map[string]string{"hashed": "unchecked-hash", "timed": "timestamp"} {
		file := filepath.Join(dir, name+".py")
		at := time.Unix(1_700_000_000, 0) // tar keeps whole seconds, and rounds
		if err := errors.Join(os.WriteFile(file, []byte("x = 1\n"), 0o644), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
		run("-m", "compileall", "-q", "--invalidation-mode", mode, filepath.Join(dir, name+".py"))
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := errors.Join(tw.AddFS(os.DirFS(dir)), tw.Close()); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, image.Options{}).withBase()
	if err := r.Keep(t.Context(), "env-1", &b); err != nil {
		t.Fatal(err)
	}
	img, _ := r.pull(r.image("app_1", engine.Layer{Name: "env-1", At: "/env"}))
	out := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", out, "env")
	flat := mutate.Extract(img)
	defer flat.Close()
	unpack.Stdin = flat
	if text, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, name := range []string{"hashed", "timed"} {
		said := run("-v", "-B", "-c", "import sys; sys.path.insert(0, "+fmt.Sprintf("%q", out+"/env")+"); import "+name)
		if strings.Contains(said, "stale for '"+name) || !strings.Contains(said, "code object from '"+out+"/env/__pycache__/"+name) {
			t.Errorf("Python compiles %s again:\n%s", name, said)
		}
	}
}

// TestAtOnce: many pushes and the sweep, at once.
func TestAtOnce(t *testing.T) {
	r := newRig(t, image.Options{}).withBase()
	ctx := t.Context()
	done := make(chan error, 9)
	for n := range 8 {
		beside(t, func() {
			layer := fmt.Sprintf("src-%d", n%4)
			err := r.Put(ctx, layer, tarOf(t, file{name: "a", body: layer}))
			if err == nil {
				_, err = r.Image(ctx, fmt.Sprintf("app_%d", n), []engine.Layer{{Name: layer, At: "/app"}})
			}
			done <- err
		})
	}
	beside(t, func() { done <- r.Sweep(context.WithoutCancel(ctx), func(string) bool { return true }, time.Hour) })
	for range 9 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
