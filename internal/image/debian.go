package image

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// packages are what the base image has beside Debian's minimum. git is for the
// platform itself, which shares the layer, and for builds from repositories.
var packages = []string{"ca-certificates", "git", "python3", "python3-venv"}

// debianForm changes when the same packages would make another layer.
const debianForm = "1"

// Debian says of what the base image's files are made. Empty fields come from
// the configuration of this machine's apt.
type Debian struct {
	Mirror, Suite string
	Packages      []string // beside ours
	Cache         string   // folder; "" = slipway's in the user's cache
	Again         bool     // do not use what is cached
	Progress      io.Writer
}

// DebianLayer bootstraps Debian and returns the file of its one layer, a
// compressed tar, which is made once for the same packages and mirror. Root is
// needed when it is made.
func DebianLayer(ctx context.Context, d Debian) (string, error) {
	if d.Cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		d.Cache = filepath.Join(dir, "slipway", "base")
	}
	if err := d.complete(ctx); err != nil {
		return "", err
	}
	want := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(packages), d.Packages...))))
	sum := sha256.Sum256([]byte(strings.Join(append([]string{debianForm, d.Mirror, d.Suite, runtime.GOARCH}, want...), "\n")))
	file := filepath.Join(d.Cache, d.Suite+"-"+hex.EncodeToString(sum[:8])+".tar.gz")
	there := func() bool {
		_, err := os.Stat(file)
		if err == nil && !d.Again {
			fmt.Fprintf(d.Progress, "Debian %s is in %s\n", d.Suite, d.Cache)
		}
		return err == nil && !d.Again
	}
	if there() {
		return file, nil
	}
	if os.Geteuid() != 0 {
		return "", errs.Denied("debootstrap needs root: run this once with sudo, or name a base image with --from")
	}
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return "", errs.Wrap(err, errs.KindUnsupported, "debootstrap is missing: apt-get install debootstrap, or name a base image with --from")
	}
	if err := os.MkdirAll(d.Cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, file+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if there() { // another has made it meanwhile
		return file, nil
	}
	work, err := os.MkdirTemp(d.Cache, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := d.bootstrap(ctx, filepath.Join(work, "root"), want); err != nil {
		return "", err
	}
	fmt.Fprintln(d.Progress, "Packing")
	made := filepath.Join(work, "layer.tar.gz")
	if err := packTree(ctx, filepath.Join(work, "root"), made); err != nil {
		return "", err
	}
	return file, os.Rename(made, file)
}

// lock waits for the file's lock, which ends with the process at the latest.
func lock(ctx context.Context, file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	wait := loop.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = wait.Wait(ctx)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
}

// complete asks apt from where this machine gets its packages: its sources may
// be written in several ways, which apt knows best.
func (d *Debian) complete(ctx context.Context) error {
	if d.Mirror != "" && d.Suite != "" {
		return nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return errs.Wrap(err, errs.KindUnsupported, "apt does not say where packages come from: give --mirror and --suite")
	}
	if d.Suite == "" {
		d.Suite = codename()
	}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "main" || f[1] != d.Suite {
			continue
		}
		if d.Mirror == "" {
			d.Mirror = strings.TrimSuffix(f[0], "/")
		}
		return nil
	}
	return errs.Unsupported("apt has no source of Debian %q with the component main: give --mirror and --suite", d.Suite)
}

// codename is this machine's release of Debian.
func codename() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

func (d *Debian) bootstrap(ctx context.Context, root string, want []string) error {
	fmt.Fprintf(d.Progress, "Bootstrapping Debian %s with %s\n", d.Suite, strings.Join(want, ", "))
	cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(want, ","), d.Suite, root, d.Mirror)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "SOURCE_DATE_EPOCH=0", "PYTHONHASHSEED=0")
	cmd.Env = append(cmd.Env, aptProxy(ctx)...)
	// What it mounts is seen by it alone and ends with it, also when it is killed:
	// the folder can then be deleted without harm. All that it started ends too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var last tail
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&last, lines{d.Progress}), &last
	if err := cmd.Run(); err != nil {
		return errs.Wrap(err, errs.KindUnavailable, "debootstrap failed: %s", last.text())
	}
	return trim(root)
}

// aptProxy is the proxy that only apt's configuration may know.
func aptProxy(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "shell", "proxy", "Acquire::http::Proxy").Output()
	if err != nil {
		return nil
	}
	v, ok := strings.CutPrefix(strings.TrimSpace(string(out)), "proxy=")
	v = strings.Trim(v, `'"`)
	if !ok || v == "" || v == "DIRECT" {
		return nil
	}
	return []string{"http_proxy=" + v}
}

// trim removes what a container never reads, and what differs from one
// bootstrap to the next.
func trim(root string) error {
	var all []error
	for _, pattern := range []string{
		"usr/share/doc/*", "usr/share/man/*", "usr/share/info/*", "usr/share/locale/*", "usr/share/lintian", "usr/share/linda",
		"usr/share/doc-base", "var/cache/apt/*", "var/cache/debconf/*-old", "var/cache/ldconfig/*", "var/lib/apt/lists/*", "var/lib/dpkg/*-old",
		"var/log/*", "tmp/*", "run/*", "dev/*", "etc/machine-id", "etc/hostname", "etc/resolv.conf", "debootstrap",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		all = append(all, err)
		for _, f := range found {
			all = append(all, os.RemoveAll(f))
		}
	}
	return errors.Join(all...)
}

// lines passes on what debootstrap says it does, a line each.
type lines struct{ to io.Writer }

func (l lines) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "I: "); ok && !strings.HasPrefix(text, "Validating") && !strings.HasPrefix(text, "Retrieving") {
			_, _ = io.WriteString(l.to, "  "+strings.TrimRight(text, "\n")+"\n")
		}
	}
	return len(b), nil
}

// tail keeps the end of an output.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-2000):]
	return len(b), nil
}

func (t *tail) text() string { return strings.TrimSpace(string(t.b)) }
