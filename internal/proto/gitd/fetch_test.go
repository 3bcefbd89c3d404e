package gitd_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/proto/gitd"
	"slipway.dev/slipway/internal/proto/gitd/gitdtest"
)

// elsewhere is a server of ours beside a server of others.
type elsewhere struct {
	*world
	remote *gitdtest.Remote
	log    *safeBuffer
}

type safeBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newElsewhere(t *testing.T, wrap func(http.Handler) http.Handler) *elsewhere {
	t.Helper()
	w := &elsewhere{world: newWorld(t), log: &safeBuffer{}}
	remote, err := gitdtest.Serve(t.TempDir(), wrap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(remote.Close)
	w.remote = remote
	w.srv.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.srv.Roots = x509.NewCertPool()
	w.srv.Roots.AddCert(remote.Certificate())
	w.srv.Outside = outside.Rule{Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	return w
}

func (w *elsewhere) record(repo, branch, message string, files map[string]string) string {
	w.t.Helper()
	id, err := w.remote.Commit(repo, branch, message, files)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *elsewhere) fetch(repo string, r gitd.Remote) (gitd.Push, error) {
	return w.srv.Fetch(w.t.Context(), repo, gitd.FetchInput{Remote: r})
}

// bare runs git in a repository of ours.
func (w *elsewhere) bare(repo string, args ...string) string {
	w.t.Helper()
	return strings.TrimSpace(w.must(filepath.Join(w.srv.Root, repo+".git"), append([]string{"-c", "safe.directory=*"}, args...)...))
}

// refused checks that the error names the field and says so, and that nothing
// of the fetch is left.
func (w *elsewhere) refused(err error, field, says string) {
	w.t.Helper()
	text := errs.Message(err)
	for _, f := range errs.FieldsOf(err) {
		text += "; " + f.Name + ": " + f.Message
	}
	if !errs.Is(err, errs.KindInvalid) || !strings.Contains(text, "; "+field+": ") || !strings.Contains(text, says) {
		w.t.Errorf("%v: want %s to say %q", err, field, says)
	}
	left, _ := filepath.Glob(filepath.Join(w.srv.Root, "*.git", "objects", "tmp_objdir-*"))
	packs, _ := filepath.Glob(filepath.Join(w.srv.Root, "none.git", "objects", "pack", "*"))
	if len(left)+len(packs) > 0 {
		w.t.Errorf("a refused fetch left %v %v", left, packs)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	first := w.record("iris", "trunk", "first", map[string]string{"app.py": "one"})
	remote := gitd.Remote{URL: w.remote.URL + "/iris.git"}
	push, err := w.fetch("hello", remote)
	if err != nil {
		t.Fatal(err)
	}
	if push.Commit != first || push.Branch != "main" || push.Subject != "first" || push.Old != "" || push.Forced {
		t.Errorf("%+v", push)
	}
	archive, err := push.Archive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(archive); err != nil || !strings.Contains(string(text), "app.py") {
		t.Errorf("the archive: %v", err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}

	// The next brings what is new alone, and the same again brings nothing.
	second := w.record("iris", "trunk", "second", map[string]string{"app.py": "two"})
	for range 2 {
		if push, err = w.fetch("hello", remote); err != nil || push.Commit != second || push.Forced {
			t.Fatalf("%+v, %v", push, err)
		}
	}
	packs, err := filepath.Glob(filepath.Join(w.srv.Root, "hello.git", "objects", "pack", "*.idx"))
	if err != nil || len(packs) != 2 {
		t.Errorf("packs %v, %v", packs, err)
	}
	w.bare("hello", "fsck", "--strict")
	clone := filepath.Join(t.TempDir(), "c")
	w.must(".", "clone", "-q", w.world.remote("viewer", "hello"), clone)
	if log := w.must(clone, "log", "--format=%s"); log != "second\nfirst\n" {
		t.Errorf("the clone has the history %q", log)
	}
	// What was fetched and what is pushed are one history.
	w.commit(clone, "third", map[string]string{"app.py": "three"})
	w.must(clone, "push", "-q", w.world.remote("alice", "hello"), "main")
	if text := w.bare("hello", "config", "--list", "--local") + w.log.String(); strings.Contains(text, "remote.from") || strings.Contains(text, "127.0.0.1") {
		t.Errorf("the repository or the log remembers from where: %s", text)
	}
}

func TestFetchRefs(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	one := w.record("iris", "master", "one", nil)
	if _, err := gitdtest.Git(filepath.Join(w.remote.Root, "iris.git"), "tag", "-a", "-m", "tagged", "v1", one); err != nil {
		t.Fatal(err)
	}
	two := w.record("iris", "master", "two", nil)
	dev := w.record("iris", "dev/new", "dev", nil)
	at := w.remote.URL + "/iris.git"
	for ref, want := range map[string]string{"": two, "master": two, "v1": one, "dev/new": dev, one: one} {
		t.Run(ref, func(t *testing.T) {
			repo := "r" + strings.NewReplacer("/", "-").Replace(ref)
			push, err := w.fetch(repo, gitd.Remote{URL: at, Ref: ref})
			if err != nil || push.Commit != want {
				t.Fatalf("%+v, %v; want %s", push, err, want)
			}
			branch := map[bool]string{true: "master", false: "main"}[ref == "" || ref == "master"]
			if push.Branch != branch || w.bare(repo, "symbolic-ref", "HEAD") != "refs/heads/"+branch || w.bare(repo, "rev-parse", "HEAD") != want {
				t.Errorf("%+v is not on %s", push, branch)
			}
		})
	}
	for ref, says := range map[string]string{
		"nope": "no branch or tag", one[:12]: "all 40 digits", strings.Repeat("ab", 20): "no such commit",
		"--upload-pack=x": "no branch or tag", "a..b": "no branch", "x y": "no branch", "*": "no branch", "a\nb": "no branch", "HEAD@{1}": "no branch",
	} {
		t.Run("not "+ref, func(t *testing.T) {
			_, err := w.fetch("none", gitd.Remote{URL: at, Ref: ref})
			w.refused(err, "ref", says)
		})
	}
	if _, err := gitdtest.Git(w.remote.Root, "init", "-q", "--bare", "empty.git"); err != nil {
		t.Fatal(err)
	}
	_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/empty.git"})
	w.refused(err, "url", "no commit yet")
	_, err = w.fetch("none", gitd.Remote{URL: w.remote.URL + "/nowhere.git"})
	w.refused(err, "url", "no such repository, or it is private")
}

// A token opens a private repository, and is nowhere else: git itself, which
// is asked for its environment here, does not have it.
func TestFetchPrivate(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	want := w.record("private-iris", "main", "first", nil)
	at := w.remote.URL + "/private-iris.git"
	_, err := w.fetch("none", gitd.Remote{URL: at})
	w.refused(err, "url", "private: then give an access token")
	wrong := secret.New("glpat-wrong-token")
	_, err = w.fetch("none", gitd.Remote{URL: at, User: gitdtest.User, Token: wrong})
	w.refused(err, "token", "does not accept")
	if strings.Contains(err.Error(), wrong.Reveal()) {
		t.Error("the error holds the token")
	}
	push, err := w.fetch("hello", gitd.Remote{URL: at, User: gitdtest.User, Token: secret.New(gitdtest.Token)})
	if err != nil || push.Commit != want {
		t.Fatalf("%+v, %v", push, err)
	}
	err = filepath.WalkDir(w.srv.Root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "glpat") {
			t.Errorf("%s holds a token", path)
		}
		return err
	})
	if err != nil || strings.Contains(w.log.String(), "glpat") {
		t.Errorf("%v, or the log holds a token", err)
	}
}

func TestFetchSchemes(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	for _, at := range []string{
		"http://127.0.0.1/x.git", "ssh://git@127.0.0.1/x.git", "git@127.0.0.1:x.git", "git://127.0.0.1/x", "file:///etc", "/etc", "ext::sh -c id",
		"ftp://127.0.0.1/x", "https://", "", "https://user:" + gitdtest.Token + "@127.0.0.1/x.git", "https://user@127.0.0.1/x",
	} {
		_, err := w.fetch("none", gitd.Remote{URL: at})
		w.refused(err, "url", "https://")
		if strings.Contains(err.Error(), "glpat") {
			t.Errorf("the error holds what was in the address: %v", err)
		}
	}
}

// Without the administrator's word nothing inside is reached, whatever the
// address looks like: the server there hears nothing.
func TestFetchReachesNothingInside(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	w := newElsewhere(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	})
	u, _ := url.Parse(w.remote.URL)
	w.srv.Outside = outside.Rule{}
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::1]", "[::]", "169.254.169.254", "2130706433", "0x7f000001", "127.1"} {
		_, err := w.fetch("none", gitd.Remote{URL: "https://" + host + ":" + u.Port() + "/iris.git"})
		w.refused(err, "url", "no address on the internet")
	}
	if asked.Load() > 0 {
		t.Errorf("the server inside was asked %d times", asked.Load())
	}
}

// A name that leads elsewhere when it is asked again is asked once: the
// addresses that were looked at are those that are used.
func TestFetchAsksForANameOnce(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	want := w.record("iris", "main", "first", nil)
	var inside atomic.Int64
	trap := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	u, _ := url.Parse(w.remote.URL)
	l, err := net.Listen("tcp", "127.0.0.2:"+u.Port())
	if err != nil {
		t.Fatal(err)
	}
	trap.Listener.Close()
	trap.Listener = l
	trap.StartTLS()
	defer trap.Close()
	var lookups atomic.Int64
	w.srv.Outside.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		if lookups.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil // where it is allowed
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
	}
	push, err := w.fetch("hello", gitd.Remote{URL: "https://example.com:" + u.Port() + "/iris.git"}) // a name of the server's certificate
	if err != nil || push.Commit != want || lookups.Load() != 1 || inside.Load() != 0 {
		t.Errorf("%+v, %v: %d lookups, %d requests inside", push, err, lookups.Load(), inside.Load())
	}
	// From now on it leads inside.
	_, err = w.fetch("other", gitd.Remote{URL: "https://example.com:" + u.Port() + "/iris.git"})
	if !errs.Is(err, errs.KindInvalid) || inside.Load() != 0 {
		t.Errorf("%v, %d requests inside", err, inside.Load())
	}
}

// A server may move a repository on the same host, and nowhere else.
func TestFetchRedirects(t *testing.T) {
	t.Parallel()
	var inside atomic.Int64
	trap := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	defer trap.Close()
	plain := httptest.NewServer(trap.Config.Handler)
	defer plain.Close()
	var to atomic.Value
	w := newElsewhere(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if rest, ok := strings.CutPrefix(r.URL.Path, "/old"); ok {
				http.Redirect(rw, r, fmt.Sprint(to.Load())+rest+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
				return
			}
			if strings.HasPrefix(r.URL.Path, "/late") && r.Method == http.MethodPost {
				http.Redirect(rw, r, trap.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return
			}
			h.ServeHTTP(rw, r)
		})
	})
	w.srv.Roots.AddCert(trap.Certificate())
	want := w.record("iris", "main", "first", nil)
	w.record("late", "main", "first", nil)
	u, _ := url.Parse(w.remote.URL)
	for _, target := range []string{trap.URL, plain.URL, "http://127.0.0.1:1", "https://169.254.169.254/latest", "file:///etc", "https://user:pw@" + u.Host, "https://localhost:" + u.Port()} {
		to.Store(target)
		_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/old/iris.git", User: gitdtest.User, Token: secret.New(gitdtest.Token)})
		w.refused(err, "url", "leads to another address")
	}
	_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/late.git"})
	w.refused(err, "url", "leads to another address")
	if inside.Load() != 0 {
		t.Errorf("another server was asked %d times", inside.Load())
	}
	to.Store(w.remote.URL)
	push, err := w.fetch("hello", gitd.Remote{URL: w.remote.URL + "/old/iris.git"})
	if err != nil || push.Commit != want {
		t.Errorf("moved on the same host: %+v, %v", push, err)
	}
	to.Store(w.remote.URL + "/old")
	_, err = w.fetch("round", gitd.Remote{URL: w.remote.URL + "/old/iris.git"})
	if !errs.Is(err, errs.KindInvalid) {
		t.Errorf("round and round: %v", err)
	}
}

func TestFetchCertificate(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	w.record("iris", "main", "first", nil)
	w.srv.Roots = x509.NewCertPool()
	_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/iris.git"})
	w.refused(err, "url", "certificate")
}

// A history that does not lead on from what the app has takes its place only
// when that is asked for, and loses nothing.
func TestFetchOtherHistory(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	theirs := w.record("iris", "main", "theirs", nil)
	dir := w.work("main", map[string]string{"app.py": "ours"})
	w.must(dir, "push", "-q", w.world.remote("alice", "hello"), "main")
	ours := w.bare("hello", "rev-parse", "main")
	in := gitd.FetchInput{Remote: gitd.Remote{URL: w.remote.URL + "/iris.git"}}
	_, err := w.srv.Fetch(t.Context(), "hello", in)
	if !errs.Is(err, errs.KindConflict) || !strings.Contains(err.Error(), "replaced-"+ours[:10]) || w.bare("hello", "rev-parse", "main") != ours {
		t.Errorf("%v", err)
	}
	in.Replace = true
	push, err := w.srv.Fetch(t.Context(), "hello", in)
	if err != nil || !push.Forced || push.Old != ours || push.Commit != theirs {
		t.Fatalf("%+v, %v", push, err)
	}
	if w.bare("hello", "rev-parse", "main") != theirs || w.bare("hello", "rev-parse", "replaced-"+ours[:10]) != ours {
		t.Error("the branches are not where they should be")
	}
	push, err = w.srv.Fetch(t.Context(), "hello", in) // again is the same
	if err != nil || push.Forced {
		t.Errorf("%+v, %v", push, err)
	}
}

// A fetch waits for a push that is being received, though not for ever.
func TestFetchBesideAPush(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	w.record("iris", "main", "theirs", nil)
	received, end := make(chan struct{}), make(chan struct{})
	w.answer = func(io.Writer) error {
		close(received)
		<-end
		return nil
	}
	dir := w.work("main", map[string]string{"app.py": "ours"})
	var pushed sync.WaitGroup
	pushed.Go(func() { w.must(dir, "push", "-q", w.world.remote("alice", "hello"), "main") })
	<-received
	w.srv.Wait = 100 * time.Millisecond
	_, err := w.fetch("hello", gitd.Remote{URL: w.remote.URL + "/iris.git"})
	if !errs.Is(err, errs.KindConflict) || !strings.Contains(err.Error(), "a push is being deployed") {
		t.Error(err)
	}
	close(end)
	pushed.Wait()
	if text := w.bare("hello", "log", "--format=%s", "main"); text != "first" {
		t.Errorf("the push brought %q", text)
	}
}

// Nothing is kept for whom it may not be.
func TestFetchAsksBeforeItKeeps(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	w.record("iris", "main", "first", nil)
	in := gitd.FetchInput{
		Remote: gitd.Remote{URL: w.remote.URL + "/iris.git"},
		Keep:   func(context.Context) error { return errs.NotFound("no such app") },
	}
	if _, err := w.srv.Fetch(t.Context(), "hello", in); !errs.Is(err, errs.KindNotFound) {
		t.Error(err)
	}
	if text := w.bare("hello", "for-each-ref") + w.bare("hello", "count-objects", "-v"); !strings.Contains(text, "in-pack: 0") || strings.Contains(text, "refs/") {
		t.Errorf("it kept %s", text)
	}
}

// A repository that is deleted while something of it is fetched leaves nothing
// that its name would trip over.
func TestFetchIntoADeletedRepository(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	want := w.record("iris", "main", "first", nil)
	in := gitd.FetchInput{Remote: gitd.Remote{URL: w.remote.URL + "/iris.git"}}
	in.Keep = func(context.Context) error { return w.srv.Remove("hello") }
	if _, err := w.srv.Fetch(t.Context(), "hello", in); err == nil {
		t.Error("it was fetched into nothing")
	}
	if err := os.MkdirAll(filepath.Join(w.srv.Root, "hello.git", "objects", "pack"), 0o700); err != nil { // as git may at the very end
		t.Fatal(err)
	}
	in.Keep = nil
	if push, err := w.srv.Fetch(t.Context(), "hello", in); err != nil || push.Commit != want {
		t.Errorf("%+v, %v", push, err)
	}
}

// Two at once end as one after the other, and a fetch that is ended leaves nothing running.
func TestFetchTwiceAndCanceled(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	w := newElsewhere(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/hang") {
				begun <- struct{}{}
				<-r.Context().Done()
				return
			}
			h.ServeHTTP(rw, r)
		})
	})
	want := w.record("iris", "main", "first", nil)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if push, err := w.fetch("hello", gitd.Remote{URL: w.remote.URL + "/iris.git"}); err != nil || push.Commit != want {
				t.Errorf("%+v, %v", push, err)
			}
		})
	}
	all.Wait()
	w.bare("hello", "fsck", "--strict")

	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		_, err := w.srv.Fetch(ctx, "gone", gitd.FetchInput{Remote: gitd.Remote{URL: w.remote.URL + "/hang.git", Token: secret.New(gitdtest.Token)}})
		if !errs.Is(err, errs.KindUnavailable) {
			t.Error(err)
		}
	})
	<-begun
	// What everybody on this machine can list tells neither the token nor the
	// key of the relay; git's environment has no token.
	running := gitsBelow(t, w.srv.Root, "cmdline")
	if text := strings.Join(running, "\n"); len(running) == 0 || strings.Contains(text, "glpat") || strings.Contains(strings.ToLower(text), "relay") {
		t.Errorf("running: %s", text)
	}
	if text := strings.Join(gitsBelow(t, w.srv.Root, "environ"), "\n"); strings.Contains(text, "glpat") || !strings.Contains(text, "GIT_ALLOW_PROTOCOL=http") {
		t.Errorf("git's environment: %s", text)
	}
	cancel()
	all.Wait()
	if left := gitsBelow(t, w.srv.Root, "cmdline"); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

// gitsBelow tells what /proc has about processes whose working folder is below root.
func gitsBelow(t *testing.T, root, what string) []string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, link := range all {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, root) {
			text, _ := os.ReadFile(filepath.Join(filepath.Dir(link), what))
			out = append(out, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return out
}
