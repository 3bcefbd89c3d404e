package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

func (p *program) loginCommand() *cobra.Command {
	var user string
	var stdin bool
	c := &cobra.Command{
		Use: "login [HOST]", Short: "Sign in to a Slipway",
		Long: `Sign in with your user name and password. What is kept is a token, in
config.json below your configuration folder, readable by you alone. The password
is not kept. HOST is the platform's domain or the address of its API.`,
		Example: examples("slipway login slipway.example.com", "slipway login slipway.example.com --user ada --password-stdin < password.txt",
			"slipway login slipway.localhost:8443 --ca-file data/demo/tls/ca.pem"),
		Args: wants(0, 1),
	}
	c.Flags().StringVarP(&user, "user", "u", "", "user name (default: DASH_ENTERPRISE_USERNAME, or it is asked for)")
	c.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from the standard input")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 1 {
			p.host = args[0]
		}
		return p.login(c, user, stdin)
	}
	return c
}

func (p *program) login(c *cobra.Command, user string, stdin bool) error {
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	host, err := p.target(cfg)
	if err != nil {
		return usagef("which Slipway? slipway login slipway.example.com")
	}
	ca := p.authority(cfg.Hosts[host])
	if ca != "" {
		if ca, err = filepath.Abs(ca); err != nil {
			return err
		}
	}
	if err := p.open(host, ca, secret.String{}); err != nil {
		return err
	}
	if user == "" {
		user = os.Getenv("DASH_ENTERPRISE_USERNAME")
	}
	if user == "" {
		name, ok := p.ask("User: ")
		if !ok || name == "" {
			return usagef("who are you? Give --user")
		}
		user = name
	}
	password := os.Getenv("DASH_ENTERPRISE_PASSWORD")
	if stdin || password == "" {
		if password, err = p.password(stdin, "Password of "+user+": "); err != nil {
			return err
		}
	}
	t, err := p.client.Login(c.Context(), client.Login{Username: user, Password: password, Token: "slipway on " + hostname()})
	if err != nil {
		return err
	}
	p.client = p.client.WithToken(secret.New(t.Secret))
	cfg.Current = host
	cfg.Hosts[host] = account{User: t.User, Token: t.Secret, TokenID: t.ID, CAFile: ca}
	if err := cfg.write(); err != nil {
		return errs.Wrap(err, errs.KindInvalid, "signed in, but %s cannot be written", cfg.file)
	}
	return p.print(map[string]any{"host": host, "user": t.User, "token_id": t.ID, "expires": t.Expires}, func() {
		p.say("Signed in to %s as %s.", host, t.User)
	})
}

func (p *program) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Sign out: revoke the token and forget it", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			host, err := p.target(cfg)
			if err != nil {
				return err
			}
			saved, ok := cfg.Hosts[host]
			if !ok {
				return errs.Unauthenticated("you are not signed in to %s", host)
			}
			delete(cfg.Hosts, host)
			if cfg.Current == host {
				cfg.Current = ""
			}
			if err := cfg.write(); err != nil {
				return err
			}
			if err := p.open(host, p.authority(saved), secret.New(saved.Token)); err != nil {
				return err
			}
			err = p.client.RevokeToken(c.Context(), saved.TokenID)
			if err != nil && !errs.Is(err, errs.KindUnauthenticated) && !errs.Is(err, errs.KindNotFound) {
				return errs.Wrap(err, errs.KindOf(err), "forgotten here, but %s could not be told: revoke the token in your account there", host)
			}
			return p.print(map[string]any{"host": host}, func() { p.say("Signed out of %s.", host) })
		},
	}
}

func (p *program) whoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Show who you are signed in as", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			me, err := api.Whoami(c.Context())
			if err != nil {
				return err
			}
			return p.print(me, func() {
				p.pairs([2]string{"User", me.User.Name}, [2]string{"Name", me.User.FullName}, [2]string{"Email", me.User.Email},
					[2]string{"Roles", join(me.User.Roles)}, [2]string{"Scopes", join(me.Scopes)}, [2]string{"Platform", api.Host()})
			})
		},
	}
}

func (p *program) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the platform is", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			s, err := api.Status(c.Context())
			if err != nil {
				return err
			}
			return p.print(s, func() {
				p.pairs([2]string{"Version", s.Version}, [2]string{"Portal", s.Hosts.API() + "/portal"}, [2]string{"Apps", s.Hosts.Apps()}, [2]string{"Git", s.Hosts.Git()})
				if s.SSH != nil {
					p.pairs([2]string{"Git over SSH", s.SSH.Address}, [2]string{"SSH host key", s.SSH.Fingerprint}, [2]string{"known_hosts", s.SSH.KnownHosts})
				}
				if e := s.Engine; e != nil {
					p.pairs([2]string{"Engine", e.Name}, [2]string{"Isolation", e.Isolation}, [2]string{"Why", e.Why},
						[2]string{"Memory", fmt.Sprintf("%d of %d MiB", e.MemoryUsed>>20, e.MemoryLimit>>20)}, [2]string{"Pythons", strings.Join(e.Pythons, ", ")})
				}
			})
		},
	}
}
