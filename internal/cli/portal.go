package cli

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

// with connects and runs fn.
func (p *program) with(fn func(c *cobra.Command, api *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		api, err := p.connect(c.Context())
		if err != nil {
			return err
		}
		return fn(c, api, args)
	}
}

func (p *program) portalCommand() *cobra.Command {
	var f client.PortalFilter
	c := &cobra.Command{
		Use: "portal", Short: "List the apps that you may open, as the Portal does", Args: noArgs,
		Example: examples("slipway portal --tag sales", "slipway portal --recent"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
			list, err := api.Portal(c.Context(), f)
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, a := range list.Items {
					rows = append(rows, []string{a.Name, a.Title, strings.Join(a.Tags, ", "), a.Owner, yes(a.Favourite), whenPtr(a.Opened), a.URL})
				}
				p.table([]string{"NAME", "TITLE", "TAGS", "OWNER", "FAVOURITE", "OPENED", "URL"}, rows)
			})
		}),
	}
	c.Flags().StringVar(&f.Query, "query", "", "words that name, title, description, tags, owner or contact hold")
	c.Flags().StringSliceVar(&f.Tags, "tag", nil, "only apps with this tag; may be given more than once")
	c.Flags().BoolVar(&f.Favourites, "favourites", false, "only your favourites")
	c.Flags().BoolVar(&f.Recent, "recent", false, "only what you have opened, the last opened first")
	star := func(use, short, done string, on bool) *cobra.Command {
		return &cobra.Command{Use: use + " APP", Short: short, Args: wants(1, 1), RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			if err := api.Star(c.Context(), args[0], on); err != nil {
				return err
			}
			return p.print(map[string]any{"app": args[0], "favourite": on}, func() { p.say(done, args[0]) })
		})}
	}
	c.AddCommand(star("star", "Make an app a favourite of yours", "%s is a favourite.", true),
		star("unstar", "Make an app a favourite no more", "%s is a favourite no more.", false))
	return c
}

func (p *program) appsThumbnail() *cobra.Command {
	var remove bool
	c := &cobra.Command{
		Use: "thumbnail APP [FILE]", Short: "Give an app a picture for the Portal", Args: wants(1, 2),
		Long: "Give an app a picture for its card in the Portal: PNG, JPEG or WebP, at most 1 MiB.",
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			var data []byte
			if !remove {
				if len(args) < 2 {
					return usagef("name a picture, or give --remove")
				}
				var err error
				if data, err = os.ReadFile(args[1]); err != nil {
					return errs.Wrap(err, errs.KindInvalid, "cannot read %s", args[1])
				}
			}
			if err := api.SetThumbnail(c.Context(), args[0], data); err != nil {
				return err
			}
			return p.print(map[string]string{"app": args[0]}, func() { p.say("Done.") })
		}),
	}
	c.Flags().BoolVar(&remove, "remove", false, "take the picture away")
	return c
}

func (p *program) appsAccess() *cobra.Command {
	return &cobra.Command{
		Use: "access APP [USER]", Short: "Tell who may open an app and why, or why somebody may not", Args: wants(1, 2),
		Example: examples("slipway apps access iris", "slipway apps access iris bob"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			if len(args) == 2 {
				a, err := api.ExplainAccess(c.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				return p.print(a, func() {
					fmt.Fprintf(p.Out, "%s %s open %s.\n", a.User, map[bool]string{true: "may", false: "may not"}[a.May], args[0])
					for _, l := range append(a.Why, a.Do...) {
						fmt.Fprintln(p.Out, clean(l))
					}
				})
			}
			r, err := api.WhoMayOpen(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(r, func() {
				rows := [][]string{}
				for _, w := range r.People {
					rows = append(rows, []string{w.User, w.FullName, strings.Join(w.Why, ", "), yes(w.Disabled)})
				}
				p.table([]string{"USER", "FULL NAME", "WHY", "DISABLED"}, rows)
				p.say("Others: %s (access level %s).", r.Others, r.Level)
			})
		}),
	}
}

func percent(part, all int64) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", float64(part)*100/float64(all))
}

func mib(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func (p *program) metricsTable(m *client.Metrics) {
	rows := [][]string{}
	for _, x := range m.Points {
		rows = append(rows, []string{
			when(x.At), strconv.FormatInt(x.Requests, 10), percent(x.Errors, x.Requests), fmt.Sprintf("%.0f", x.P50), fmt.Sprintf("%.0f", x.P95),
			strconv.Itoa(x.Viewers), fmt.Sprintf("%.2f", x.CPU), mib(x.Memory),
		})
	}
	p.table([]string{"TIME", "REQUESTS", "ERRORS", "P50 MS", "P95 MS", "VIEWERS", "CPU", "MEMORY"}, rows)
	p.say("%d requests, %d errors, %d viewers.", m.Requests, m.Errors, m.Viewers)
}

// spans are flags for a span of time.
func spans(c *cobra.Command) (last, step *string) {
	last = c.Flags().String("last", "1h", "how far back: 30m, 12h, 7d")
	step = c.Flags().String("step", "", "length of a step: 5m, 1h (default: what gives about 120)")
	return last, step
}

func parseSpan(last, step string) (a, b time.Duration, err error) {
	if a, err = parseAge(last); err == nil && step != "" {
		b, err = parseAge(step)
	}
	return a, b, err
}

func (p *program) metricsCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "metrics APP", Short: "Show an app's requests, latency, errors, viewers, processor and memory", Args: wants(1, 1),
		Example: examples("slipway metrics iris --last 24h"),
	}
	last, step := spans(c)
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, args []string) error {
		a, b, err := parseSpan(*last, *step)
		if err != nil {
			return err
		}
		m, err := api.Metrics(c.Context(), args[0], a, b)
		if err != nil {
			return err
		}
		return p.print(m, func() { p.metricsTable(m) })
	})
	return c
}

func (p *program) releasesCompare() *cobra.Command {
	var with int
	c := &cobra.Command{
		Use: "compare APP RELEASE", Short: "Tell what a release changed", Args: wants(2, 2),
		Long:    "Tell what a release has differently from the one before: commits, dependencies, variables (never their values) and processes.",
		Example: examples("slipway releases compare iris 12 --with 9"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			n, err := strconv.Atoi(strings.TrimPrefix(args[1], "v"))
			if err != nil {
				return usagef("%q is no number of a release", args[1])
			}
			d, err := api.Compare(c.Context(), args[0], n, with)
			if err != nil {
				return err
			}
			return p.print(d, func() {
				rows := [][]string{}
				for _, k := range d.Commits {
					rows = append(rows, []string{"commit", k.ID[:min(10, len(k.ID))], k.Author + ": " + k.Subject, ""})
				}
				for _, part := range []struct {
					name string
					list []client.Difference
				}{{"dependency", d.Dependencies}, {"variable", d.Env}, {"process", d.Processes}} {
					for _, x := range part.list {
						rows = append(rows, []string{part.name, x.Name, x.Change, strings.Trim(x.From+" → "+x.To, " →")})
					}
				}
				p.table([]string{"WHAT", "NAME", "CHANGE", "FROM → TO"}, rows)
			})
		}),
	}
	c.Flags().IntVar(&with, "with", 0, "number of the older release (default: the one before)")
	return c
}

func (p *program) deploysLog() *cobra.Command {
	return &cobra.Command{
		Use: "log DEPLOY", Short: "Print a deploy's log so far", Args: wants(1, 1),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			lines, err := api.DeployLog(c.Context(), slipway.DeployID(args[0]))
			if err != nil {
				return err
			}
			return p.print(lines, func() {
				for _, l := range lines {
					fmt.Fprintf(p.Out, "%s %-13s %s\n", when(l.At), l.Step, clean(l.Text))
				}
			})
		}),
	}
}

func (p *program) deploysRedeploy() *cobra.Command {
	return &cobra.Command{
		Use: "redeploy DEPLOY", Short: "Deploy the files of an earlier deploy again", Args: wants(1, 1),
		RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
			d, err := api.Redeploy(c.Context(), slipway.DeployID(args[0]))
			if err != nil {
				return err
			}
			return p.print(d, func() {
				p.say("Deploy %d of %s began: follow it with slipway deploys follow %s.", d.Seq, d.AppName, d.ID)
			})
		}),
	}
}
