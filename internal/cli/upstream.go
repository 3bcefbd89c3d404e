package cli

import (
	"context"
	"io"
	"os"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

// upstreamFlags name a git repository elsewhere.
type upstreamFlags struct {
	slipway.Upstream
	tokenFile string
}

func (u *upstreamFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&u.URL, "git", "", "fetch the code from this git repository: https://host/path")
	f.StringVar(&u.Ref, "ref", "", "branch, tag or whole commit id (default: the repository's default branch)")
	f.StringVar(&u.User, "git-user", "", "user name that goes with the token (default: any)")
	f.StringVar(&u.tokenFile, "git-token-file", "", "file with an access token for a private repository; - for the standard input")
}

// read checks the flags and reads the token, before anything is made.
func (u *upstreamFlags) read(in io.Reader) (client.SetUpstream, error) {
	var err error
	if u.Upstream, err = slipway.ParseUpstream(u.Upstream); err != nil {
		return client.SetUpstream{}, err
	}
	out := client.SetUpstream{URL: u.URL, Ref: u.Ref, User: u.User}
	if u.tokenFile == "" {
		return out, nil
	}
	var token string
	if u.tokenFile == "-" {
		token, err = readLine(in)
	} else {
		var text []byte
		text, err = os.ReadFile(u.tokenFile)
		token = string(text)
	}
	if token = strings.TrimSpace(token); err != nil || token == "" {
		return out, errs.Wrap(err, errs.KindInvalid, "--git-token-file: %s holds no token", u.tokenFile)
	}
	out.Token = &token
	return out, nil
}

// appName makes a name for an app of the repository's.
func (u *upstreamFlags) appName() string {
	return strings.ToLower(strings.TrimSuffix(path.Base(u.URL), ".git"))
}

// createUpstream makes an app and deploys what is in a repository.
func (p *program) createUpstream(ctx context.Context, api *client.Client, in client.CreateApp, u upstreamFlags) error {
	up, err := u.read(p.In)
	if err != nil {
		return err
	}
	a, err := api.CreateApp(ctx, in, newKey())
	if err != nil {
		return err
	}
	err = p.deployUpstream(ctx, api, a.Name, &up, client.FetchUpstream{}, false)
	if errs.Is(err, errs.KindInvalid) {
		p.say("The app %s is made, but has no code yet. To try again: slipway deploy --name %s --git URL", a.Name, a.Name)
	}
	return err
}

// deployUpstream fetches and deploys; up, which may be nil, is remembered first.
func (p *program) deployUpstream(ctx context.Context, api *client.Client, app string, up *client.SetUpstream, in client.FetchUpstream, detach bool) error {
	if up != nil {
		if _, err := api.SetUpstream(ctx, app, *up); err != nil {
			return err
		}
	}
	p.say("Fetching …")
	d, err := api.DeployUpstream(ctx, app, in, newKey())
	if errs.Is(err, errs.KindConflict) && !in.Replace {
		p.say("To replace what the app has: slipway deploy --name %s --fetch --replace", app)
	}
	if err != nil {
		return err
	}
	return p.follow(ctx, api, d, detach)
}

// deployGit is `slipway deploy` with --git or --fetch.
func (p *program) deployGit(ctx context.Context, o deployOptions) error {
	var up *client.SetUpstream
	in := client.FetchUpstream{Replace: o.replace}
	if o.git.URL != "" {
		set, err := o.git.read(p.In)
		if err != nil {
			return err
		}
		up = &set
		if o.name == "" {
			o.name = o.git.appName()
		}
	} else {
		in.Ref = o.git.Ref
	}
	if o.name == "" {
		return usagef("which app? Give --name")
	}
	var err error
	if o.name, err = slipway.ParseAppName(o.name); err != nil {
		return err
	}
	api, err := p.connect(ctx)
	if err != nil {
		return err
	}
	if up != nil {
		if err := p.ensureApp(ctx, api, o); err != nil {
			return err
		}
	}
	return p.deployUpstream(ctx, api, o.name, up, in, o.detach)
}

func (p *program) appsUpstream() *cobra.Command {
	var u upstreamFlags
	var remove bool
	c := &cobra.Command{
		Use: "upstream APP", Short: "Show, set or remove the git repository that an app is fetched from", Args: wants(1, 1),
		Long: `Show the git repository that an app's code is fetched from; with --git set it,
with --remove forget it and its token. Nothing is fetched: slipway deploy --fetch
does that. A token is kept as long as the address and the user name stay the same.`,
		Example: examples("slipway apps upstream iris", "slipway apps upstream iris --git https://github.com/me/iris --ref main",
			"slipway apps upstream iris --git https://gitlab.example.com/team/iris --git-token-file token.txt", "slipway apps upstream iris --remove"),
	}
	u.add(c)
	c.Flags().BoolVar(&remove, "remove", false, "forget the repository and its token")
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, args []string) error {
		if u.URL == "" && (u.Ref != "" || u.User != "" || u.tokenFile != "") {
			return usagef("--ref, --git-user and --git-token-file go with --git")
		}
		switch {
		case remove && u.URL != "":
			return usagef("--git and --remove exclude each other")
		case remove:
			if err := api.RemoveUpstream(c.Context(), args[0]); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0]}, func() { p.say("%s is fetched from nowhere any more.", args[0]) })
		case u.URL != "":
			up, err := u.read(p.In)
			if err != nil {
				return err
			}
			got, err := api.SetUpstream(c.Context(), args[0], up)
			if err != nil {
				return err
			}
			return p.showUpstream(*got)
		}
		a, err := api.App(c.Context(), args[0])
		if err != nil {
			return err
		}
		if a.Upstream == nil {
			return errs.NotFound("%s has no git repository that it is fetched from, or not one that you may see: set it with --git", args[0])
		}
		return p.showUpstream(*a.Upstream)
	})
	return c
}

func (p *program) showUpstream(u slipway.Upstream) error {
	return p.print(u, func() {
		p.pairs([2]string{"Git", u.URL}, [2]string{"Ref", u.Ref}, [2]string{"User", u.User}, [2]string{"Token", yes(u.Token)})
	})
}
