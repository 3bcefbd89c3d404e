package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
)

func (p *program) psCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "ps APP", Short: "Show an app's processes and replicas", Args: wants(1, 1),
		Example: examples("slipway ps iris", "slipway ps scale iris web=3"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Processes(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, pr := range list {
					if len(pr.Instances) == 0 {
						rows = append(rows, []string{pr.Name, "-", "none", "", "", "", "", "", pr.Command})
					}
					for _, r := range pr.Instances {
						state := r.State
						if r.Reason != "" {
							state += " (" + r.Reason + ")"
						}
						rows = append(rows, []string{
							pr.Name, strconv.Itoa(r.Index), state, release(r.Release), when(r.Since),
							strconv.Itoa(r.Restarts), ofCore(r.MilliCPU), megabytes(r.MemoryBytes), pr.Command,
						})
					}
				}
				p.table([]string{"PROCESS", "REPLICA", "STATE", "RELEASE", "SINCE", "RESTARTS", "CPU", "MEMORY", "COMMAND"}, rows)
			})
		},
	}
	c.AddCommand(p.psScale())
	return c
}

func (p *program) appsUsage() *cobra.Command {
	return &cobra.Command{
		Use: "usage APP…", Short: "Show what apps take of the machine now", Args: wants(1, -1),
		Long:    "Show what apps take of the machine now. CPU is in percent of one core.",
		Example: examples("slipway apps usage iris", "slipway apps usage iris sales --json"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			all := []client.UsageNow{}
			for _, name := range args {
				u, err := api.UsageNow(c.Context(), name)
				if err != nil {
					return err
				}
				all = append(all, *u)
			}
			return p.print(all, func() {
				rows := [][]string{}
				for _, u := range all {
					rows = append(rows, []string{u.App, "", "", ofCore(u.MilliCPU), megabytes(u.MemoryBytes), "", ""})
					for _, r := range u.Replicas {
						rows = append(rows, []string{
							"", fmt.Sprintf("%s.%d", r.Process, r.Index), release(r.Release), ofCore(r.MilliCPU),
							megabytes(r.MemoryBytes), megabytes(r.MemoryLimit), strconv.FormatInt(r.PIDs, 10),
						})
					}
				}
				p.table([]string{"APP", "REPLICA", "RELEASE", "CPU", "MEMORY", "LIMIT", "PROCESSES"}, rows)
			})
		},
	}
}

// ofCore is percent of one core.
func ofCore(milliCPU int64) string { return fmt.Sprintf("%d %%", (milliCPU+5)/10) }

func megabytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

func (p *program) psScale() *cobra.Command {
	return &cobra.Command{
		Use: "scale APP PROCESS=N…", Short: "Set how many replicas of a process run", Args: wants(2, -1),
		Example: examples("slipway ps scale iris web=3 worker=1"),
		RunE: func(c *cobra.Command, args []string) error {
			want := map[string]int{}
			for _, a := range args[1:] {
				name, count, ok := strings.Cut(a, "=")
				n, err := strconv.Atoi(count)
				if !ok || name == "" || err != nil || n < 0 {
					return usagef("%q is not like web=3", a)
				}
				want[name] = n
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			for name, n := range want {
				if err := api.Scale(c.Context(), args[0], name, n); err != nil {
					return err
				}
			}
			return p.print(want, func() { p.say("Scaled: %s.", strings.Join(args[1:], ", ")) })
		},
	}
}

// stateCommand pauses or resumes.
func (p *program) stateCommand(use, short, past string, act func(*client.Client, *cobra.Command, string) error) *cobra.Command {
	return &cobra.Command{
		Use: use + " APP", Short: short, Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := act(api, c, args[0]); err != nil {
				return err
			}
			a, err := api.App(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.print(a, func() { p.say("%s is %s.", args[0], past) })
		},
	}
}

func (p *program) pauseCommand() *cobra.Command {
	return p.stateCommand("pause", "Stop all processes of an app; its URL says that it is paused", "paused",
		func(api *client.Client, c *cobra.Command, name string) error { return api.Pause(c.Context(), name) })
}

func (p *program) resumeCommand() *cobra.Command {
	return p.stateCommand("resume", "Start a paused app again", "starting again",
		func(api *client.Client, c *cobra.Command, name string) error { return api.Resume(c.Context(), name) })
}

func (p *program) restartCommand() *cobra.Command {
	var detach bool
	c := &cobra.Command{
		Use: "restart APP", Short: "Replace every replica, new beside old, with today's variables", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			d, err := api.Restart(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.follow(c.Context(), api, d, detach)
		},
	}
	c.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	return c
}

func (p *program) logsCommand() *cobra.Command {
	var q client.LogQuery
	var since string
	var follow bool
	c := &cobra.Command{
		Use: "logs APP", Short: "Show what an app printed", Args: wants(1, 1),
		Example: examples("slipway logs iris", "slipway logs iris -f --process worker", "slipway logs iris --since 10m --json"),
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines, until interrupted")
	c.Flags().StringVar(&q.Process, "process", "", "only this process type")
	c.Flags().StringVar(&since, "since", "", "not older than 10m, 2h, 1d")
	c.Flags().IntVar(&q.Tail, "tail", 200, "the last lines of each replica; 0 = all there are")
	c.RunE = func(c *cobra.Command, args []string) error {
		var err error
		if since != "" {
			if q.Since, err = parseAge(since); err != nil {
				return err
			}
		}
		api, err := p.connect(c.Context())
		if err != nil {
			return err
		}
		if follow {
			return api.FollowLogs(c.Context(), args[0], q, p.logLine)
		}
		lines, err := api.Logs(c.Context(), args[0], q)
		if err != nil {
			return err
		}
		for _, l := range lines {
			if err := p.logLine(l); err != nil {
				return err
			}
		}
		return nil
	}
	return c
}

func (p *program) logLine(l client.LogLine) error {
	if p.json {
		return p.line(l)
	}
	_, err := fmt.Fprintf(p.Out, "%s %s.%d | %s\n", l.Time.Local().Format("01-02 15:04:05"), l.Process, l.Replica, clean(l.Text))
	return err
}
