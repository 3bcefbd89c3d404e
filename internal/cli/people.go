package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

func (p *program) tokensCommand() *cobra.Command {
	return group("tokens", "Make and revoke API tokens", p.tokensCreate(), p.tokensList(), p.tokensRevoke())
}

func (p *program) tokensCreate() *cobra.Command {
	var scopes []string
	var expires string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make an API token", Args: wants(1, 1),
		Long: `Make an API token for yourself and print its secret, which is shown this once.
Scopes: read (see), deploy (see, create apps, push, deploy, roll back), all.
With git a token stands for the password.`,
		Example: examples("slipway tokens create ci --scope deploy --expires 90d"),
		RunE: func(c *cobra.Command, args []string) error {
			in := client.CreateToken{Name: args[0]}
			for _, s := range scopes {
				in.Scopes = append(in.Scopes, slipway.Scope(s))
			}
			if expires != "never" {
				age, err := parseAge(expires)
				if err != nil {
					return err
				}
				at := time.Now().Add(age).UTC()
				in.Expires = &at
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			t, err := api.CreateToken(c.Context(), in, newKey())
			if err != nil {
				return err
			}
			return p.print(t, func() {
				p.say("Keep it: it is not shown again.")
				fmt.Fprintln(p.Out, t.Secret)
			})
		},
	}
	c.Flags().StringSliceVar(&scopes, "scope", []string{string(slipway.ScopeAll)}, "read, deploy or all")
	c.Flags().StringVar(&expires, "expires", "90d", "after 30d, 12h, or never")
	return c
}

func (p *program) tokensList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List your API tokens", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Tokens(c.Context())
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, t := range list {
					rows = append(rows, []string{string(t.ID), t.Name, join(t.Scopes), when(t.Created), whenPtr(t.Expires), whenPtr(t.Used)})
				}
				p.table([]string{"ID", "NAME", "SCOPES", "CREATED", "EXPIRES", "LAST USED"}, rows)
			})
		},
	}
}

func (p *program) tokensRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID|NAME", Short: "End a token at once", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Tokens(c.Context())
			if err != nil {
				return err
			}
			var found []client.Token
			for _, t := range list {
				if string(t.ID) == args[0] || t.Name == args[0] {
					found = append(found, t)
				}
			}
			switch len(found) {
			case 0:
				return errs.NotFound("you have no token named %q: see slipway tokens list", args[0])
			case 1:
			default:
				return errs.Conflict("%d of your tokens are named %q: give the ID", len(found), args[0])
			}
			if err := api.RevokeToken(c.Context(), found[0].ID); err != nil {
				return err
			}
			return p.print(found[0], func() { p.say("Revoked %s.", found[0].Name) })
		},
	}
}

func (p *program) sessionsCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the browsers in which you are signed in", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Sessions(c.Context())
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, s := range list {
					rows = append(rows, []string{string(s.ID), when(s.Seen), when(s.Expires), s.Addr, s.Agent})
				}
				p.table([]string{"ID", "SEEN", "EXPIRES", "ADDRESS", "BROWSER"}, rows)
			})
		},
	}
	end := &cobra.Command{
		Use: "end ID", Short: "Sign one of your browsers out", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.EndSession(c.Context(), slipway.SessionID(args[0])); err != nil {
				return err
			}
			return p.print(map[string]string{"ended": args[0]}, func() { p.say("Signed out there.") })
		},
	}
	return group("sessions", "See where you are signed in, and sign out there", list, end)
}

func (p *program) adminCommand() *cobra.Command {
	return group("admin", "Administer the platform", append(p.platformCommands(),
		group("users", "Administer people", p.usersList(), p.usersCreate(), p.usersUpdate(),
			p.usersDisable("disable", "Sign a person out everywhere and let them in no more", true),
			p.usersDisable("enable", "Let a disabled person in again", false), p.usersPassword()))...)
}

func roles(names []string) []slipway.Role {
	list := []slipway.Role{}
	for _, n := range names {
		for part := range strings.SplitSeq(n, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, slipway.Role(part))
			}
		}
	}
	return list
}

func (p *program) showUser(u *slipway.User) error {
	return p.print(u, func() {
		p.pairs([2]string{"Name", u.Name}, [2]string{"Full name", u.FullName}, [2]string{"Email", u.Email}, [2]string{"Roles", join(u.Roles)},
			[2]string{"Disabled", yes(u.Disabled)}, [2]string{"Created", when(u.Created)})
	})
}

func (p *program) usersList() *cobra.Command {
	var query string
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List everybody", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			list, err := api.Users(c.Context(), query)
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, u := range list {
					rows = append(rows, []string{u.Name, u.FullName, u.Email, join(u.Roles), yes(u.Disabled)})
				}
				p.table([]string{"NAME", "FULL NAME", "EMAIL", "ROLES", "DISABLED"}, rows)
			})
		},
	}
	c.Flags().StringVar(&query, "query", "", "part of the name")
	return c
}

func (p *program) usersCreate() *cobra.Command {
	var in client.CreateUser
	var roleNames []string
	var stdin bool
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a person who may sign in", Args: wants(1, 1),
		Example: examples("slipway admin users create ada --role licensed_user", "slipway admin users create bob --password-stdin < password.txt"),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			in.Name, in.Roles = args[0], roles(roleNames)
			if in.Password, err = p.password(stdin, "Password for "+args[0]+": "); err != nil {
				return err
			}
			u, err := api.CreateUser(c.Context(), in, newKey())
			if err != nil {
				return err
			}
			return p.showUser(u)
		},
	}
	c.Flags().StringSliceVar(&roleNames, "role", nil, "licensed_user (creates and owns apps), admin; may be given twice")
	c.Flags().StringVar(&in.Email, "email", "", "mail address")
	c.Flags().StringVar(&in.FullName, "full-name", "", "name as people say it")
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from the standard input")
	return c
}

func (p *program) usersUpdate() *cobra.Command {
	var email, full string
	var roleNames []string
	c := &cobra.Command{
		Use: "update NAME", Short: "Change a person's roles, mail address or name", Args: wants(1, 1),
		Example: examples("slipway admin users update ada --role licensed_user,admin", "slipway admin users update bob --role ''"),
	}
	f := c.Flags()
	f.StringSliceVar(&roleNames, "role", nil, "all roles beside viewer, which everybody has; '' for none")
	f.StringVar(&email, "email", "", "mail address")
	f.StringVar(&full, "full-name", "", "name as people say it")
	c.RunE = func(c *cobra.Command, args []string) error {
		var in client.UpdateUser
		list := roles(roleNames)
		given(f, "role", &in.Roles, &list)
		given(f, "email", &in.Email, &email)
		given(f, "full-name", &in.FullName, &full)
		if in == (client.UpdateUser{}) {
			return usagef("nothing to change: see %s --help", c.CommandPath())
		}
		api, err := p.connect(c.Context())
		if err != nil {
			return err
		}
		u, err := api.UpdateUser(c.Context(), args[0], in)
		if err != nil {
			return err
		}
		return p.showUser(u)
	}
	return c
}

func (p *program) usersDisable(use, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			u, err := api.UpdateUser(c.Context(), args[0], client.UpdateUser{Disabled: &disabled})
			if err != nil {
				return err
			}
			return p.showUser(u)
		},
	}
}

func (p *program) usersPassword() *cobra.Command {
	var stdin bool
	c := &cobra.Command{
		Use: "password NAME", Short: "Give a person a new password", Args: wants(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			text, err := p.password(stdin, "New password for "+args[0]+": ")
			if err != nil {
				return err
			}
			if err := api.SetPassword(c.Context(), args[0], client.SetPassword{Password: text}); err != nil {
				return err
			}
			return p.print(map[string]string{"user": args[0]}, func() { p.say("Changed.") })
		},
	}
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from the standard input")
	return c
}
