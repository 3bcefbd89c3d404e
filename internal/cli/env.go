package cli

import (
	"io"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
)

// maxValue bounds a value read from the standard input.
const maxValue = 1 << 20

func (p *program) envCommand() *cobra.Command {
	return group("env", "Read and set environment variables", p.envList(), p.envSet(), p.envUnset())
}

// scope splits an app's name from the other arguments; with global there is none.
func scope(c *cobra.Command, args []string, global bool, least int) (string, []string, error) {
	name := ""
	if !global {
		if len(args) == 0 {
			return "", nil, usagef("usage: %s", c.UseLine())
		}
		name, args = args[0], args[1:]
	}
	if len(args) < least || (least == 0 && len(args) > 0) {
		return "", nil, usagef("usage: %s", c.UseLine())
	}
	return name, args, nil
}

func (p *program) envList() *cobra.Command {
	var global bool
	c := &cobra.Command{
		Use: "list APP", Aliases: []string{"ls"}, Short: "List variables; the values of secret ones are not shown",
		Example: examples("slipway env list iris", "slipway env list --global"),
		RunE: func(c *cobra.Command, args []string) error {
			name, _, err := scope(c, args, global, 0)
			if err != nil {
				return err
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			vars, err := api.Env(c.Context(), name)
			if err != nil {
				return err
			}
			return p.print(vars, func() {
				rows := [][]string{}
				for _, v := range vars {
					value := v.Value
					if v.Secret {
						value = "(secret)"
					}
					rows = append(rows, []string{v.Key, value})
				}
				p.table([]string{"KEY", "VALUE"}, rows)
			})
		},
	}
	c.Flags().BoolVar(&global, "global", false, "those of every app (administrators)")
	return c
}

func (p *program) envSet() *cobra.Command {
	var global, hidden bool
	c := &cobra.Command{
		Use: "set APP KEY=VALUE…", Short: "Set variables",
		Long: `Set variables. They reach the app with its next release: slipway restart makes
one at once. A build sees those that requirements.txt names as ${KEY}. KEY alone reads the value
from the standard input, which keeps secrets out of the shell's history.`,
		Example: examples("slipway env set iris GREETING=hello COLOUR=blue", "slipway env set iris --secret API_TOKEN < token.txt",
			"slipway env set --global TEAM=data"),
		RunE: func(c *cobra.Command, args []string) error {
			name, pairs, err := scope(c, args, global, 1)
			if err != nil {
				return err
			}
			vars, err := p.parseVars(pairs, hidden)
			if err != nil {
				return err
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.PatchEnv(c.Context(), name, client.PatchEnv{Set: vars}); err != nil {
				return err
			}
			keys := make([]string, len(vars))
			for i, v := range vars {
				keys[i] = v.Key
			}
			return p.envDone(name, "set", keys)
		},
	}
	c.Flags().BoolVar(&global, "global", false, "for every app (administrators)")
	c.Flags().BoolVar(&hidden, "secret", false, "never show the values again")
	return c
}

func (p *program) envDone(name, what string, keys []string) error {
	return p.print(map[string]any{what: keys}, func() {
		p.say("%s: %s", what, strings.Join(keys, ", "))
		if name != "" {
			p.say("The app has it with its next release: slipway restart %s", name)
		} else {
			p.say("Each app has it with its next release.")
		}
	})
}

func (p *program) parseVars(pairs []string, hidden bool) ([]slipway.EnvVar, error) {
	vars := make([]slipway.EnvVar, 0, len(pairs))
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			if len(pairs) > 1 {
				return nil, usagef("%q is not like KEY=VALUE", pair)
			}
			text, err := io.ReadAll(io.LimitReader(p.In, maxValue))
			if err != nil {
				return nil, err
			}
			value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
		}
		vars = append(vars, slipway.EnvVar{Key: key, Value: value, Secret: hidden})
	}
	return vars, nil
}

func (p *program) envUnset() *cobra.Command {
	var global bool
	c := &cobra.Command{
		Use: "unset APP KEY…", Short: "Take variables away",
		RunE: func(c *cobra.Command, args []string) error {
			name, keys, err := scope(c, args, global, 1)
			if err != nil {
				return err
			}
			api, err := p.connect(c.Context())
			if err != nil {
				return err
			}
			if err := api.PatchEnv(c.Context(), name, client.PatchEnv{Unset: keys}); err != nil {
				return err
			}
			return p.envDone(name, "unset", keys)
		},
	}
	c.Flags().BoolVar(&global, "global", false, "from every app (administrators)")
	return c
}
