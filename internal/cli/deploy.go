package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/ignore"
)

type deployOptions struct {
	name, message string
	yes, detach   bool
	git           upstreamFlags
	fetch         bool // from the remembered upstream
	replace       bool
}

func (p *program) deployCommand() *cobra.Command {
	var o deployOptions
	c := &cobra.Command{
		Use: "deploy [PATH]", Short: "Deploy a folder, or what is in a git repository elsewhere", Args: wants(0, 1),
		Long: `Upload a folder's files, build and start them, and put them before the viewers.
What .gitignore names is left out, and so are .git, .venv and the like. The steps
are shown as they happen; the deploy goes on when this command is interrupted.
The exit code is 9 when it did not go live: the old release then still serves.

With --git the platform fetches the code from a git repository that it reaches with
HTTPS, and remembers it; with --fetch it fetches what is newest there now. The
commits come into the app's own repository, as a push would bring them. Where they
do not lead on from those that the app has, nothing is done without --replace.`,
		Example: examples("slipway deploy", "slipway deploy ./iris --name iris --message 'new colours'", "slipway deploy --name iris -y --json",
			"slipway deploy --git https://github.com/me/iris -y", "slipway deploy --name iris --fetch"),
		RunE: func(c *cobra.Command, args []string) error {
			if o.git.URL != "" || o.fetch {
				if len(args) == 1 || o.message != "" || o.git.URL != "" && o.fetch {
					return usagef("--git, --fetch and a folder exclude each other, and commits bring messages of their own")
				}
				if o.git.URL == "" && (o.git.User != "" || o.git.tokenFile != "") {
					return usagef("--git-user and --git-token-file go with --git")
				}
				return p.deployGit(c.Context(), o)
			}
			if o.git != (upstreamFlags{}) || o.replace {
				return usagef("--ref, --git-user, --git-token-file and --replace go with --git or --fetch")
			}
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return p.deploy(c.Context(), dir, o)
		},
	}
	c.Flags().StringVarP(&o.name, "name", "n", "", "the app (default: the folder's name)")
	o.git.add(c)
	c.Flags().BoolVar(&o.fetch, "fetch", false, "fetch from the git repository that the app was fetched from before")
	c.Flags().BoolVar(&o.replace, "replace", false, "take the place of the app's commits; those stay on a branch of their own")
	c.Flags().StringVarP(&o.message, "message", "m", "", "what changed")
	c.Flags().BoolVarP(&o.yes, "yes", "y", false, "make the app when there is none, without asking")
	c.Flags().BoolVar(&o.detach, "detach", false, "do not wait for the end")
	return c
}

func (p *program) deploy(ctx context.Context, dir string, o deployOptions) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return errs.Wrap(err, errs.KindInvalid, "%s is no folder", dir)
	}
	if o.name == "" {
		o.name = filepath.Base(dir)
	}
	if o.name, err = slipway.ParseAppName(o.name); err != nil {
		return err
	}
	api, err := p.connect(ctx)
	if err != nil {
		return err
	}
	if err := p.ensureApp(ctx, api, o); err != nil {
		return err
	}
	d, err := upload(ctx, api, dir, o)
	if err != nil {
		return err
	}
	return p.follow(ctx, api, d, o.detach)
}

// ensureApp makes the app when there is none and the person wants it.
func (p *program) ensureApp(ctx context.Context, api *client.Client, o deployOptions) error {
	_, err := api.App(ctx, o.name)
	if !errs.Is(err, errs.KindNotFound) {
		return err
	}
	if !o.yes {
		answer, asked := p.ask(fmt.Sprintf("There is no app named %s yet. Make it? [y/N] ", o.name))
		switch {
		case !asked:
			return errs.NotFound("no app named %q: make it with `slipway apps create %s`, or give -y", o.name, o.name)
		case !strings.HasPrefix(strings.ToLower(answer), "y"):
			return errs.NotFound("no app named %q, and none was made", o.name)
		}
	}
	_, err = api.CreateApp(ctx, client.CreateApp{Name: o.name}, newKey())
	return err
}

// upload packs the folder while it is sent, so that its size does not matter.
func upload(ctx context.Context, api *client.Client, dir string, o deployOptions) (*slipway.Deploy, error) {
	r, w := io.Pipe()
	var d *slipway.Deploy
	err := loop.Run(ctx,
		func(ctx context.Context) error {
			err := ignore.Tar(ctx, dir, w)
			w.CloseWithError(err)
			if errors.Is(err, io.ErrClosedPipe) {
				return nil // the answer came before the end of the body, and says why
			}
			return err
		},
		func(ctx context.Context) error {
			var err error
			d, err = api.Deploy(ctx, o.name, client.Upload{Tar: r, Message: o.message, Key: newKey()})
			// An answer before the end of the body means that the rest is not wanted.
			r.CloseWithError(err)
			return err
		})
	return d, err
}

// follow shows a deploy until its end.
func (p *program) follow(ctx context.Context, api *client.Client, d *slipway.Deploy, detach bool) error {
	if detach {
		return p.print(d, func() { p.say("Deploy %s has begun: slipway deploys show %s", d.ID, d.ID) })
	}
	view := deployView{p: p}
	if _, tty := terminal(p.Err); tty && !p.json {
		view.live = true
	}
	final, err := api.FollowDeploy(ctx, d.ID, func(e client.DeployEvent) error {
		if p.json {
			return p.line(e)
		}
		view.event(e)
		return nil
	})
	view.clear()
	if err != nil {
		if ctx.Err() != nil {
			p.say("The deploy goes on: slipway deploys show %s", d.ID)
		}
		return err
	}
	return p.ended(ctx, api, final)
}

// ended tells how a deploy ended.
func (p *program) ended(ctx context.Context, api *client.Client, d *slipway.Deploy) error {
	if d.State == slipway.DeployLive {
		if p.json {
			return nil
		}
		a, err := api.App(ctx, d.AppName)
		if err != nil {
			return err
		}
		p.say("v%d is live.", d.Release)
		fmt.Fprintln(p.Out, a.URL)
		return nil
	}
	if !p.json {
		p.say("The deploy %s: %s", strings.ReplaceAll(string(d.State), "_", " "), cleanLines(d.Reason))
	}
	return errDeployFailed
}

// deployView writes a deploy's events for people, on the error stream.
type deployView struct {
	p    *program
	live bool // a terminal, on which the running step is shown
	open bool // a running step is on the last line
}

func (v *deployView) clear() {
	if v.open {
		fmt.Fprint(v.p.Err, "\r\033[K")
		v.open = false
	}
}

func (v *deployView) event(e client.DeployEvent) {
	v.clear()
	switch s := e.Step; {
	case e.Line != "":
		v.p.say("      %s", clean(e.Line))
	case s == nil:
	case s.State == slipway.StepRunning:
		if v.live {
			fmt.Fprintf(v.p.Err, "  … %-12s %s", s.Name, clean(s.Detail))
			v.open = true
		}
	default:
		mark := "✓"
		if s.State == slipway.StepFailed {
			mark = "✗"
		}
		took := ""
		if s.Ended != nil {
			took = seconds(s.Ended.Sub(s.Started))
		}
		v.p.say("  %s %-12s %7s  %s", mark, s.Name, took, clean(s.Detail))
	}
}

// cleanLines is clean for text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return strings.Join(lines, "\n")
}
