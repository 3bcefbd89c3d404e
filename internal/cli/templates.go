package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

func (p *program) templatesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "templates", Short: "List the apps that a new one may begin with", Args: noArgs,
		Example: examples("slipway templates", "slipway apps create waves --template dash"),
		RunE: p.with(func(c *cobra.Command, api *client.Client, _ []string) error {
			list, err := api.Templates(c.Context())
			if err != nil {
				return err
			}
			return p.print(list, func() {
				rows := [][]string{}
				for _, t := range list {
					rows = append(rows, []string{t.Name, t.Framework, t.Description})
				}
				p.table([]string{"NAME", "FRAMEWORK", "DESCRIPTION"}, rows)
			})
		}),
	}
}

// createFrom makes an app and deploys a template's files. It looks for the
// template first: an app without files is not what was asked for.
func (p *program) createFrom(ctx context.Context, api *client.Client, in client.CreateApp, template string) error {
	list, err := api.Templates(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(t client.Template) bool { return t.Name == template }) {
		return errs.NotFound("there is no template %q: see slipway templates", template)
	}
	a, err := api.CreateApp(ctx, in, newKey())
	if err != nil {
		return err
	}
	d, err := api.DeployTemplate(ctx, a.Name, template, newKey())
	if err != nil {
		return err
	}
	return p.follow(ctx, api, d, false)
}
