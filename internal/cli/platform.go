package cli

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

// platformCommands are what administrators set and see, beside people.
func (p *program) platformCommands() []*cobra.Command {
	return []*cobra.Command{p.limitsCommand(), p.defaultsCommand(), p.brandingCommand(), p.announceCommand(), p.auditCommand(), p.usageCommand(), p.healthCommand()}
}

func (p *program) limitsCommand() *cobra.Command {
	var in client.UpdateLimits
	c := &cobra.Command{
		Use: "limits", Short: "Show or set the platform's limits", Args: noArgs,
		Long:    "Show the platform's limits and what is used. A flag sets a limit; 0 goes back to the default.",
		Example: examples("slipway admin limits", "slipway admin limits --replicas 200 --seats 25"),
	}
	flags := []struct {
		name, what string
		to         **int64
		value      int64
	}{
		{"replicas", "running copies of apps' processes, over all apps", &in.Replicas, 0},
		{"volumes", "persistent folders", &in.Volumes, 0},
		{"memory-mb", "memory of all replicas together, in MiB", &in.Memory, 0},
		{"seats", "people with the role licensed_user", &in.Seats, 0},
		{"process-replicas", "replicas of one process", &in.ProcessReplicas, 0},
		{"replica-memory-mb", "memory of one replica, in MiB", &in.ReplicaMemoryMB, 0},
	}
	for i := range flags {
		c.Flags().Int64Var(&flags[i].value, flags[i].name, 0, flags[i].what)
	}
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		set := false
		for i := range flags {
			if c.Flags().Changed(flags[i].name) {
				*flags[i].to, set = &flags[i].value, true
			}
		}
		var l *client.Limits
		var err error
		if set {
			l, err = api.UpdateLimits(c.Context(), in)
		} else {
			l, err = api.Limits(c.Context())
		}
		if err != nil {
			return err
		}
		return p.print(l, func() { p.showLimits(l) })
	})
	return c
}

func (p *program) showLimits(l *client.Limits) {
	number := func(n int64) string {
		if n == 0 {
			return "no limit"
		}
		return strconv.FormatInt(n, 10)
	}
	rows := [][]string{}
	for _, x := range []struct {
		name string
		client.Limit
	}{
		{"replicas", l.Replicas},
		{"volumes", l.Volumes},
		{"memory (MiB)", l.Memory},
		{"seats", l.Seats},
		{"replicas of a process", l.ProcessReplicas},
		{"memory of a replica (MiB)", l.ReplicaMemoryMB},
	} {
		rows = append(rows, []string{x.name, strconv.FormatInt(x.Used, 10), number(x.Max), number(x.Default), x.State})
	}
	p.table([]string{"LIMIT", "USED", "MAX", "DEFAULT", "STATE"}, rows)
	fmt.Fprintln(p.Out)
	rows = [][]string{}
	for _, u := range l.Frees {
		rows = append(rows, []string{u.App, u.Owner, strconv.FormatInt(u.Replicas, 10), strconv.FormatInt(u.Volumes, 10), strconv.FormatInt(u.MemoryMB, 10), when(u.Opened)})
	}
	p.table([]string{"APP", "OWNER", "REPLICAS", "VOLUMES", "MEMORY (MIB)", "LAST OPENED"}, rows)
}

func (p *program) defaultsCommand() *cobra.Command {
	var access string
	var portal, open bool
	c := &cobra.Command{Use: "defaults", Short: "Show or set what new apps begin with", Args: noArgs}
	f := c.Flags()
	f.StringVar(&access, "access", "", "restricted or authenticated")
	f.BoolVar(&portal, "in-portal", false, "show new apps in the Portal")
	f.BoolVar(&open, "allow-unauthenticated", false, "let apps be open to people who are not signed in")
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		var in client.UpdateDefaults
		level := slipway.Access(access)
		given(f, "access", &in.Access, &level)
		given(f, "in-portal", &in.InPortal, &portal)
		given(f, "allow-unauthenticated", &in.Unauthenticated, &open)
		var d *slipway.Defaults
		var err error
		if in == (client.UpdateDefaults{}) {
			d, err = api.Defaults(c.Context())
		} else {
			d, err = api.UpdateDefaults(c.Context(), in)
		}
		if err != nil {
			return err
		}
		return p.print(d, func() {
			p.pairs([2]string{"Access", string(d.Access)}, [2]string{"In Portal", strconv.FormatBool(d.InPortal)},
				[2]string{"Unauthenticated apps", strconv.FormatBool(d.Unauthenticated)})
		})
	})
	return c
}

func (p *program) brandingCommand() *cobra.Command {
	var name, accent, logo string
	var noLogo bool
	c := &cobra.Command{
		Use: "branding", Short: "Show or set the platform's name, colour and logo", Args: noArgs,
		Example: examples("slipway admin branding --name 'Data at Example' --accent '#0b5fff' --logo logo.png"),
	}
	f := c.Flags()
	f.StringVar(&name, "name", "", "what the platform is called here")
	f.StringVar(&accent, "accent", "", "colour of buttons and links, as #rrggbb; '' for the product's own")
	f.StringVar(&logo, "logo", "", "picture: PNG, JPEG or WebP, at most 256 KiB")
	f.BoolVar(&noLogo, "remove-logo", false, "take the logo away")
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		var in client.UpdateBranding
		given(f, "name", &in.Name, &name)
		given(f, "accent", &in.Accent, &accent)
		if logo != "" || noLogo {
			var data []byte
			if logo != "" {
				var err error
				if data, err = os.ReadFile(logo); err != nil {
					return errs.Wrap(err, errs.KindInvalid, "cannot read %s", logo)
				}
			}
			if err := api.SetLogo(c.Context(), data); err != nil {
				return err
			}
		}
		if in != (client.UpdateBranding{}) {
			if _, err := api.UpdateBranding(c.Context(), in); err != nil {
				return err
			}
		}
		me, err := api.Me(c.Context())
		if err != nil {
			return err
		}
		return p.print(me.Branding, func() {
			p.pairs([2]string{"Name", me.Branding.Name}, [2]string{"Accent", me.Branding.Accent}, [2]string{"Logo", me.Branding.Logo})
		})
	})
	return c
}

func (p *program) announceCommand() *cobra.Command {
	list := &cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List all announcements", Args: noArgs, RunE: p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		all, err := api.Announcements(c.Context())
		if err != nil {
			return err
		}
		return p.print(all, func() {
			rows := [][]string{}
			for _, a := range all {
				rows = append(rows, []string{a.ID, a.Level, a.By, whenPtr(a.From), whenPtr(a.Until), a.Text})
			}
			p.table([]string{"ID", "LEVEL", "BY", "FROM", "UNTIL", "TEXT"}, rows)
		})
	})}
	var in client.CreateAnnouncement
	var last string
	create := &cobra.Command{Use: "create TEXT", Short: "Tell everybody something", Args: wants(1, 1), Example: examples("slipway admin announcements create 'Down at noon' --level warning --for 12h")}
	create.Flags().StringVar(&in.Level, "level", "info", "info or warning")
	create.Flags().StringVar(&last, "for", "", "how long it is shown: 12h, 3d (default: until it is taken back)")
	create.RunE = p.with(func(c *cobra.Command, api *client.Client, args []string) error {
		in.Text = args[0]
		if last != "" {
			age, err := parseAge(last)
			if err != nil {
				return err
			}
			until := time.Now().Add(age).UTC()
			in.Until = &until
		}
		a, err := api.Announce(c.Context(), in, newKey())
		if err != nil {
			return err
		}
		return p.print(a, func() { p.say("Announced as %s.", a.ID) })
	})
	remove := &cobra.Command{Use: "delete ID", Short: "Take an announcement back", Args: wants(1, 1), RunE: p.with(func(c *cobra.Command, api *client.Client, args []string) error {
		if err := api.Withdraw(c.Context(), args[0]); err != nil {
			return err
		}
		return p.print(map[string]string{"deleted": args[0]}, func() { p.say("Taken back.") })
	})}
	return group("announcements", "Tell everybody something", list, create, remove)
}

func (p *program) auditCommand() *cobra.Command {
	var f client.AuditFilter
	var last, export string
	var limit int
	c := &cobra.Command{
		Use: "audit", Short: "Show or export who did what", Args: noArgs,
		Example: examples("slipway admin audit --actor ada --verb app --last 7d", "slipway admin audit --export csv > audit.csv"),
	}
	c.Flags().StringVar(&f.Actor, "actor", "", "user name")
	c.Flags().StringVar(&f.Verb, "verb", "", "such as app.share, or app for all that begin with app.")
	c.Flags().StringVar(&f.Object, "object", "", "name of an app or a person")
	c.Flags().StringVar(&f.Query, "query", "", "part of any field")
	c.Flags().StringVar(&last, "last", "", "how far back: 12h, 30d (default: all)")
	c.Flags().StringVar(&export, "export", "", "write all of it as csv or ndjson, oldest first")
	c.Flags().IntVar(&limit, "limit", 50, "newest lines")
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		if last != "" {
			age, err := parseAge(last)
			if err != nil {
				return err
			}
			f.Since = time.Now().Add(-age)
		}
		if export != "" {
			return api.ExportAudit(c.Context(), f, export, p.Out)
		}
		lines, err := api.Audit(c.Context(), f, limit)
		if err != nil {
			return err
		}
		return p.print(lines, func() {
			rows := [][]string{}
			for _, l := range lines {
				rows = append(rows, []string{when(l.At), l.Actor, l.Addr, l.Verb, l.Object, l.Detail})
			}
			p.table([]string{"TIME", "WHO", "ADDRESS", "DID", "WHAT", "DETAIL"}, rows)
		})
	})
	return c
}

func (p *program) usageCommand() *cobra.Command {
	c := &cobra.Command{Use: "usage", Short: "Show how the platform is used", Args: noArgs, Example: examples("slipway admin usage --last 7d")}
	last, step := spans(c)
	c.RunE = p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		a, b, err := parseSpan(*last, *step)
		if err != nil {
			return err
		}
		u, err := api.Usage(c.Context(), a, b)
		if err != nil {
			return err
		}
		return p.print(u, func() {
			rows := [][]string{}
			for _, x := range u.Apps {
				rows = append(rows, []string{x.App, x.Owner, strconv.FormatInt(x.Requests, 10), percent(x.Errors, x.Requests), strconv.Itoa(x.Viewers), fmt.Sprintf("%.2f", x.CPU), mib(x.Memory), when(x.Opened)})
			}
			p.table([]string{"APP", "OWNER", "REQUESTS", "ERRORS", "VIEWERS", "CPU", "MEMORY", "LAST OPENED"}, rows)
			p.say("%d requests, %d errors, %d viewers; %d apps, %d people.", u.Requests, u.Errors, u.Viewers, u.Total, u.People)
		})
	})
	return c
}

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{Use: "health", Short: "Show how the platform's parts are", Args: noArgs, RunE: p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
		h, err := api.Health(c.Context())
		if err != nil {
			return err
		}
		return p.print(h, func() {
			rows := [][]string{}
			for _, x := range h.Parts {
				rows = append(rows, []string{x.Name, x.State, x.Detail})
			}
			p.table([]string{"PART", "STATE", "DETAIL"}, rows)
		})
	})}
}
