package cluster

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Images that every node has.
const (
	PauseImage   = "slipway.test/pause:1"
	BusyboxImage = "slipway.test/busybox:1" // Debian's static busybox, with /bin/sh and the rest
)

// systemImages maps the images to the program that is all they have.
var systemImages = map[string]string{
	PauseImage:                              "pause",
	"slipway.test/coredns:1":                "coredns",
	"slipway.test/metrics-server:1":         "metrics-server",
	"slipway.test/local-path-provisioner:1": "local-path-provisioner",
	"slipway.test/kube-network-policies:1":  "kube-network-policies",
}

func imageFile(dir, ref string) string {
	base, _, _ := strings.Cut(filepath.Base(ref), ":")
	return filepath.Join(dir, "images", base+".tar")
}

func allImages() []string {
	out := []string{BusyboxImage}
	for ref := range systemImages {
		out = append(out, ref)
	}
	slices.Sort(out)
	return out
}

func havingImages(dir string) bool {
	for _, ref := range allImages() {
		if _, err := os.Stat(imageFile(dir, ref)); err != nil {
			return false
		}
	}
	return true
}

// packImages makes an image of each program: no registry is needed.
func packImages(ctx context.Context, dir, tmp string) error {
	if err := os.MkdirAll(filepath.Join(dir, "images"), 0o755); err != nil {
		return err
	}
	for ref, program := range systemImages {
		file := tarFile{name: program, source: filepath.Join(dir, "bin", program)}
		if err := packImage(imageFile(dir, ref), tmp, ref, []string{"/" + program}, file); err != nil {
			return fmt.Errorf("image %s: %w", ref, err)
		}
	}
	return packBusybox(ctx, dir, tmp)
}

const busybox = "/bin/busybox"

func packBusybox(ctx context.Context, dir, tmp string) error {
	f, err := elf.Open(busybox)
	if err != nil {
		return fmt.Errorf("%w; install it: apt-get install busybox-static", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if f.Section(".interp") != nil {
		return errors.New(busybox + " is not static; install the static one: apt-get install busybox-static")
	}
	list, err := output(exec.CommandContext(ctx, busybox, "--list"))
	if err != nil {
		return err
	}
	files := []tarFile{
		{name: "bin/busybox", source: busybox},
		{name: "etc/passwd", text: "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"},
		{name: "etc/group", text: "root:x:0:\nnogroup:x:65534:\n"},
		{name: "tmp/", mode: 0o1777},
	}
	for applet := range strings.FieldsSeq(list) {
		if applet != "busybox" {
			files = append(files, tarFile{name: "bin/" + applet, link: "busybox"})
		}
	}
	return packImage(imageFile(dir, BusyboxImage), tmp, BusyboxImage, []string{"/bin/sh"}, files...)
}

// tarFile is an entry of a layer: a copy of source, a link, a folder or text.
type tarFile struct {
	name, source, link, text string
	mode                     int64
}

func (f tarFile) header() *tar.Header {
	h := &tar.Header{Name: f.name, Mode: 0o755, Typeflag: tar.TypeReg}
	switch {
	case f.link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
	case strings.HasSuffix(f.name, "/"):
		h.Typeflag = tar.TypeDir
	case f.source == "":
		h.Mode = 0o644
	}
	if f.mode != 0 {
		h.Mode = f.mode
	}
	return h
}

func packImage(to, tmp, ref string, entrypoint []string, files ...tarFile) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		text := []byte(f.text)
		if f.source != "" {
			var err error
			if text, err = os.ReadFile(f.source); err != nil {
				return err
			}
		}
		h := f.header()
		h.Size = int64(len(text))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		return err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return err
	}
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config = v1.Config{Entrypoint: entrypoint, Env: []string{"PATH=/bin"}}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return err
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	part := filepath.Join(tmp, filepath.Base(to))
	if err := tarball.WriteToFile(part, tag, img); err != nil {
		return err
	}
	return os.Rename(part, to)
}
