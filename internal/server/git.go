package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/gitd"
	"slipway.dev/slipway/internal/store"
)

// buildWithTools fetches the builder's tools before the first environment:
// they are not needed where every environment is there already.
type buildWithTools struct{ *build.Builder }

func (b buildWithTools) EnvTask(ctx context.Context, p build.Plan, vars []engine.Var) (engine.Task, error) {
	if err := b.PrepareTools(ctx); err != nil {
		return engine.Task{}, err
	}
	return b.Builder.EnvTask(ctx, p, vars)
}

// serveGit tells the git server from where the client comes: it asks for a
// password, and failures are counted by address.
func (c *core) serveGit(w http.ResponseWriter, r *http.Request) {
	ctx := slipway.WithActor(r.Context(), slipway.Actor{Addr: clientAddr(r)})
	c.git.ServeHTTP(w, r.WithContext(ctx))
}

// clientAddr is what the gateway says of where a request comes from.
func clientAddr(r *http.Request) string {
	addr := r.Header.Get("X-Forwarded-For")
	if i := strings.LastIndex(addr, ","); i >= 0 {
		addr = addr[i+1:]
	}
	return strings.TrimSpace(addr)
}

func (c *core) gitServer() (*gitd.Server, error) {
	roots, err := c.cfg.GitRoots()
	return &gitd.Server{
		Root: c.data.Repos(), Log: c.log.With("part", "git"),
		Authenticate: func(ctx context.Context, user, password string) (context.Context, error) {
			a, err := c.people.Password(ctx, user, password, slipway.ActorFrom(ctx).Addr)
			return slipway.WithActor(ctx, a), err
		},
		Authorize: c.mayUseRepo,
		Keep:      c.keepRepo,
		Receive:   c.receive,
		Outside:   c.outside(),
		Roots:     roots,
	}, err
}

// sshServer knows people by their keys, and lets them do what they may over HTTPS.
func (c *core) sshServer() (*gitd.SSH, error) {
	key, err := platform.OpenHostKey(c.data.SSHHostKey())
	if err != nil {
		return nil, err
	}
	s := &gitd.SSH{
		Git: c.git, HostKey: key, Address: c.hosts.SSH(), Log: c.log.With("part", "ssh"), Origin: dial.Origin,
		Person: func(ctx context.Context, fingerprint, addr string, proven bool) (context.Context, string, error) {
			a, err := c.people.BySSHKey(ctx, fingerprint, addr, proven)
			return slipway.WithActor(ctx, a), a.Name(), err
		},
		Refused: c.people.SSHRefused,
	}
	if c.cfg.Engine == platform.EngineKube {
		s.AddrWaiting = 64 // a cluster's balancer may speak for everybody
	}
	return s, nil
}

// sshHost is what people need to know of it.
func (c *core) sshHost() *client.SSHHost {
	if c.ssh == nil {
		return nil
	}
	key := c.ssh.HostKey.PublicKey()
	return &client.SSHHost{
		Address: c.hosts.SSH(), Fingerprint: ssh.FingerprintSHA256(key), KnownHosts: c.hosts.KnownHost(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))),
	}
}

// mayUseRepo lets those who may deploy the app read and push, and whoever may
// make apps push to a name that is free. An app that is there is hidden from
// everybody else, its branches too.
func (c *core) mayUseRepo(ctx context.Context, repo string, write bool) error {
	err := c.apps.MayDeploy(ctx, repo)
	if !errs.Is(err, errs.KindNotFound) || !write {
		return err
	}
	taken := c.db.View(ctx, func(tx *store.Tx) error {
		_, err := tx.AppByName(repo)
		return err
	})
	if !errs.Is(taken, errs.KindNotFound) {
		return errors.Join(err, taken)
	}
	if _, err := slipway.ParseAppName(repo); err != nil {
		return err
	}
	return access.Check(slipway.ActorFrom(ctx), access.CreateApp, access.Platform())
}

// keepRepo makes the app of a first push, also when it deploys nothing: what is
// kept under a name without an app would be the next one's who takes the name.
func (c *core) keepRepo(ctx context.Context, repo string, out io.Writer) error {
	err := c.apps.MayDeploy(ctx, repo)
	if !errs.Is(err, errs.KindNotFound) {
		return err
	}
	if _, err := c.apps.Create(ctx, apps.CreateApp{Name: repo}); err != nil {
		return err
	}
	fmt.Fprintf(out, "Made the app %s.\n", repo)
	return nil
}

// receive makes a deploy of a push and shows how it goes. The deploy goes on
// when nobody watches any more.
func (c *core) receive(ctx context.Context, repo string, push gitd.Push, out io.Writer) error {
	in, err := c.filesOf(ctx, push)
	if err != nil {
		return err
	}
	in.Cause = slipway.CausePush
	d, err := c.apps.Deploy(ctx, repo, in)
	if err != nil {
		return err
	}
	var end slipway.Deploy
	err = c.apps.Follow(ctx, d.ID, func(e apps.Event) error {
		switch {
		case e.Deploy != nil:
			end = *e.Deploy
		case e.Step != nil:
			tellStep(out, *e.Step)
		case e.Line != "":
			fmt.Fprintln(out, "     ", e.Line)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return tellEnd(out, repo, end)
}

// filesOf keeps the files of a commit as a source to deploy.
func (c *core) filesOf(ctx context.Context, push gitd.Push) (apps.DeployInput, error) {
	in := apps.DeployInput{Commit: push.Commit, Message: push.Subject}
	apart, err := push.Submodules(ctx)
	if err != nil {
		return in, err
	}
	if len(apart) > 0 {
		in.Note = fmt.Sprintf("warning: git submodules are not part of a commit's files, so the app gets an empty folder for %s: "+
			"commit the files themselves (git rm --cached PATH, remove PATH/.git, git add PATH), or name a package in the requirements", strings.Join(apart, ", "))
	}
	archive, err := push.Archive(ctx)
	if err != nil {
		return in, err
	}
	in.Source, err = c.build.AddSource(ctx, archive)
	return in, errors.Join(err, archive.Close())
}

// fetch brings an app's upstream into its repository, as a push of it would.
func (c *core) fetch(ctx context.Context, f apps.Fetch) (apps.DeployInput, error) {
	push, err := c.git.Fetch(ctx, f.App, gitd.FetchInput{
		Remote: gitd.Remote{URL: f.URL, Ref: f.Ref, User: f.User, Token: f.Secret}, Replace: f.Replace, Keep: f.Keep,
	})
	if err != nil {
		return apps.DeployInput{}, err
	}
	return c.filesOf(ctx, push)
}

// outside says which git servers may be fetched from: those of the internet, and
// those that the administrator names.
func (c *core) outside() outside.Rule {
	r, _ := outside.ParseAllowed(c.cfg.GitHosts) // checked by Complete
	r.Own = func(host string) bool {
		kind, app := c.hosts.Kind(host)
		return kind != "" || app != ""
	}
	for _, s := range c.cfg.Kube.Shut {
		if n, err := netip.ParsePrefix(s); err == nil {
			r.Shut = append(r.Shut, n)
		}
	}
	return r
}

func tellStep(out io.Writer, s slipway.DeployStep) {
	detail := s.Detail
	if detail != "" {
		detail = ": " + detail
	}
	switch s.State {
	case slipway.StepRunning:
		fmt.Fprintf(out, "→ %s%s\n", s.Name, detail)
	case slipway.StepDone, slipway.StepFailed:
		mark := map[slipway.StepState]string{slipway.StepDone: "✓", slipway.StepFailed: "✗"}[s.State]
		took := ""
		if s.Ended != nil {
			took = fmt.Sprintf(" (%.1f s)", s.Ended.Sub(s.Started).Seconds())
		}
		fmt.Fprintf(out, "%s %s%s%s\n", mark, s.Name, detail, took)
	}
}

func tellEnd(out io.Writer, repo string, d slipway.Deploy) error {
	switch d.State {
	case slipway.DeployLive, slipway.DeployDraining:
		fmt.Fprintf(out, "\nRelease %d of %s is live.\n\n", d.Release, repo) // below its address
		return nil
	case slipway.DeploySuperseded:
		return errs.Conflict("a newer push took over")
	default:
		reason := d.Reason
		if reason == "" {
			reason = "the deploy ended as " + string(d.State)
		}
		return errs.Invalid("%s", reason)
	}
}

// adminHandler serves this machine's administrator.
func (c *core) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /bootstrap", func(w http.ResponseWriter, r *http.Request) {
		var in firstAdmin
		err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&in)
		if err != nil {
			err = errs.Wrap(err, errs.KindInvalid, "this is not JSON with name and password")
		} else {
			_, err = c.people.Bootstrap(r.Context(), in.Name, secret.New(in.Password))
		}
		if err != nil {
			c.adminFailed(w, r, "bootstrap failed", err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /collect", c.collectNow)
	return mux
}

func (c *core) adminFailed(w http.ResponseWriter, r *http.Request, what string, err error) {
	if errs.KindOf(err) == errs.KindInternal {
		c.log.ErrorContext(r.Context(), what, "error", err)
	}
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(wireError{errs.KindOf(err).String(), errs.Message(err), errs.FieldsOf(err)}) // as above
}
