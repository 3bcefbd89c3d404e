// Package gitd serves git repositories over HTTP and SSH: git's own programs do
// the work, this package is the doors, which lead to the same rooms. It knows
// nothing of apps; callbacks say who somebody is, what they may do, and what a
// push means.
package gitd

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
)

// Server has the repositories, which are bare and lie in Root/<name>.git. It is
// the handler of HTTP; SSH is the other door.
type Server struct {
	Root string
	// Authenticate is for HTTP: it returns a context that carries the person.
	Authenticate func(ctx context.Context, user, password string) (context.Context, error)
	// Authorize says whether the person may read, or push to, the repository,
	// which may not exist yet. NotFound hides it.
	Authorize func(ctx context.Context, repo string, write bool) error
	// Keep is called before anything of a push is kept, whatever branch it goes
	// to: it makes sure that the repository belongs to somebody who may see what
	// is in it. What it writes to out the person sees; an error refuses the push.
	Keep func(ctx context.Context, repo string, out io.Writer) error
	// Receive is called when a push to the deploy branch is all here and before
	// the branch moves. What it writes to out are the lines that the person
	// sees; an error refuses the push. ctx does not end when the client goes.
	Receive  func(ctx context.Context, repo string, push Push, out io.Writer) error
	MaxBytes int64 // of one push, and of one fetch; 0 = 200 MiB
	Memory   int64 // bytes of address space that one git process may have; 0 = 640 MiB
	Log      *slog.Logger
	// Outside says which servers Fetch may reach.
	Outside outside.Rule
	// Roots are trusted by Fetch; nil = the system's.
	Roots *x509.CertPool
	Stall time.Duration // after which Fetch gives a server up that sends nothing; 0 = 30 s
	Wait  time.Duration // for which Fetch waits for a push that is being received; 0 = 30 s

	mu    sync.Mutex
	locks map[string]*lock
	hooks string // folder of the hook, once written
}

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

var repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// route is what a path asks for.
type route struct {
	repo, service string
	info          bool
}

func parseRoute(r *http.Request) (route, error) {
	rest := strings.TrimPrefix(r.URL.Path, "/")
	name, action, _ := strings.Cut(rest, "/")
	repo, err := parseRepo(name)
	if err != nil {
		return route{}, err
	}
	switch {
	case action == "info/refs" && r.Method == http.MethodGet:
		service := r.URL.Query().Get("service")
		if service != uploadPack && service != receivePack {
			return route{}, errs.Unsupported("this server speaks git's smart protocol only: use git 1.7 or newer")
		}
		return route{repo, service, true}, nil
	case (action == uploadPack || action == receivePack) && r.Method == http.MethodPost:
		return route{repo, action, false}, nil
	}
	return route{}, errs.NotFound("nothing here: this address is for git, such as git push")
}

// parseRepo reads a repository's name as clients write it: .git may follow.
func parseRepo(name string) (string, error) {
	repo := strings.TrimSuffix(name, ".git")
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") {
		return "", errs.NotFound("no such repository")
	}
	return repo, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err)
	}
}

var statuses = map[errs.Kind]int{
	errs.KindInvalid:         http.StatusBadRequest,
	errs.KindUnauthenticated: http.StatusUnauthorized,
	errs.KindDenied:          http.StatusForbidden,
	errs.KindNotFound:        http.StatusNotFound,
	errs.KindConflict:        http.StatusConflict,
	errs.KindExhausted:       http.StatusForbidden,
	errs.KindUnavailable:     http.StatusServiceUnavailable,
	errs.KindUnsupported:     http.StatusForbidden,
}

// fail answers in plain text, which git shows as lines of the remote.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, known := statuses[errs.KindOf(err)]
	if !known {
		status = http.StatusInternalServerError
		s.Log.ErrorContext(r.Context(), "git request failed", "path", r.URL.Path, "error", err)
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="Slipway", charset="UTF-8"`)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, errs.Message(err))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	user, password, ok := r.BasicAuth()
	if !ok {
		return errs.Unauthenticated("sign in with your user name, and your password or an API token")
	}
	ctx, err := s.Authenticate(r.Context(), user, password)
	if err != nil {
		return err
	}
	to, err := parseRoute(r)
	if err != nil {
		return err
	}
	dir, err := s.enter(ctx, to.repo, to.service)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-"+to.service+map[bool]string{true: "-advertisement", false: "-result"}[to.info])
	if to.info {
		return s.advertise(ctx, w, r, dir, to.service)
	}
	if got, want := r.Header.Get("Content-Type"), "application/x-"+to.service+"-request"; got != want {
		return errs.Invalid("the request is not git's: its type is %q", got)
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bufio.NewReader(r.Body))
		if err != nil {
			return errs.Wrap(err, errs.KindInvalid, "the request is not compressed as it says")
		}
		body = z
	}
	if to.service == receivePack {
		return s.receive(ctx, w, body, to.repo, dir)
	}
	return s.upload(ctx, w, r, body, dir)
}

// enter lets the person in ctx use a repository, by whatever door they come.
func (s *Server) enter(ctx context.Context, repo, service string) (dir string, err error) {
	if err := s.Authorize(ctx, repo, service == receivePack); err != nil {
		return "", err
	}
	return s.ensure(ctx, repo)
}

// ensure makes the repository when there is none.
func (s *Server) ensure(ctx context.Context, repo string) (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.writeHook(); err != nil {
		return "", err
	}
	dir = filepath.Join(s.Root, repo+".git")
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		return dir, nil
	}
	// Made aside and renamed, so that a crash leaves no half repository.
	tmp, err := os.MkdirTemp(s.Root, ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if out, err := s.git(ctx, "", "init", "-q", "--bare", "-b", "main", "--template=", tmp).CombinedOutput(); err != nil {
		return "", fmt.Errorf("git init: %w: %s", err, out)
	}
	// What git writes while its repository is deleted brings folders back.
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

// Remove deletes a repository; what is not there is no error.
func (s *Server) Remove(repo string) error {
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") {
		return errs.Invalid("%q is no name of a repository", repo)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return os.RemoveAll(filepath.Join(s.Root, repo+".git"))
}

// Sweep removes what pushes and fetches left that were cut off with the server: git keeps
// incoming objects apart until they are accepted. It is called at the start.
func (s *Server) Sweep() error {
	left, err := filepath.Glob(filepath.Join(s.Root, "*.git", "objects", "tmp_objdir-*"))
	for _, dir := range left {
		// A push may outlive the server that it began with, but not for long; a
		// fetch does not.
		fetched := strings.HasPrefix(filepath.Base(dir), apartPrefix)
		if st, serr := os.Stat(dir); serr == nil && (fetched || time.Since(st.ModTime()) > watchLimit) {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	return err
}

func (s *Server) maxBytes() int64 {
	if s.MaxBytes == 0 {
		return 200 << 20
	}
	return s.MaxBytes
}

// git prepares a git program with an environment of our own: nothing of the
// platform's, of its user's configuration, or of what was pushed takes part.
func (s *Server) git(ctx context.Context, dir string, args ...string) *exec.Cmd {
	return s.gitWith(ctx, dir, nil, args...)
}

// limited runs a program with as many KiB of address space as $0 says, or the
// fewer that we have ourselves: a small pack can hold an object of any size.
// Where many of them are too much for the machine, they end before anything else.
const limited = `ulimit -v "$0" 2>/dev/null; { echo 1000 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"`

// gitWith does it with more configuration: keys, each before its value.
func (s *Server) gitWith(ctx context.Context, dir string, more []string, args ...string) *exec.Cmd {
	config := append([]string{
		"safe.directory", "*",
		"core.hooksPath", s.hooks,
		"receive.maxInputSize", fmt.Sprint(s.maxBytes()),
		"receive.advertisePushOptions", "false",
		"receive.denyDeletes", "false", // our hook answers better
		"receive.denyCurrentBranch", "ignore",
		"receive.denyDeleteCurrent", "ignore",
		"gc.autoDetach", "false",
		"core.fsmonitor", "false",
		// What a large repository needs of Memory: files go through in pieces
		// from this size on, packs are mapped in pieces, and each thread
		// compares so much at once.
		"core.bigFileThreshold", "32m",
		"core.packedGitWindowSize", "32m",
		"core.packedGitLimit", "128m",
		"pack.threads", "2",
		"pack.windowMemory", "64m",
		"uploadpack.allowFilter", "true",
	}, more...)
	git, err := exec.LookPath("git")
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", limited, strconv.FormatInt(cmp.Or(s.Memory, 640<<20)>>10, 10), git}, args...)...)
	if err != nil {
		cmd.Err = err
	}
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.Root, "LC_ALL=C.UTF-8", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1",
		fmt.Sprintf("GIT_CONFIG_COUNT=%d", len(config)/2),
	}
	for i := 0; i < len(config); i += 2 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i/2, config[i]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i/2, config[i+1]))
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// protocol passes on the version that a fetching client asks for.
func protocol(cmd *exec.Cmd, version string) (version2 bool) {
	if version == "version=2" || version == "version=1" { // it goes into an environment: nothing else does
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+version)
		return version == "version=2"
	}
	return false
}

func (s *Server) advertise(ctx context.Context, w io.Writer, r *http.Request, dir, service string) error {
	cmd := s.git(ctx, dir, strings.TrimPrefix(service, "git-"), "--stateless-rpc", "--advertise-refs", ".")
	v2 := false
	if service == uploadPack {
		v2 = protocol(cmd, r.Header.Get("Git-Protocol"))
	}
	out, err := cmd.Output()
	if err != nil {
		return gitFailed(err)
	}
	if !v2 {
		line := "# service=" + service + "\n"
		fmt.Fprintf(w, "%04x%s0000", len(line)+4, line)
	}
	_, _ = w.Write(out)
	return nil
}

// gitFailed keeps what git said, for the log.
func gitFailed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("git: %w: %s", err, exit.Stderr)
	}
	return fmt.Errorf("git: %w", err)
}

func (s *Server) upload(ctx context.Context, w http.ResponseWriter, r *http.Request, body io.Reader, dir string) error {
	cmd := s.git(ctx, dir, "upload-pack", "--stateless-rpc", ".")
	protocol(cmd, r.Header.Get("Git-Protocol"))
	out := &flusher{w: w}
	out.duplex()
	cmd.Stdin, cmd.Stdout = body, out
	if err := cmd.Run(); err != nil && ctx.Err() == nil {
		// The answer has begun: git has told the client what it did not like.
		s.Log.DebugContext(ctx, "git upload-pack failed", "dir", dir, "error", err)
	}
	return nil
}

// flusher sends what it gets at once, and forgets it when the client is gone:
// what runs goes on.
type flusher struct {
	w    http.ResponseWriter
	c    *http.ResponseController
	gone bool
}

func (f *flusher) duplex() {
	f.c = http.NewResponseController(f.w)
	_ = f.c.EnableFullDuplex() // HTTP/2 needs none
}

func (f *flusher) Write(b []byte) (int, error) {
	if !f.gone {
		_, err := f.w.Write(b)
		f.gone = errors.Join(err, f.c.Flush()) != nil
	}
	return len(b), nil
}
