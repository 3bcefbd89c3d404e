package gitd_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/proto/gitd"
)

type world struct {
	t    *testing.T
	url  string
	home string
	srv  *gitd.Server

	mu       sync.Mutex
	received []gitd.Push
	files    map[string]string // of the last push
	answer   func(out io.Writer) error
}

type personKey struct{}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, home: t.TempDir(), answer: func(io.Writer) error { return nil }}
	w.srv = &gitd.Server{
		Root: filepath.Join(t.TempDir(), "repos"),
		Log:  slog.New(slog.DiscardHandler),
		Authenticate: func(ctx context.Context, user, password string) (context.Context, error) {
			if password != "pw-"+user {
				return nil, errs.Unauthenticated("wrong user name or password")
			}
			return context.WithValue(ctx, personKey{}, user), nil
		},
		Authorize: func(ctx context.Context, repo string, write bool) error {
			who, _ := ctx.Value(personKey{}).(string)
			switch {
			case strings.ToLower(repo) != repo:
				return errs.Invalid("the app name %q may hold lowercase letters only", repo)
			case who == "mallory":
				return errs.NotFound("no app named %q", repo)
			case who == "viewer" && write:
				return errs.Denied("you may look at %s, not change it", repo)
			}
			return nil
		},
		Keep:    func(context.Context, string, io.Writer) error { return nil },
		Receive: w.receive,
	}
	ts := httptest.NewServer(w.srv)
	t.Cleanup(ts.Close)
	w.url = ts.URL
	return w
}

func (w *world) receive(ctx context.Context, _ string, p gitd.Push, out io.Writer) error {
	files := map[string]string{}
	r, err := p.Archive(ctx)
	if err != nil {
		return err
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(b)
		}
	}
	if err := r.Close(); err != nil {
		return err
	}
	w.mu.Lock()
	w.received, w.files = append(w.received, p), files
	answer := w.answer
	w.mu.Unlock()
	return answer(out)
}

func (w *world) pushes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.received)
}

func (w *world) command(dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.home, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	return cmd
}

func (w *world) git(dir string, args ...string) (string, error) {
	out, err := w.command(dir, args...).CombinedOutput()
	return string(out), err
}

func (w *world) must(dir string, args ...string) string {
	w.t.Helper()
	out, err := w.git(dir, args...)
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// remote is the address of a repository as somebody.
func (w *world) remote(who, repo string) string {
	u, _ := url.Parse(w.url + "/" + repo)
	u.User = url.UserPassword(who, "pw-"+who)
	return u.String()
}

// work makes a work tree with one commit on branch.
func (w *world) work(branch string, files map[string]string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	w.must(dir, "init", "-q", "-b", branch)
	w.commit(dir, "first", files)
	return dir
}

func (w *world) commit(dir, message string, files map[string]string) {
	w.t.Helper()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.must(dir, "add", "-A")
	w.must(dir, "commit", "-q", "--allow-empty", "-m", message)
}

func contains(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, s := range wants {
		if !strings.Contains(out, s) {
			t.Errorf("%q is missing in:\n%s", s, out)
		}
	}
}

func TestPushCloneFetch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer = func(out io.Writer) error {
		fmt.Fprintf(out, "receive  0.1 s\nlive at https://x/hello/")
		return nil
	}
	dir := w.work("main", map[string]string{"app.py": "one"})
	contains(t, w.must(dir, "push", w.remote("alice", "hello"), "main"), "remote: receive  0.1 s", "remote: live at https://x/hello/")
	if w.files["app.py"] != "one" || w.received[0].Subject != "first" || w.received[0].Old != "" || w.received[0].Branch != "main" {
		t.Errorf("received %+v, %q", w.received, w.files)
	}
	contains(t, w.must(dir, "push", w.remote("alice", "hello"), "main"), "Everything up-to-date")

	clone := filepath.Join(t.TempDir(), "c")
	w.must(".", "clone", "-q", w.remote("viewer", "hello.git"), clone)
	if b, _ := os.ReadFile(filepath.Join(clone, "app.py")); string(b) != "one" {
		t.Errorf("the clone has %q", b)
	}
	w.commit(dir, "second", map[string]string{"app.py": "two"})
	w.must(dir, "push", w.remote("alice", "hello"), "main")
	w.must(clone, "-c", "protocol.version=0", "pull", "-q")
	if b, _ := os.ReadFile(filepath.Join(clone, "app.py")); string(b) != "two" {
		t.Errorf("after a pull the clone has %q", b)
	}
	w.commit(dir, "third", map[string]string{"app.py": "three"})
	w.must(dir, "commit", "-q", "--amend", "-m", "rewritten", "--allow-empty")
	w.must(dir, "reset", "-q", "--soft", "HEAD~2")
	w.commit(dir, "rewritten", nil)
	if out, err := w.git(dir, "push", w.remote("alice", "hello"), "main"); err == nil {
		t.Errorf("history was rewritten without --force:\n%s", out)
	}
	contains(t, w.must(dir, "push", "--force", w.remote("alice", "hello"), "main"), "main is rewritten")
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.work("main", map[string]string{"a": "1"})
	w.must(dir, "push", w.remote("alice", "hello"), "main")
	for name, tt := range map[string]struct {
		remote, ref string
		want        []string
	}{
		"hidden":        {w.remote("mallory", "hello"), "main", []string{"not found"}},
		"may not write": {w.remote("viewer", "hello"), "main", []string{"403", "not change it"}},
		"no sign-in":    {w.url + "/hello", "main", []string{"could not read Username"}},
		"wrong pass":    {strings.Replace(w.remote("alice", "hello"), "pw-", "no-", 1), "main", []string{"Authentication failed"}},
		"bad name":      {w.remote("alice", "Bad_Name"), "main", []string{"remote: the app name"}},
		"escape":        {w.remote("alice", "..%2f..%2fx"), "main", []string{"not found"}},
		"delete":        {w.remote("alice", "hello"), ":main", []string{"remote: main is what the app runs from", "slipway apps delete hello"}},
		"odd ref":       {w.remote("alice", "hello"), "main:refs/odd/x", []string{"neither a branch nor a tag"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := w.git(dir, "push", tt.remote, tt.ref)
			if err == nil {
				t.Errorf("the push went through:\n%s", out)
			}
			contains(t, out, tt.want...)
		})
	}
}

func TestOnlyTheDeployBranchDeploys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.work("master", map[string]string{"a": "1"})
	hello := w.remote("alice", "hello")
	contains(t, w.must(dir, "push", hello, "master:idea"), "remote: branch idea is stored, not deployed: push it to main")
	w.must(dir, "push", hello, "master")
	if w.pushes() != 1 || w.received[0].Branch != "master" {
		t.Fatalf("received %+v", w.received)
	}
	w.commit(dir, "second", nil)
	contains(t, w.must(dir, "push", hello, "HEAD:main"), "branch main is stored, not deployed: only master deploys")
	w.must(dir, "tag", "v1")
	contains(t, w.must(dir, "push", hello, "v1"), "tag v1 is stored")
	contains(t, w.must(dir, "push", hello, ":idea"), "branch idea deleted")
	if w.pushes() != 1 {
		t.Errorf("%d pushes were received", w.pushes())
	}
	clone := filepath.Join(t.TempDir(), "c")
	w.must(".", "clone", "-q", hello, clone)
	if b := w.must(clone, "branch", "--show-current"); strings.TrimSpace(b) != "master" {
		t.Errorf("a clone checks out %q", b)
	}
}

func TestRefusedPushMovesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.work("main", map[string]string{"a": "1"})
	w.answer = func(io.Writer) error { return errs.Invalid("no Procfile: add one") }
	out, err := w.git(dir, "push", w.remote("alice", "hello"), "main")
	if err == nil {
		t.Error("a refused push went through")
	}
	contains(t, out, "remote: no Procfile: add one", "pre-receive hook declined")
	w.answer = func(io.Writer) error { return errors.New("secret detail") }
	out, _ = w.git(dir, "push", w.remote("alice", "hello"), "main")
	contains(t, out, "remote: something went wrong on our side")
	if strings.Contains(out, "secret detail") {
		t.Error("the cause was shown")
	}
	w.answer = func(io.Writer) error { return nil }
	w.must(dir, "push", w.remote("alice", "hello"), "main")
	if w.pushes() != 3 {
		t.Errorf("%d pushes were received", w.pushes())
	}
}

func TestLargePush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.MaxBytes = 5 << 20
	noise := make([]byte, 3<<20)
	rand.Read(noise)
	dir := w.work("main", map[string]string{"data": string(noise)})
	w.must(dir, "push", w.remote("alice", "large"), "main") // chunked, over http.postBuffer
	if !bytes.Equal([]byte(w.files["data"]), noise) {
		t.Error("the file arrived changed")
	}
	rand.Read(noise)
	more := make([]byte, 3<<20)
	rand.Read(more)
	w.commit(dir, "too large", map[string]string{"a": string(noise), "b": string(more)})
	out, err := w.git(dir, "push", w.remote("alice", "large"), "main")
	if err == nil {
		t.Errorf("a push over the limit went through:\n%s", out)
	}
	contains(t, out, "exceeds maximum allowed size")
}

// TestSwollenPush: a small push may hold an object that is made of another one
// and has any size. It ends git, not the machine.
func TestSwollenPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Memory = 64 << 20
	dir := w.work("main", map[string]string{"a": "1"})
	w.must(dir, "push", w.remote("alice", "swollen"), "main")
	w.commit(dir, "a large file", map[string]string{"data": strings.Repeat("0123456789abcdef\n", 2<<20)})
	w.commit(dir, "another one", map[string]string{"data": strings.Repeat("0123456789abcdef\n", 2<<20) + "end"})
	out, err := w.git(dir, "push", w.remote("alice", "swollen"), "main")
	if err == nil {
		t.Errorf("git took more memory than it may have:\n%s", out)
	}
	contains(t, out, "Out of memory")
	if w.pushes() != 1 {
		t.Errorf("%d pushes were received", w.pushes())
	}
	w.must(dir, "push", newWorld(t).remote("alice", "swollen"), "main")
}

// TestArchiveIsWhole: when git ends early, what it left is not taken for all.
func TestArchiveIsWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Memory = 64 << 20
	// A file to be substituted in is held in memory, which a push of it is not.
	dir := w.work("main", map[string]string{
		".gitattributes": "large export-subst\n", "a": "1", "large": strings.Repeat("0123456789abcdef\n", 3<<20), "z": "1",
	})
	out, err := w.git(dir, "push", w.remote("alice", "torn"), "main")
	if err == nil {
		t.Errorf("a push of which git reads only a part went through:\n%s", out)
	}
	contains(t, out, "git could not read all files of the push")
}

// TestSubmodules: their files are not in a push, which must be told.
func TestSubmodules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var found []string
	w.srv.Receive = func(ctx context.Context, _ string, p gitd.Push, _ io.Writer) (err error) {
		found, err = p.Submodules(ctx)
		return err
	}
	dir := w.work("main", map[string]string{"a": "1"})
	w.must(dir, "push", w.remote("alice", "apart"), "main")
	if len(found) != 0 {
		t.Errorf("found %q where there are none", found)
	}
	w.must(dir, "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",lib/other")
	w.must(dir, "commit", "-q", "-m", "a submodule")
	w.must(dir, "push", w.remote("alice", "apart"), "main")
	if len(found) != 1 || found[0] != "lib/other" {
		t.Errorf("found %q", found)
	}
}

// TestEndlessCommits: a small push may list millions of files and have a subject
// of any length. Little of that is read.
func TestEndlessCommits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.srv.Receive = func(ctx context.Context, _ string, p gitd.Push, _ io.Writer) error {
		if n := len(p.Subject); n != 2000 {
			t.Errorf("a subject of %d bytes", n)
		}
		_, err := p.Submodules(ctx)
		return err
	}
	dir := w.work("main", map[string]string{"a": "1"})
	written := func(in string, args ...string) string {
		cmd := w.command(dir, args...)
		cmd.Stdin = strings.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	tree := w.must(dir, "rev-parse", "HEAD^{tree}")
	for range 8 {
		var entries strings.Builder
		for i := range 20 {
			fmt.Fprintf(&entries, "040000 tree %s\t%02d\n", strings.TrimSpace(tree), i)
		}
		tree = written(entries.String(), "mktree")
	}
	commit := written(strings.Repeat("x", 3<<20), "commit-tree", tree)
	w.must(dir, "push", w.remote("alice", "endless"), commit+":refs/heads/main")
	list, err := w.srv.History(t.Context(), "endless", "", commit, 10)
	if err != nil || len(list) != 1 || len(list[0].Subject) != 2000 {
		t.Errorf("%d commits, %v", len(list), err)
	}
}

// TestSweep: what a push left that was cut off goes, one under way stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old, young := filepath.Join(w.srv.Root, "a.git", "objects", "tmp_objdir-incoming-1"), filepath.Join(w.srv.Root, "a.git", "objects", "tmp_objdir-incoming-2")
	fetched := filepath.Join(w.srv.Root, "a.git", "objects", "tmp_objdir-fetch-3")
	for _, d := range []string{old, young, fetched} {
		if err := os.MkdirAll(filepath.Join(d, "pack"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	before := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, before, before); err != nil {
		t.Fatal(err)
	}
	if err := w.srv.Sweep(); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{old, fetched} { // a fetch ends with the server
		if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", d, err)
		}
	}
	if _, err := os.Stat(young); err != nil {
		t.Error(err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited too long: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestDroppedClientStopsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release := make(chan struct{})
	w.answer = func(out io.Writer) error {
		fmt.Fprintln(out, "building")
		<-release
		for range 5000 {
			fmt.Fprintln(out, "a line that nobody reads, and that must not block")
		}
		return nil
	}
	dir := w.work("main", map[string]string{"a": "1"})
	cmd := w.command(dir, "push", w.remote("alice", "hello"), "main")
	var said syncBuffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // git's helpers are the client too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the first line is shown while the push goes on", func() bool { return strings.Contains(said.String(), "remote: building") })
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	close(release)
	w.mu.Lock()
	w.answer = func(io.Writer) error { return nil }
	w.mu.Unlock()
	head := strings.TrimSpace(w.must(dir, "rev-parse", "HEAD"))
	await(t, "the branch moves without the client", func() bool {
		out, _ := w.git(dir, "ls-remote", w.remote("alice", "hello"), "refs/heads/main")
		return strings.HasPrefix(out, head)
	})
}

func TestSecondPushWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.work("main", map[string]string{"a": "1"})
	release := make(chan struct{})
	w.answer = func(io.Writer) error { <-release; return nil }
	var first, second syncBuffer
	a := w.command(dir, "push", w.remote("alice", "hello"), "main")
	a.Stderr = &first
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the first push is received", func() bool { return w.pushes() == 1 })
	b := w.command(dir, "push", w.remote("alice", "hello"), "main:other")
	b.Stderr = &second
	if err := b.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "the second push waits", func() bool { return strings.Contains(second.String(), "waiting for the push before this one") })
	close(release)
	if err := errors.Join(a.Wait(), b.Wait()); err != nil {
		t.Errorf("%v\n%s\n%s", err, first.String(), second.String())
	}
}

func TestPlainRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		method, path, user string
		want               int
	}{
		"nobody":           {"GET", "/hello/info/refs?service=git-upload-pack", "", 401},
		"hidden":           {"GET", "/hello/info/refs?service=git-upload-pack", "mallory", 404},
		"dumb protocol":    {"GET", "/hello/info/refs", "alice", 403},
		"a file":           {"GET", "/hello/config", "alice", 404},
		"dots":             {"GET", "/../info/refs?service=git-upload-pack", "alice", 404},
		"no content type":  {"POST", "/hello/git-receive-pack", "alice", 400},
		"the front page":   {"GET", "/", "alice", 404},
		"the hooks folder": {"GET", "/.hooks/info/refs?service=git-upload-pack", "alice", 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), tt.method, w.url, nil)
			p, q, _ := strings.Cut(tt.path, "?")
			r.URL.Path, r.URL.RawQuery = p, q
			if tt.user != "" {
				r.SetBasicAuth(tt.user, "pw-"+tt.user)
			}
			rec := httptest.NewRecorder()
			w.srv.ServeHTTP(rec, r)
			if rec.Code != tt.want {
				t.Errorf("%d, want %d: %s", rec.Code, tt.want, rec.Body)
			}
			if tt.want == http.StatusUnauthorized && rec.Header().Get("WWW-Authenticate") == "" {
				t.Error("no WWW-Authenticate")
			}
		})
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
