package gitd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// hookScript is git's pre-receive hook. It hands what git tells it to the
// server over an inherited pipe and prints what comes back over another, so it
// needs no program but the shell, and no address.
//
//go:embed pre-receive.sh
var hookScript []byte

// watchLimit ends a push whose deploy nobody ends.
const watchLimit = time.Hour

func (s *Server) writeHook() error {
	if s.hooks != "" {
		return nil
	}
	dir := filepath.Join(s.Root, ".hooks")
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pre-receive"), hookScript, 0o700); err != nil {
		return err
	}
	s.hooks = root
	return nil
}

// receive runs git receive-pack over HTTP. From here on the client's leaving
// ends nothing: a push that is all here is worked off.
func (s *Server) receive(ctx context.Context, w http.ResponseWriter, body io.Reader, repo, dir string) error {
	out := &flusher{w: w}
	out.duplex()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchLimit)
	defer cancel()
	cmd := s.git(ctx, dir, "receive-pack", "--stateless-rpc", ".")
	cmd.Stdin, cmd.Stdout = body, out
	if _, err := s.runReceive(ctx, cmd, repo); err != nil {
		return err
	}
	// A client that still sends would not read why it was refused.
	_, _ = io.Copy(io.Discard, io.LimitReader(body, maxLeftOver))
	return nil
}

// maxLeftOver is what is still read of a push that has failed.
const maxLeftOver = 1 << 30

// runReceive runs a git receive-pack that is connected with its client, and
// decides for its hook. ended is how git ended; err says that it never began.
func (s *Server) runReceive(ctx context.Context, cmd *exec.Cmd, repo string) (ended, err error) {
	fromHook, hookOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer fromHook.Close()
	hookIn, toHook, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, hookOut.Close())
	}
	defer toHook.Close()
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	cmd.ExtraFiles = []*os.File{hookOut, hookIn}
	err = cmd.Start()
	if err := errors.Join(err, hookOut.Close(), hookIn.Close()); err != nil {
		return nil, err
	}
	err = loop.Run(ctx,
		func(context.Context) error {
			if ended = cmd.Wait(); ended != nil {
				s.Log.InfoContext(ctx, "git receive-pack failed", "repository", repo, "error", ended, "said", complaints.String())
			}
			return nil
		},
		func(ctx context.Context) error {
			defer toHook.Close()
			return s.answerHook(ctx, repo, cmd.Dir, fromHook, toHook)
		})
	if err != nil {
		s.Log.ErrorContext(ctx, "a push failed", "repository", repo, "error", err)
	}
	return ended, nil
}

// answerHook waits for the hook, which git may never run, and decides.
func (s *Server) answerHook(ctx context.Context, repo, dir string, from io.Reader, to io.Writer) error {
	lines := bufio.NewScanner(from)
	var env []string
	var updates []update
	for lines.Scan() {
		line := lines.Text()
		if line == "." {
			break
		}
		if strings.HasPrefix(line, "GIT_") {
			if !strings.HasSuffix(line, "=") {
				env = append(env, line)
			}
			continue
		}
		if f := strings.Fields(line); len(f) == 3 {
			updates = append(updates, update{f[0], f[1], f[2]})
		}
	}
	if len(updates) == 0 {
		return lines.Err()
	}
	out := &lineWriter{w: to}
	err := s.judge(ctx, repo, dir, env, updates, out)
	verdict := "ok\n"
	if err != nil {
		if errs.KindOf(err) == errs.KindInternal {
			s.Log.ErrorContext(ctx, "a push failed", "repository", repo, "error", err)
		}
		fmt.Fprintf(out, "%s\n", errs.Message(err))
		verdict = "no\n"
	}
	out.flush()
	_, err = io.WriteString(to, verdict)
	return err
}

// update is one line of a push.
type update struct{ old, new, ref string }

func (u update) deletes() bool { return strings.Trim(u.new, "0") == "" }
func (u update) creates() bool { return strings.Trim(u.old, "0") == "" }

// deploys reports whether it goes to the deploy branch, if there is one.
func (u update) deploys(branch string) bool { return branch != "" && u.ref == "refs/heads/"+branch }

// what returns "branch" or "tag" with its name; anything else has no kind.
func (u update) what() (kind, name string) {
	if tag, ok := strings.CutPrefix(u.ref, "refs/tags/"); ok {
		return "tag", tag
	}
	if branch, ok := strings.CutPrefix(u.ref, "refs/heads/"); ok {
		return "branch", branch
	}
	return "", ""
}

// judge decides on a push: what goes to the deploy branch is received, the
// rest is stored.
func (s *Server) judge(ctx context.Context, repo, dir string, env []string, updates []update, out io.Writer) error {
	unlock, err := s.lock(ctx, repo, out)
	if err != nil {
		return err
	}
	defer unlock()
	deploys := s.deployBranch(ctx, dir, updates)
	var main *update
	for i, u := range updates {
		if err := u.check(repo, deploys); err != nil {
			return err
		}
		if u.deploys(deploys) {
			main = &updates[i]
		}
	}
	push := Push{Branch: deploys, server: s, dir: dir, env: env}
	if main != nil {
		push.Commit = main.new
		if err := s.describe(ctx, &push, *main); err != nil {
			return err
		}
	}
	if err := s.Keep(ctx, repo, out); err != nil {
		return err
	}
	tellStored(out, updates, deploys)
	if main == nil {
		return nil
	}
	if push.Forced {
		fmt.Fprintf(out, "%s is rewritten: the commits that it had are no longer on it\n", deploys)
	}
	if err := s.Receive(ctx, repo, push, out); err != nil {
		return err
	}
	// What a clone checks out.
	return s.git(ctx, dir, "symbolic-ref", "HEAD", "refs/heads/"+deploys).Run()
}

// check refuses what no repository takes.
func (u update) check(repo, deploys string) error {
	if kind, _ := u.what(); kind == "" {
		return errs.Invalid("%s is neither a branch nor a tag: it is not accepted", u.ref)
	}
	if u.deploys(deploys) && u.deletes() {
		return errs.Denied("%s is what the app runs from and cannot be deleted: to delete the app, use slipway apps delete %s", deploys, repo)
	}
	return nil
}

// tellStored says what becomes of that which does not deploy.
func tellStored(out io.Writer, updates []update, deploys string) {
	for _, u := range updates {
		kind, name := u.what()
		switch {
		case u.deploys(deploys):
		case u.deletes():
			fmt.Fprintf(out, "%s %s deleted\n", kind, name)
		case deploys == "":
			fmt.Fprintf(out, "%s %s is stored, not deployed: push it to main to deploy it (git push REMOTE %s:main)\n", kind, name, name)
		default:
			fmt.Fprintf(out, "%s %s is stored, not deployed: only %s deploys (git push REMOTE %s:%s)\n", kind, name, deploys, name, deploys)
		}
	}
}

// deployBranch is main or master: the one that deployed before, else the one
// that is pushed now. Empty when neither is.
func (s *Server) deployBranch(ctx context.Context, dir string, updates []update) string {
	candidates := []string{"main", "master"}
	if head, err := s.git(ctx, dir, "symbolic-ref", "--short", "HEAD").Output(); err == nil {
		if h := strings.TrimSpace(string(head)); h == "master" {
			slices.Reverse(candidates)
		}
	}
	for _, b := range candidates {
		if s.git(ctx, dir, "show-ref", "--verify", "--quiet", "refs/heads/"+b).Run() == nil {
			return b
		}
	}
	for _, b := range candidates {
		if slices.ContainsFunc(updates, func(u update) bool { return u.ref == "refs/heads/"+b && !u.deletes() }) {
			return b
		}
	}
	return ""
}

func (s *Server) describe(ctx context.Context, p *Push, u update) error {
	if kind, err := p.git(ctx, "cat-file", "-t", u.new).Output(); err != nil || strings.TrimSpace(string(kind)) != "commit" {
		return errs.Invalid("%s is no commit: push a branch", u.new)
	}
	// Not show: it compares all files, also to show nothing of them.
	subject, err := beginning(p.git(ctx, "log", "--no-walk", "--format=%s", u.new), maxSubject)
	if err != nil {
		return gitFailed(err)
	}
	p.Subject = strings.TrimSpace(strings.ToValidUTF8(string(subject), "�"))
	if !u.creates() {
		p.Old = u.old
		p.Forced = p.git(ctx, "merge-base", "--is-ancestor", u.old, u.new).Run() != nil
	}
	return nil
}

// maxSubject is how many bytes of a commit's subject are kept: it may have any
// number.
const maxSubject = 2000

// beginning runs a git program and returns what it writes first: a small
// repository may have it write without end. What is longer ends it.
func beginning(cmd *exec.Cmd, most int64) ([]byte, error) {
	var said head
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(out, most))
	_ = out.Close()
	ended := cmd.Wait()
	if err == nil && int64(len(text)) < most && ended != nil {
		err = fmt.Errorf("%w: %s", ended, said)
	}
	return text, err
}

// Push is what was pushed to the deploy branch.
type Push struct {
	Branch  string
	Commit  string
	Old     string // the commit before; empty for the first
	Subject string // of the commit's message
	Forced  bool   // history was rewritten

	server *Server
	dir    string
	env    []string // shows git the objects that are not accepted yet
}

func (p Push) git(ctx context.Context, args ...string) *exec.Cmd {
	cmd := p.server.git(ctx, p.dir, args...)
	cmd.Env = append(cmd.Env, p.env...)
	return cmd
}

const (
	// maxListed is how many bytes of a commit's list of files are looked at: trees
	// that are in each other many times over make a list without end.
	maxListed     = 32 << 20
	maxSubmodules = 20 // and of the path of each
	maxPath       = 250
)

// Submodules lists the paths whose files are in other repositories, though not
// more than a few: they are in no archive. It works during Receive only.
func (p Push) Submodules(ctx context.Context) ([]string, error) {
	out, err := beginning(p.git(ctx, "ls-tree", "-r", "-z", p.Commit), maxListed)
	if err != nil {
		return nil, gitFailed(err)
	}
	var paths []string
	for entry := range strings.SplitSeq(string(out), "\x00") {
		what, path, _ := strings.Cut(entry, "\t")
		if strings.HasPrefix(what, "160000 ") && len(paths) < maxSubmodules {
			paths = append(paths, strings.ToValidUTF8(path[:min(len(path), maxPath)], "�"))
		}
	}
	return paths, nil
}

// Archive streams the pushed files as tar. It works during Receive only.
func (p Push) Archive(ctx context.Context) (io.ReadCloser, error) {
	cmd := p.git(ctx, "archive", "--format=tar", p.Commit)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a := &archive{ReadCloser: out, cmd: cmd}
	cmd.Stderr = &a.said
	return a, cmd.Start()
}

type archive struct {
	io.ReadCloser
	cmd  *exec.Cmd // nil once it was waited for
	said bytes.Buffer
}

// Read tells whether git came to its end: tar cannot, when that is between two files.
func (a *archive) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	if errors.Is(err, io.EOF) && a.cmd != nil {
		cmd := a.cmd
		a.cmd = nil
		var exit *exec.ExitError
		if failed := cmd.Wait(); errors.As(failed, &exit) {
			return n, errs.Exhausted("git could not read all files of the push: %s", cmp.Or(strings.TrimSpace(a.said.String()), exit.String()))
		} else if failed != nil { // it was ended: that says nothing of the push
			return n, failed
		}
	}
	return n, err
}

// Close ends git; stopping early is no error.
func (a *archive) Close() error {
	_ = a.ReadCloser.Close()
	if a.cmd != nil {
		_ = a.cmd.Wait()
	}
	return nil
}

// lineWriter sends whole lines to the hook, each marked as one to show. When
// the hook is gone it forgets them.
type lineWriter struct {
	w   io.Writer
	buf []byte
}

func (l *lineWriter) Write(b []byte) (int, error) {
	l.buf = append(l.buf, b...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 {
			return len(b), nil
		}
		line := strings.ReplaceAll(string(l.buf[:i]), "\r", "")
		l.buf = l.buf[i+1:]
		_, _ = io.WriteString(l.w, "="+line+"\n")
	}
}

func (l *lineWriter) flush() {
	if len(l.buf) > 0 {
		_, _ = l.Write([]byte("\n"))
	}
}

// lock is held by one push of a repository at a time.
type lock struct {
	held  chan struct{}
	users int
}

func (s *Server) lock(ctx context.Context, repo string, out io.Writer) (unlock func(), err error) {
	s.mu.Lock()
	if s.locks == nil {
		s.locks = map[string]*lock{}
	}
	l := s.locks[repo]
	if l == nil {
		l = &lock{held: make(chan struct{}, 1)}
		s.locks[repo] = l
	}
	l.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.locks, repo)
		}
	}
	select {
	case l.held <- struct{}{}:
	default:
		fmt.Fprintln(out, "waiting for the push before this one")
		select {
		case l.held <- struct{}{}:
		case <-ctx.Done():
			leave()
			return nil, ctx.Err()
		}
	}
	return func() { <-l.held; leave() }, nil
}
