package files_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine/files"
)

// mount is a folder with both ends in this process.
func mount(t *testing.T) (files.Mount, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mount")
	ok(t, os.Mkdir(dir, 0o755))
	return in(dir), dir
}

func in(dir string) files.Mount {
	return files.Mount{Dir: dir, Run: func(_ context.Context, args []string, in io.Reader, out, err io.Writer) (int, error) {
		return files.Serve(args, in, out, err), nil
	}}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, m files.Mount, path string) (string, error) {
	var b bytes.Buffer
	err := m.Read(ctx, path, func(files.Entry) io.Writer { return &b })
	return b.String(), err
}

// Nothing that somebody asks for, and nothing that an app has laid out, leads
// out of the folder.
func TestStaysInside(t *testing.T) {
	m, dir := mount(t)
	out := filepath.Join(filepath.Dir(dir), "out")
	ok(t, os.Mkdir(out, 0o755))
	ok(t, os.WriteFile(filepath.Join(out, "secret"), []byte("secret"), 0o644))
	for name, to := range map[string]string{"up": "../out", "abs": out, "file": "../out/secret", "loop": "loop", "etc": "/etc", "proc": "/proc/self/root"} {
		ok(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	ok(t, os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o644))
	for _, path := range []string{
		"..", "../out/secret", "a/../../out/secret", "/etc/passwd", out + "/secret", "./mine", "mine/", "a//b", "\x00", "mine\x00/x", "\xff",
		"up/secret", "abs/secret", "file", "loop", "etc/passwd", "proc/etc/passwd", strings.Repeat("a/", 3000) + "a", strings.Repeat("a", 300),
	} {
		if text, err := get(t.Context(), m, path); err == nil || text != "" || errs.Is(err, errs.KindInternal) {
			t.Errorf("read %q: %q, %v", path, text, err)
		}
		if err := m.Mkdir(t.Context(), path); err == nil || errs.Is(err, errs.KindInternal) {
			t.Errorf("made the folder %q: %v", path, err)
		}
		if _, err := m.List(t.Context(), path, "", 10); err == nil || errs.Is(err, errs.KindInternal) {
			t.Errorf("listed %q: %v", path, err)
		}
	}
	for _, path := range []string{"", "..", "../x", "up/x", "abs/x", "etc/x", "/x"} {
		if err := m.Write(t.Context(), path, strings.NewReader("x")); err == nil || errs.Is(err, errs.KindInternal) {
			t.Errorf("wrote %q: %v", path, err)
		}
		if err := m.Remove(t.Context(), path); err == nil || errs.Is(err, errs.KindInternal) {
			t.Errorf("removed %q: %v", path, err)
		}
	}
	// A link is replaced and removed itself, not what it leads to.
	ok(t, m.Write(t.Context(), "file", strings.NewReader("new")))
	for _, path := range []string{"up", "abs", "etc", "loop", "proc"} {
		ok(t, m.Remove(t.Context(), path))
	}
	if text, err := os.ReadFile(filepath.Join(out, "secret")); err != nil || string(text) != "secret" {
		t.Errorf("outside there is now %q, %v", text, err)
	}
	if all, _ := os.ReadDir(out); len(all) != 1 {
		t.Errorf("outside there are %v", all)
	}
}

// The caller outside is not alone in checking paths.
func TestServeChecks(t *testing.T) {
	_, dir := mount(t)
	for _, args := range [][]string{nil, {"read"}, {"read", dir}, {"read", dir, "../x"}, {"what", dir, "x"}, {"list", dir, ".", "", "0"}, {"list", dir, "."}, {"write", dir, "."}, {"read", dir + "-gone", "x"}} {
		var said bytes.Buffer
		if code := files.Serve(args, strings.NewReader(""), io.Discard, &said); code == 0 || !json.Valid(said.Bytes()) {
			t.Errorf("%q ended with %d: %s", args, code, said.String())
		}
	}
}

func TestLinksInsideAreFollowed(t *testing.T) {
	m, dir := mount(t)
	ok(t, errors.Join(m.Mkdir(t.Context(), "v2"), m.Write(t.Context(), "v2/a", strings.NewReader("a")), os.Symlink("v2", filepath.Join(dir, "current"))))
	if text, err := get(t.Context(), m, "current/a"); err != nil || text != "a" {
		t.Errorf("read %q, %v", text, err)
	}
	p, err := m.List(t.Context(), "", "", 10)
	if err != nil || len(p.Items) != 2 || p.Items[0].Name != "v2" || p.Items[1].Kind != files.Folder || !p.Items[1].Link {
		t.Errorf("there are %+v, %v", p.Items, err)
	}
}

func TestStrangeThings(t *testing.T) {
	m, dir := mount(t)
	ok(t, errors.Join(unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644), os.WriteFile(filepath.Join(dir, "a\nb\x1b[31m \"c\""), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(dir, "\xff\xfe"), nil, 0o644), os.Mkdir(filepath.Join(dir, "d"), 0o755)))
	if _, err := get(t.Context(), m, "pipe"); !errs.Is(err, errs.KindConflict) {
		t.Errorf("read a pipe: %v", err)
	}
	if _, err := get(t.Context(), m, "d"); !errs.Is(err, errs.KindConflict) {
		t.Errorf("read a folder: %v", err)
	}
	if text, err := get(t.Context(), m, "a\nb\x1b[31m \"c\""); err != nil || text != "x" {
		t.Errorf("read %q, %v", text, err)
	}
	if err := m.Write(t.Context(), "d", strings.NewReader("x")); !errs.Is(err, errs.KindConflict) {
		t.Errorf("wrote over a folder: %v", err)
	}
	if err := m.Write(t.Context(), "pipe/x", strings.NewReader("x")); !errs.Is(err, errs.KindConflict) {
		t.Errorf("wrote below a pipe: %v", err)
	}
	if err := m.Write(t.Context(), "no/x", strings.NewReader("x")); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("wrote into what is not there: %v", err)
	}
	p, err := m.List(t.Context(), "", "", 10)
	ok(t, err)
	odd := 0
	for _, e := range p.Items {
		if e.Odd {
			odd++
		}
	}
	if odd != 1 || len(p.Items) != 4 || p.Items[0].Name != "d" {
		t.Errorf("there are %+v", p.Items)
	}
}

// Every entry is on one page and on one only, folders first.
func TestManyEntries(t *testing.T) {
	m, dir := mount(t)
	const n = 10_000
	for i := range n {
		ok(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%05d", i)), nil, 0o644))
	}
	ok(t, os.Mkdir(filepath.Join(dir, "z"), 0o755))
	var all []string
	for cursor := ""; ; {
		p, err := m.List(t.Context(), "", cursor, 1000)
		ok(t, err)
		if p.Total != n+1 {
			t.Fatalf("there are %d", p.Total)
		}
		for _, e := range p.Items {
			all = append(all, e.Name)
		}
		if cursor = p.Next; cursor == "" {
			break
		}
	}
	if len(all) != n+1 || all[0] != "z" {
		t.Fatalf("%d entries, the first is %s", len(all), all[0])
	}
	for i := range n {
		if want := fmt.Sprintf("f%05d", i); all[i+1] != want {
			t.Fatalf("entry %d is %s, want %s", i+1, all[i+1], want)
		}
	}
}

// A file is replaced when all of it has come, and keeps its permissions.
func TestWholeOrNotAtAll(t *testing.T) {
	m, dir := mount(t)
	ok(t, m.Write(t.Context(), "a", strings.NewReader("old")))
	ok(t, os.Chmod(filepath.Join(dir, "a"), 0o600))
	gone := errors.New("gone")
	for _, r := range []io.Reader{
		io.MultiReader(strings.NewReader(strings.Repeat("new", 100_000)), errReader{gone}),
		errReader{gone},
	} {
		if err := m.Write(t.Context(), "a", r); !errors.Is(err, gone) {
			t.Errorf("a torn file: %v", err)
		}
	}
	// As when the connection to the replica ends: no empty frame.
	if code := files.Serve([]string{"write", dir, "a"}, strings.NewReader("\x00\x00\x00\x03new"), io.Discard, io.Discard); code == 0 {
		t.Error("an input without its end made a file")
	}
	if text, err := get(t.Context(), m, "a"); err != nil || text != "old" {
		t.Errorf("there is %q, %v", text, err)
	}
	ok(t, m.Write(t.Context(), "a", strings.NewReader("new")))
	if i, err := os.Stat(filepath.Join(dir, "a")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the new one is %v, %v", i, err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("there are %v", all)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// Of many who write at once, one wins with all of its file.
func TestAtOnce(t *testing.T) {
	m, dir := mount(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := m.Write(t.Context(), "a", strings.NewReader(strings.Repeat(fmt.Sprint(i), 200_000))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	text, err := get(t.Context(), m, "a")
	if err != nil || len(text) != 200_000 || strings.Trim(text, text[:1]) != "" {
		t.Errorf("there are %d bytes, %v", len(text), err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("there are %v", all)
	}
}

// A reader that cannot go on ends the sending.
func TestReaderGoesAway(t *testing.T) {
	m, _ := mount(t)
	ok(t, m.Write(t.Context(), "a", strings.NewReader(strings.Repeat("x", 1<<20))))
	m.Run = func(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) (int, error) {
		code := files.Serve(args, in, out, stderr)
		if ctx.Err() == nil {
			t.Error("nobody was told that the reader is gone")
		}
		return code, nil
	}
	gone := errors.New("gone")
	if err := m.Read(t.Context(), "a", func(files.Entry) io.Writer { return errWriter{gone} }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

// What a replica says that is no answer of ours is not taken for one.
func TestLies(t *testing.T) {
	for name, run := range map[string]func(out, stderr io.Writer) int{
		"no program":  func(_, stderr io.Writer) int { fmt.Fprintln(stderr, "not found"); return 127 },
		"too short":   func(out, _ io.Writer) int { fmt.Fprint(out, "{\"kind\":\"file\",\"size\":5}\nab"); return 0 },
		"too long":    func(out, _ io.Writer) int { fmt.Fprint(out, "{\"kind\":\"file\",\"size\":1}\nab"); return 0 },
		"no entry":    func(out, _ io.Writer) int { fmt.Fprint(out, "hello\n"); return 0 },
		"nothing":     func(_, _ io.Writer) int { return 0 },
		"endless":     func(out, _ io.Writer) int { _, _ = out.Write(bytes.Repeat([]byte("x"), 1<<20)); return 0 },
		"broken kind": func(_, stderr io.Writer) int { fmt.Fprint(stderr, `{"kind":"x"}`); return 1 },
	} {
		m := files.Mount{Dir: "/x", Run: func(_ context.Context, _ []string, _ io.Reader, out, stderr io.Writer) (int, error) {
			return run(out, stderr), nil
		}}
		if _, err := get(t.Context(), m, "a"); err == nil {
			t.Errorf("%s: it was believed", name)
		}
	}
}

const fullDir = "SLIPWAY_TEST_FULL_DISK"

// A disk that is full is told, and what was begun is gone.
func TestDiskFull(t *testing.T) {
	if dir := os.Getenv(fullDir); dir != "" {
		fillDisk(t, dir)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$", "-test.v")
	cmd.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("the disk was full")) {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	t.Helper()
	ok(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"))
	m := in(dir)
	ok(t, m.Write(t.Context(), "a", strings.NewReader("old")))
	err := m.Write(t.Context(), "a", strings.NewReader(strings.Repeat("x", 2<<20)))
	if !errs.Is(err, errs.KindExhausted) {
		t.Errorf("got %v", err)
	}
	if text, err := get(t.Context(), m, "a"); err != nil || text != "old" {
		t.Errorf("there is %q, %v", text, err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("there are %v", all)
	}
	t.Log("the disk was full")
}
