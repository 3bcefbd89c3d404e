package gitd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

// Exit codes of sessions, those of a shell.
const (
	exitFailed    = 1
	exitNoCommand = 127
)

// closeTime is how long a client whose command has ended may take to notice.
const closeTime = 5 * time.Second

// visitor is who has signed in on a connection, known by the key.
type visitor struct {
	*SSH
	g         *loop.Group
	addr, key string
	sessions  atomic.Int32
}

// open answers the wish for a channel. Only sessions are had here: the others
// forward connections, X11 and agents.
func (v *visitor) open(ctx context.Context, ch ssh.NewChannel) {
	switch {
	case ch.ChannelType() != "session":
		_ = ch.Reject(ssh.Prohibited, "only git is served here")
	case v.sessions.Load() >= maxSessions:
		_ = ch.Reject(ssh.ResourceShortage, "too many sessions on one connection")
	default:
		v.sessions.Add(1)
		v.g.Spawn("ssh session", func(base context.Context) error {
			defer v.sessions.Add(-1)
			c, requests, err := ch.Accept()
			if err != nil {
				return nil //nolint:nilerr // the client has gone
			}
			v.session(ctx, base, c, requests)
			_ = c.Close() // it may be closed already
			// It counts until the client has closed it too: each takes memory.
			ssh.DiscardRequests(requests)
			return nil
		})
	}
}

// session waits for the one command of a session, and runs it. ctx ends with
// the connection, base with the server.
func (v *visitor) session(ctx, base context.Context, c ssh.Channel, requests <-chan *ssh.Request) {
	version := ""
	for r := range requests {
		ok, line, begin := v.understand(r, &version)
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		if !begin {
			continue
		}
		if !ok {
			return
		}
		v.g.Spawn("ssh requests", func(context.Context) error { ssh.DiscardRequests(requests); return nil })
		code, sent := v.run(ctx, base, c, line, version)
		_ = c.CloseWrite()
		_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{uint32(code)}))
		if sent != nil {
			select {
			case <-sent:
			case <-time.After(closeTime):
			}
		}
		return
	}
}

// understand reads a request of a session: begin says that it is the one for
// the command, the line, which is empty for a shell. Everything else but git's
// one variable is refused: terminals, agents, X11, subsystems.
func (v *visitor) understand(r *ssh.Request, version *string) (ok bool, line string, begin bool) {
	switch r.Type {
	case "env":
		var env struct{ Name, Value string }
		if ssh.Unmarshal(r.Payload, &env) != nil || env.Name != "GIT_PROTOCOL" {
			return false, "", false
		}
		*version = env.Value // protocol takes what git may see of it
		return true, "", false
	case "exec":
		var command struct{ Line string }
		err := ssh.Unmarshal(r.Payload, &command)
		return err == nil, command.Line, true
	case "shell":
		return true, "", true
	}
	return false, "", false
}

// greet says who was recognised, and that there is nothing but git.
func (v *visitor) greet(ctx context.Context, c ssh.Channel) {
	_, name, err := v.Person(ctx, v.key, v.addr, true)
	text := fmt.Sprintf("Hi %s, your key is known. There is no shell here, git only: git clone %s/APP", name, v.Address)
	if err != nil {
		text = errs.Message(err)
	}
	fmt.Fprintf(c.Stderr(), "%s\r\n", text)
}

// run runs a command, which is one of git's two, or says why not. sent, if any,
// is closed when the client has sent all that it wants to.
func (v *visitor) run(ctx, base context.Context, c ssh.Channel, line, version string) (code int, sent <-chan struct{}) {
	service, name, ok := parseCommand(line)
	if !ok {
		v.greet(ctx, c)
		if line == "" {
			return exitFailed, nil
		}
		return exitNoCommand, nil
	}
	began := time.Now()
	code, sent, err := v.git(ctx, base, c, service, name, version)
	if err != nil {
		if errs.KindOf(err) == errs.KindInternal {
			v.Log.ErrorContext(ctx, "git over SSH failed", "command", service, "error", err)
		}
		// A line of git's own protocol, which it shows as what the remote says.
		text := "ERR " + errs.Message(err)
		fmt.Fprintf(c, "%04x%s", len(text)+4, text)
		code = exitFailed
	}
	v.Log.InfoContext(ctx, "git over SSH", "command", service, "repository", name, "remote", v.addr, "code", code, "took", time.Since(began))
	return code, sent
}

// git lets the person into the repository and runs git there.
func (v *visitor) git(ctx, base context.Context, c ssh.Channel, service, name, version string) (code int, sent <-chan struct{}, err error) {
	if service == receivePack {
		ctx = base // a push goes on when its client has gone
	}
	if ctx, _, err = v.Person(ctx, v.key, v.addr, true); err != nil {
		return 0, nil, err
	}
	repo, err := parseRepo(name)
	if err != nil {
		return 0, nil, err
	}
	dir, err := v.Git.enter(ctx, repo, service)
	if err != nil {
		return 0, nil, err
	}
	if service == receivePack {
		return v.receive(ctx, c, repo, dir)
	}
	code, err = v.upload(ctx, c, dir, version)
	return code, nil, err
}

// command is what git sends. There is no shell to read it: one of two words,
// a blank, and a path in quotes which itself has none.
var command = regexp.MustCompile(`^(` + uploadPack + `|` + receivePack + `) '/?([^'/]{0,100})/?'$`)

// parseCommand reads which service is asked for, and the name of which
// repository, as the client writes it; ok is false for any other command.
func parseCommand(line string) (service, name string, ok bool) {
	m := command.FindStringSubmatch(line)
	if m != nil {
		return m[1], m[2], true
	}
	for _, service := range []string{uploadPack, receivePack} {
		if strings.HasPrefix(line, service+" ") {
			return service, "", true // of a repository that cannot be
		}
	}
	return "", "", false
}

// upload runs git upload-pack, until its client goes.
func (v *visitor) upload(ctx context.Context, c ssh.Channel, dir, version string) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	cmd := v.Git.git(ctx, dir, "upload-pack", ".")
	protocol(cmd, version)
	cmd.Stdout = c
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	v.g.Spawn("ssh input", func(context.Context) error {
		_, _ = io.Copy(in, c)
		return in.Close()
	})
	if err := cmd.Wait(); err != nil && ctx.Err() == nil {
		// git has told the client what it did not like.
		v.Log.DebugContext(ctx, "git upload-pack failed", "dir", dir, "error", err)
		return exitCode(err), nil
	}
	return 0, nil
}

// receive runs git receive-pack, also when its client goes: a push that is all
// here is worked off.
func (v *visitor) receive(ctx context.Context, c ssh.Channel, repo, dir string) (code int, sent <-chan struct{}, err error) {
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	cmd := v.Git.git(ctx, dir, "receive-pack", ".")
	cmd.Stdout = &forgetful{w: c}
	in, err := cmd.StdinPipe()
	if err != nil {
		return 0, nil, err
	}
	all := make(chan struct{})
	v.g.Spawn("ssh input", func(context.Context) error {
		defer close(all)
		_, _ = io.Copy(in, c)
		_ = in.Close()
		// A client that still sends would not read why it was refused.
		_, _ = io.Copy(io.Discard, io.LimitReader(c, maxLeftOver))
		return nil
	})
	ended, err := v.Git.runReceive(ctx, cmd, repo)
	_ = in.Close()
	return exitCode(ended), all, err
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	}
	return exitFailed
}

// forgetful forgets what it gets once the client is gone: what runs goes on.
type forgetful struct {
	w    io.Writer
	gone bool
}

func (f *forgetful) Write(b []byte) (int, error) {
	if !f.gone {
		_, err := f.w.Write(b)
		f.gone = err != nil
	}
	return len(b), nil
}
