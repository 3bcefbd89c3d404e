package build

import (
	"archive/tar"
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

// PrepareTools makes sure that the installer is there: uv, as a layer, fetched
// once with the host's pip and its configuration. Nothing of it is executed here.
func (b *Builder) PrepareTools(ctx context.Context) error {
	select { // who waits finds them fetched
	case b.tools <- struct{}{}:
		defer func() { <-b.tools }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if ok, err := b.Engine.Layers().Has(ctx, uvLayer); ok || err != nil {
		return err
	}
	dir, err := b.tempDir()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := Pip(ctx, b.HostPy, b.Environ, "download", "-q", "--disable-pip-version-check",
		"--no-deps", "--only-binary", ":all:", "-d", dir, "uv=="+UV)
	cmd.Dir = dir
	cmd.WaitDelay = 5 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		// pip's words may hold the index's address with its password: not shown.
		reason := "look at the network and at pip's configuration"
		if strings.Contains(string(out), "No module named pip") {
			reason = "it has no pip: install python3-pip"
		}
		return errs.Wrap(err, errs.KindUnavailable, "uv %s cannot be fetched with %s: %s", UV, b.HostPy, reason)
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "uv-*.whl"))
	if err != nil || len(wheels) != 1 {
		return errs.Unavailable("uv %s was fetched and is not a wheel: its index has none for this machine", UV)
	}
	z, err := zip.OpenReader(wheels[0])
	if err != nil {
		return err
	}
	defer z.Close() //nolint:errcheck // read only
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/scripts/uv") {
			err := b.putTar(ctx, uvLayer, func(_ context.Context, w io.Writer) error { return tarOf(w, f) })
			if err == nil {
				b.Log.InfoContext(ctx, "fetched the installer", "uv", UV, "took", time.Since(start).Round(time.Millisecond))
			}
			return err
		}
	}
	return errs.Unavailable("the wheel of uv %s holds no program", UV)
}

// Pip is a command of the python's pip. Debian's python without it has a wheel
// of it, for new environments.
func Pip(ctx context.Context, python string, environ []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, python, append([]string{"-m", "pip"}, args...)...)
	cmd.Env = environ
	if _, err := os.Stat("/usr/lib/python3/dist-packages/pip"); err == nil {
		return cmd
	}
	if found, _ := filepath.Glob("/usr/share/python-wheels/pip-*.whl"); len(found) > 0 && !slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "PYTHONPATH=") }) {
		cmd.Env = append(slices.Clone(environ), "PYTHONPATH="+found[len(found)-1])
	}
	return cmd
}

// authorities is the layer of CAFile.
func (b *Builder) authorities(ctx context.Context) (string, error) {
	text, err := os.ReadFile(b.CAFile)
	if err != nil {
		return "", errs.Wrap(err, errs.KindInvalid, "cannot read the authorities that builds trust: %v", err)
	}
	sum := sha256.Sum256(text)
	name := "tool-ca-" + hex.EncodeToString(sum[:8])
	return name, b.putTar(ctx, name, func(_ context.Context, w io.Writer) error {
		return writeFiles(w, map[string]string{caFile: string(text)})
	})
}

func tarOf(w io.Writer, f *zip.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	tw := tar.NewWriter(w)
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: path.Base(f.Name), Mode: 0o755,
		Size: int64(f.UncompressedSize64), ModTime: time.Unix(0, 0),
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.Copy(tw, r); err != nil {
		return err
	}
	return tw.Close()
}
