package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

func (p *program) appsCommand() *cobra.Command {
	return group("apps", "Create, list, share and delete apps",
		p.appsCreate(), p.appsList(), p.appsInfo(), p.appsExists(), p.appsUpdate(), p.appsDelete(), p.appsUpstream(),
		p.appsUsage(), p.appsTransfer(), p.appsShare(), p.appsUnshare(), p.appsGrants(), p.appsAccess(), p.appsThumbnail())
}

// newKey makes repeating a request after a broken connection harmless.
func newKey() string { return secret.Random(16).Reveal() }

func (p *program) showApp(a *client.App) error {
	return p.print(a, func() {
		release := ""
		if a.Current > 0 {
			release = fmt.Sprintf("v%d", a.Current)
		}
		upstream := ""
		if a.Upstream != nil {
			upstream = a.Upstream.URL
		}
		p.pairs([2]string{"Name", a.Name}, [2]string{"Title", a.Title}, [2]string{"Description", a.Description},
			[2]string{"State", string(a.State)}, [2]string{"Release", release}, [2]string{"Owner", a.OwnerName}, [2]string{"Access", string(a.Access)},
			[2]string{"Isolated", yes(a.Isolated)}, [2]string{"In Portal", yes(a.InPortal)},
			[2]string{"Tags", strings.Join(a.Tags, ", ")}, [2]string{"Contact", a.Contact}, [2]string{"Health path", a.HealthPath},
			[2]string{"Created", when(a.Created)}, [2]string{"URL", a.URL}, [2]string{"Git remote", a.Git}, [2]string{"Git over SSH", a.SSH}, [2]string{"Fetched from", upstream})
	})
}

func (p *program) appsCreate() *cobra.Command {
	var in client.CreateApp
	var template string
	var git upstreamFlags
	c := &cobra.Command{
		Use: "create NAME", Short: "Make an app", Args: wants(1, 1),
		Long: `Make an app without files yet, or with those of a template or of a git repository
elsewhere, which are deployed at once. Pushing with git makes an app by itself.`,
		Example: examples("slipway apps create iris --title 'Iris explorer'", "slipway apps create waves --template dash",
			"slipway apps create iris --git https://github.com/me/iris", "slipway apps create iris --git https://gitlab.example.com/team/iris --ref v2 --git-token-file token.txt"),
		RunE: func(c *cobra.Command, args []string) error {
			in.Name = args[0]
			if git.URL != "" && template != "" {
				return usagef("--git and --template exclude each other")
			}
			if git.URL == "" && git != (upstreamFlags{}) {
				return usagef("--ref, --git-user and --git-token-file go with --git")
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if template != "" {
				return p.createFrom(c.Context(), api, in, template)
			}
			if git.URL != "" {
				return p.createUpstream(c.Context(), api, in, git)
			}
			a, err := api.CreateApp(c.Context(), in, newKey())
			if err != nil {
				return err
			}
			return p.showApp(a)
		},
	}
	c.Flags().StringVar(&template, "template", "", "begin with a template: see slipway templates")
	git.add(c)
	c.Flags().StringVar(&in.Title, "title", "", "what people see")
	c.Flags().StringVar(&in.Description, "description", "", "one or two sentences")
	return c
}

func (p *program) appsList() *cobra.Command {
	var f client.AppFilter
	var quiet bool
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the apps that you may see", Args: noArgs,
		Example: examples("slipway apps list", "slipway apps list --owner ada --json"),
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			apps, err := api.Apps(c.Context(), f)
			if err != nil {
				return err
			}
			return p.print(apps, func() {
				if quiet {
					for _, a := range apps {
						fmt.Fprintln(p.Out, a.Name)
					}
					return
				}
				rows := [][]string{}
				for _, a := range apps {
					rows = append(rows, []string{a.Name, string(a.State), a.OwnerName, string(a.Access), a.URL})
				}
				p.table([]string{"NAME", "STATE", "OWNER", "ACCESS", "URL"}, rows)
			})
		},
	}
	c.Flags().StringVar(&f.Query, "query", "", "part of the name or title")
	c.Flags().StringVar(&f.Owner, "owner", "", "user name of the owner")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "names only")
	return c
}

func (p *program) appsInfo() *cobra.Command {
	return &cobra.Command{
		Use: "info APP", Aliases: []string{"show"}, Short: "Show an app", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			a, err := api.App(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.showApp(a)
		},
	}
}

func (p *program) appsExists() *cobra.Command {
	return &cobra.Command{
		Use: "exists APP", Short: "Tell whether there is an app that you may see: exit code 0, else 5", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if _, err := api.App(c.Context(), args[0]); err != nil {
				return err
			}
			return p.print(map[string]bool{"exists": true}, func() { fmt.Fprintln(p.Out, "true") })
		},
	}
}

func (p *program) appsUpdate() *cobra.Command {
	var title, description, access, health, contact, tags string
	var isolated, portal bool
	var rank int
	c := &cobra.Command{
		Use: "update APP", Short: "Change an app's title, access and settings", Args: wants(1, 1),
		Example: examples("slipway apps update iris --access authenticated --portal", "slipway apps update iris --isolated=false"),
	}
	f := c.Flags()
	f.StringVar(&title, "title", "", "what people see")
	f.StringVar(&description, "description", "", "one or two sentences")
	f.StringVar(&access, "access", "", "who may open it: restricted, authenticated or unauthenticated")
	f.BoolVar(&isolated, "isolated", false, "serve it on a host of its own")
	f.BoolVar(&portal, "portal", false, "show it in the Portal")
	f.StringVar(&tags, "tags", "", "words to find it by in the Portal: sales,europe; '' for none")
	f.StringVar(&contact, "contact", "", "whom viewers ask; '' for the owner")
	f.IntVar(&rank, "rank", 0, "place in the Portal, 1 first; 0 = behind those that have one")
	f.StringVar(&health, "health-path", "", "path below the app that is asked whether it is well")
	c.RunE = func(c *cobra.Command, args []string) error {
		var in client.UpdateApp
		level := slipway.Access(access)
		given(f, "title", &in.Title, &title)
		given(f, "description", &in.Description, &description)
		given(f, "access", &in.Access, &level)
		given(f, "isolated", &in.Isolated, &isolated)
		given(f, "portal", &in.InPortal, &portal)
		given(f, "rank", &in.Rank, &rank)
		given(f, "contact", &in.Contact, &contact)
		list := client.ParseTags(tags)
		given(f, "tags", &in.Tags, &list)
		given(f, "health-path", &in.HealthPath, &health)
		if in == (client.UpdateApp{}) {
			return usagef("nothing to change: see %s --help", c.CommandPath())
		}
		api, err := p.connect(c.Context())
		if err != nil {
			return err
		}
		a, err := api.UpdateApp(c.Context(), args[0], in)
		if err != nil {
			return err
		}
		return p.showApp(a)
	}
	return c
}

// given sets a field of a patch when its flag was given.
func given[T any](f *pflag.FlagSet, name string, field **T, value *T) {
	if f.Changed(name) {
		*field = value
	}
}

func (p *program) appsDelete() *cobra.Command {
	var confirm string
	c := &cobra.Command{
		Use: "delete APP", Short: "Delete an app with its releases, variables and repository", Args: wants(1, 1),
		Example: examples("slipway apps delete iris --confirm iris"),
		RunE: func(c *cobra.Command, args []string) error {
			if confirm == "" {
				confirm, _ = p.ask("This deletes the app, its releases, variables and repository. Type its name to go on: ")
			}
			if confirm != args[0] {
				return usagef("not deleted: to delete %s, repeat its name with --confirm %s", args[0], args[0])
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.DeleteApp(c.Context(), args[0], confirm); err != nil {
				return err
			}
			return p.print(map[string]string{"deleted": args[0]}, func() { p.say("Deleted %s.", args[0]) })
		},
	}
	c.Flags().StringVar(&confirm, "confirm", "", "the app's name, once more")
	return c
}

func (p *program) appsTransfer() *cobra.Command {
	return &cobra.Command{
		Use: "transfer APP USER", Short: "Give an app to another owner", Args: wants(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			a, err := api.TransferApp(c.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return p.showApp(a)
		},
	}
}

func (p *program) appsShare() *cobra.Command {
	var role string
	c := &cobra.Command{
		Use: "share APP USER", Short: "Let a person open an app, or own it with you", Args: wants(2, 2),
		Example: examples("slipway apps share iris bob", "slipway apps share iris carol --role co-owner"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.Share(c.Context(), args[0], args[1], slipway.GrantRole(role)); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0], "user": args[1], "role": role}, func() {
				p.say("%s is now %s of %s.", args[1], role, args[0])
			})
		},
	}
	c.Flags().StringVar(&role, "role", string(slipway.GrantViewer), "viewer or co-owner")
	return c
}

func (p *program) appsUnshare() *cobra.Command {
	return &cobra.Command{
		Use: "unshare APP USER", Short: "Take a person's right on an app away", Args: wants(2, 2),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.Unshare(c.Context(), args[0], args[1]); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0], "user": args[1]}, func() { p.say("%s has no right of their own on %s any more.", args[1], args[0]) })
		},
	}
}

func (p *program) appsGrants() *cobra.Command {
	return &cobra.Command{
		Use: "grants APP", Aliases: []string{"users"}, Short: "List who has rights on an app beside its owner", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			grants, err := api.Grants(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(grants, func() {
				rows := [][]string{}
				for _, g := range grants {
					rows = append(rows, []string{g.Name, string(g.Level)})
				}
				p.table([]string{"USER", "ROLE"}, rows)
			})
		},
	}
}

func (p *program) openCommand() *cobra.Command {
	return &cobra.Command{
		Use: "open APP", Short: "Print an app's URL and, on a desktop, open it", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			a, err := api.App(c.Context(), args[0])
			if err != nil {
				return err
			}
			if err := p.print(map[string]string{"url": a.URL}, func() { fmt.Fprintln(p.Out, a.URL) }); err != nil {
				return err
			}
			if _, tty := terminal(p.Out); !tty || p.json || !strings.HasPrefix(a.URL, "http") {
				return nil
			}
			opener := "xdg-open"
			if runtime.GOOS == "darwin" {
				opener = "open"
			} else if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
				return nil
			}
			if err := exec.CommandContext(c.Context(), opener, a.URL).Run(); err != nil {
				return errs.Wrap(err, errs.KindUnavailable, "no browser could be started with %s: open the URL yourself", opener)
			}
			return nil
		},
	}
}

func join[T ~string](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = string(v)
	}
	return strings.Join(s, ", ")
}
