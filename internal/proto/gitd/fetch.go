package gitd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
)

// Remote is a repository on another server.
type Remote struct {
	URL   string // https, without user or password
	Ref   string // a branch, a tag or a whole commit id; empty = the server's default branch
	User  string // with the token; empty = any
	Token secret.String
}

// FetchInput is what to fetch, and how.
type FetchInput struct {
	Remote
	// Replace lets a history take the place of another that does not lead to it.
	// The commits that were there stay on a branch of their own.
	Replace bool
	// Keep is asked before anything is kept; an error ends the fetch.
	Keep func(ctx context.Context) error
}

const (
	apartPrefix = "tmp_objdir-fetch-" // git itself prunes folders of such names
	fetchLimit  = 10 * time.Minute    // for all of a fetch
)

// Fetch brings the newest commit of a remote, with its history, to the deploy
// branch, as a push of it would, and returns it. It asks for no right. Invalid
// says what is wrong with the remote, in fields url, ref or token; Conflict that
// the branch has commits which the remote's history lacks; Exhausted that it is
// too large. An error leaves the repository as it was.
func (s *Server) Fetch(ctx context.Context, repo string, in FetchInput) (Push, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	if !repoName.MatchString(repo) || strings.Contains(repo, "..") {
		return Push{}, errs.Invalid("%q is no name of a repository", repo)
	}
	if err := checkRef(in.Ref); err != nil {
		return Push{}, err
	}
	dir, err := s.ensure(ctx, repo)
	if err != nil {
		return Push{}, err
	}
	apart, err := os.MkdirTemp(filepath.Join(dir, "objects"), apartPrefix)
	if err != nil {
		return Push{}, err
	}
	defer os.RemoveAll(apart)
	f := &fetch{s: s, repo: repo, dir: dir, apart: apart, in: in}
	if err := f.bring(ctx); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return Push{}, wrongURL(err, "the repository was not here after %s", fetchLimit)
		}
		return Push{}, err
	}
	return f.land(ctx)
}

// refName is what git allows, as far as it matters here.
var refName = regexp.MustCompile(`^[^\x00-\x20\x7f~^:?*\[\\]{1,250}$`)

func checkRef(ref string) error {
	if ref == "" {
		return nil
	}
	if !refName.MatchString(ref) || strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") || strings.Contains(ref, "..") || strings.Contains(ref, "@{") {
		return wrongField(nil, "ref", "it is the name of no branch or tag, and no commit")
	}
	return nil
}

// fetch is one fetch: what comes is kept apart until it is known to be good.
type fetch struct {
	s          *Server
	repo       string
	dir, apart string
	in         FetchInput

	relay  *relay
	config []string
	branch string // of the remote, if it is one
	commit string
}

// bring makes git ask a relay of its own for the commit and all that leads to it.
func (f *fetch) bring(ctx context.Context) (err error) {
	if f.relay, err = f.s.newRelay(ctx, f.in.Remote); err != nil {
		return err
	}
	defer f.relay.client.CloseIdleConnections()
	l, srv, err := f.relay.listen(ctx)
	if err != nil {
		return err
	}
	// In the environment: arguments are seen by everybody on this machine.
	f.config = []string{
		"remote.from.url", "http://" + l.Addr().String(),
		"http.extraHeader", relayKey + ": " + f.relay.key.Reveal(),
		"http.followRedirects", "false", "http.proxy", "", "credential.helper", "",
		"protocol.version", "2",
		"transfer.fsckObjects", "true", "fetch.fsckObjects", "true",
		// Old histories have these, and nothing reads what they say.
		"fetch.fsck.zeroPaddedFilemode", "ignore", "fetch.fsck.missingSpaceBeforeDate", "ignore", "fetch.fsck.badTimezone", "ignore",
		"fetch.unpackLimit", "1", "transfer.unpackLimit", "1", // one pack, whatever comes
		"submodule.recurse", "false", "fetch.writeCommitGraph", "false", "gc.auto", "0", "maintenance.auto", "false",
	}
	return loop.Run(ctx,
		func(context.Context) error {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		func(ctx context.Context) error {
			defer func() { _ = srv.Close() }() // what it serves is over
			return f.get(ctx)
		})
}

func (f *fetch) get(ctx context.Context) error {
	id, err := f.find(ctx)
	if err != nil {
		return err
	}
	if _, err := f.ask(ctx, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--refmap=", "from", id); err != nil {
		return err
	}
	out, err := f.local(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", id+"^{commit}").Output()
	if err != nil {
		return wrongField(err, "ref", "it leads to no commit")
	}
	f.commit = strings.TrimSpace(string(out))
	// git takes a history for whole that ends where the server's does.
	if err := f.local(ctx, "rev-list", "--quiet", f.commit, "--not", "--all", "--").Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return wrongURL(err, "its history is not whole: it is a shallow copy (git fetch --unshallow makes it whole)")
	}
	return nil
}

// local runs git on the repository with what was brought.
func (f *fetch) local(ctx context.Context, args ...string) *exec.Cmd {
	cmd := f.s.gitWith(ctx, f.dir, f.config, args...)
	cmd.Env = append(cmd.Env, f.env()...)
	return cmd
}

func (f *fetch) env() []string {
	return []string{"GIT_OBJECT_DIRECTORY=" + f.apart, "GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(f.dir, "objects")}
}

// ask runs git with a way to the relay, and ends all that git started when ctx
// ends.
func (f *fetch) ask(ctx context.Context, args ...string) (string, error) {
	cmd := f.local(ctx, args...)
	cmd.Env = append(cmd.Env, "GIT_ALLOW_PROTOCOL=http")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, said head // the server has a word in both
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	switch why := f.relay.failure(); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case why != nil:
		f.s.Log.InfoContext(ctx, "a fetch failed", "repository", f.repo, "error", why)
		return "", why
	case err != nil:
		f.s.Log.InfoContext(ctx, "a fetch failed", "repository", f.repo, "error", err, "said", string(said))
		if strings.Contains(string(said), "not our ref") {
			return "", wrongField(err, "ref", "the repository has no such commit")
		}
		return "", wrongURL(err, "git does not accept what the server sent: the repository may be damaged")
	}
	return string(out), nil
}

// head keeps the beginning of what is written.
type head []byte

// Write implements io.Writer.
func (h *head) Write(b []byte) (int, error) {
	*h = append(*h, b[:min(len(b), 16<<10-len(*h))]...)
	return len(b), nil
}

var wholeID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// find asks the server what the ref is now.
func (f *fetch) find(ctx context.Context) (id string, err error) {
	ref := f.in.Ref
	names := []string{"refs/heads/" + ref, "refs/tags/" + ref}
	if ref == "" {
		names = []string{"HEAD"}
	}
	out, err := f.ask(ctx, append([]string{"ls-remote", "--symref", "from"}, names...)...)
	if err != nil {
		return "", err
	}
	found := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		value, name, _ := strings.Cut(line, "\t")
		if head, ok := strings.CutPrefix(value, "ref: refs/heads/"); ok && name == "HEAD" && ref == "" {
			f.branch = head
		} else if wholeID.MatchString(value) {
			found[name] = value
		}
	}
	for _, name := range names {
		if found[name] == "" {
			continue
		}
		if b, ok := strings.CutPrefix(name, "refs/heads/"); ok {
			f.branch = b
		}
		return found[name], nil
	}
	switch {
	case wholeID.MatchString(ref):
		return ref, nil
	case ref == "":
		return "", wrongURL(nil, "the repository has no commit yet")
	}
	return "", wrongField(nil, "ref", "the repository has no branch or tag of this name; a commit is named by all 40 digits")
}

// land puts what was brought on the deploy branch.
func (f *fetch) land(ctx context.Context) (Push, error) {
	wait, cancel := context.WithTimeout(ctx, cmp.Or(f.s.Wait, 30*time.Second))
	defer cancel()
	unlock, err := f.s.lock(wait, f.repo, io.Discard)
	if err != nil {
		if ctx.Err() != nil {
			return Push{}, ctx.Err()
		}
		return Push{}, errs.Conflict("a push is being deployed: fetch again when it has ended")
	}
	defer unlock()
	if f.in.Keep != nil {
		if err := f.in.Keep(ctx); err != nil {
			return Push{}, err
		}
	}
	u := update{new: f.commit, ref: "refs/heads/main"}
	if f.branch == "master" {
		u.ref = "refs/heads/master"
	}
	branch := f.s.deployBranch(ctx, f.dir, []update{u})
	u.ref = "refs/heads/" + branch
	if old, err := f.s.git(ctx, f.dir, "rev-parse", "--verify", "--quiet", u.ref).Output(); err == nil {
		u.old = strings.TrimSpace(string(old))
	}
	push := Push{Branch: branch, Commit: f.commit, server: f.s, dir: f.dir, env: f.env()}
	if err := f.s.describe(ctx, &push, u); err != nil {
		return Push{}, err
	}
	push.env = nil
	if push.Forced && !f.in.Replace {
		return Push{}, errs.Conflict("the app has commits that the other repository does not lead to: push them there first, or replace %s; the commits that it has then stay on the branch %s", branch, replaced(push.Old))
	}
	if err := f.keep(); err != nil {
		return Push{}, err
	}
	return push, f.move(ctx, push, u)
}

// replaced is the branch that keeps what another history took the place of.
func replaced(commit string) string { return "replaced-" + commit[:10] }

// keep moves the pack to the repository's others: its index last, which is what
// makes git see it.
func (f *fetch) keep() error {
	packs, err := filepath.Glob(filepath.Join(f.apart, "pack", "pack-*.*"))
	if err != nil || len(packs) == 0 { // the repository had it all
		return err
	}
	to := filepath.Join(f.dir, "objects", "pack")
	slices.SortFunc(packs, func(a, b string) int { return indexLast(a) - indexLast(b) })
	for _, p := range packs {
		switch filepath.Ext(p) {
		case ".pack", ".rev", ".idx":
			if err := os.Rename(p, filepath.Join(to, filepath.Base(p))); err != nil {
				return err
			}
		}
	}
	return nil
}

func indexLast(path string) int {
	if filepath.Ext(path) == ".idx" {
		return 1
	}
	return 0
}

// move moves the branch, and only from where it was seen.
func (f *fetch) move(ctx context.Context, push Push, u update) error {
	var moves strings.Builder
	if push.Forced {
		moves.WriteString("update refs/heads/" + replaced(push.Old) + " " + push.Old + "\n")
	}
	old := u.old
	if old == "" {
		old = strings.Repeat("0", len(u.new))
	}
	moves.WriteString("update " + u.ref + " " + u.new + " " + old + "\n")
	cmd := f.s.git(ctx, f.dir, "update-ref", "--stdin")
	cmd.Stdin = strings.NewReader(moves.String())
	if _, err := cmd.Output(); err != nil {
		return gitFailed(err)
	}
	return f.s.git(ctx, f.dir, "symbolic-ref", "HEAD", u.ref).Run() // what a clone checks out
}
