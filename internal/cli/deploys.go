package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
)

func (p *program) deploysCommand() *cobra.Command {
	return group("deploys", "See and cancel deploys", p.deploysList(), p.deploysShow(), p.deploysLog(), p.deploysCancel(), p.deploysRedeploy())
}

func (p *program) deploysList() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "list APP", Aliases: []string{"ls"}, Short: "List an app's deploys, newest first", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Deploys(c.Context(), args[0], limit)
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, d := range list {
					rows = append(rows, []string{string(d.ID), string(d.State), release(d.Release), string(d.Cause), d.By, when(d.Started), d.Message})
				}
				p.table([]string{"ID", "STATE", "RELEASE", "CAUSE", "BY", "STARTED", "MESSAGE"}, rows)
			})
		},
	}
	c.Flags().IntVar(&limit, "limit", 20, "at most so many")
	return c
}

func release(n int) string {
	if n == 0 {
		return "-"
	}
	return "v" + strconv.Itoa(n)
}

func (p *program) deploysShow() *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use: "show DEPLOY", Aliases: []string{"info"}, Short: "Show a deploy with its steps", Args: wants(1, 1),
		Example: examples("slipway deploys show dep_01jexample --follow"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			d, err := api.GetDeploy(c.Context(), slipway.DeployID(args[0]))
			if err != nil {
				return err
			}
			if follow {
				return p.follow(c.Context(), api, d, false)
			}
			return p.print(d, func() { p.showDeploy(d) })
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show what happened and happens, until its end")
	return c
}

func (p *program) showDeploy(d *slipway.Deploy) {
	p.pairs([2]string{"Deploy", string(d.ID)}, [2]string{"App", d.AppName}, [2]string{"State", string(d.State)}, [2]string{"Release", release(d.Release)},
		[2]string{"Cause", string(d.Cause)}, [2]string{"Commit", d.Commit}, [2]string{"Message", d.Message}, [2]string{"By", d.By},
		[2]string{"Started", when(d.Started)}, [2]string{"Ended", whenPtr(d.Ended)})
	if d.Reason != "" {
		fmt.Fprintln(p.Out, "Reason:\n  "+strings.ReplaceAll(cleanLines(d.Reason), "\n", "\n  "))
	}
	if len(d.Steps) == 0 {
		return
	}
	rows := [][]string{}
	for _, s := range d.Steps {
		took := ""
		if s.Ended != nil {
			took = seconds(s.Ended.Sub(s.Started))
		}
		rows = append(rows, []string{s.Name, string(s.State), took, s.Detail})
	}
	fmt.Fprintln(p.Out)
	p.table([]string{"STEP", "STATE", "TIME", "DETAIL"}, rows)
}

func (p *program) deploysCancel() *cobra.Command {
	return &cobra.Command{
		Use: "cancel DEPLOY", Short: "Stop a deploy that has not switched traffic yet", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			d, err := api.CancelDeploy(c.Context(), slipway.DeployID(args[0]))
			if err != nil {
				return err
			}
			return p.print(d, func() { p.say("Asked to stop; it is %s.", d.State) })
		},
	}
}

func (p *program) releasesCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "releases APP", Short: "List an app's releases, newest first", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Releases(c.Context(), args[0], limit)
			if err != nil {
				return err
			}
			if p.json {
				return p.print(list, nil)
			}
			a, err := api.App(c.Context(), args[0])
			if err != nil {
				return err
			}
			rows := [][]string{}
			for _, r := range list {
				current := ""
				if r.N == a.Current {
					current = "current"
				}
				rows = append(rows, []string{release(r.N), current, string(r.Cause), r.CreatedBy, when(r.Created), r.Message})
			}
			p.table([]string{"RELEASE", "", "CAUSE", "BY", "CREATED", "MESSAGE"}, rows)
			return nil
		},
	}
	c.Flags().IntVar(&limit, "limit", 20, "at most so many")
	c.AddCommand(p.releasesCompare())
	return c
}

func (p *program) rollbackCommand() *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use: "rollback APP [RELEASE]", Short: "Go back to an older release", Args: wants(1, 2),
		Long: `Make a new release from an older one's files and environment, with today's
variables, and put it before the viewers. Nothing is built. Without RELEASE it
is the one before the current.`,
		Example: examples("slipway rollback iris", "slipway rollback iris 12"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			n := 0
			if len(args) == 2 {
				if n, err = strconv.Atoi(strings.TrimPrefix(args[1], "v")); err != nil || n < 1 {
					return usagef("%q is no release: give a number such as 12", args[1])
				}
			}
			d, err := api.Rollback(c.Context(), args[0], n)
			if err != nil {
				return err
			}
			return p.follow(c.Context(), api, d, detach)
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	return c
}
