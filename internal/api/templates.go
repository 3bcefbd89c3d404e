package api

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/examples"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

func (s *server) templateRoutes() {
	handle(s, signedIn, huma.Operation{OperationID: "list-templates", Method: http.MethodGet, Path: "/v1/templates", Tags: []string{"deploys"}, Summary: "List the apps that a new one may begin with"},
		func(context.Context, *none) (*body[client.Page[client.Template]], error) {
			var items []client.Template
			for _, t := range examples.Templates() {
				items = append(items, client.Template(t))
			}
			return page(items), nil
		})

	type fromIn struct {
		AppIn
		Idempotent
		Body client.FromTemplate
	}
	handle(s, access.DeployApp, huma.Operation{OperationID: "deploy-template", Method: http.MethodPost, Path: "/v1/apps/{name}/deploys/template", DefaultStatus: http.StatusCreated, Tags: []string{"deploys"}, Summary: "Deploy the files of a template"},
		func(ctx context.Context, in *fromIn) (*body[slipway.Deploy], error) {
			if err := s.Apps.MayDeploy(ctx, in.Name); err != nil {
				return nil, err
			}
			tar, err := examples.Tar(in.Body.Template)
			if err != nil {
				return nil, err
			}
			source, err := s.Source.AddSource(ctx, bytes.NewReader(tar))
			if err != nil {
				return nil, err
			}
			return once(ctx, s.answers, in.Key, []any{"deploy-template", in.Name, in.Body}, func() (*body[slipway.Deploy], error) {
				return one(s.Apps.Deploy(ctx, in.Name, apps.DeployInput{
					Source: source, Message: "Begin from the template " + in.Body.Template, Cause: slipway.CauseTemplate,
				}))
			})
		})
}
