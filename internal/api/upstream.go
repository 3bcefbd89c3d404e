package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// upstreamRoutes are about code that comes from another git server. What an
// app's upstream is stands in the app itself, for whoever may deploy it.
func (s *server) upstreamRoutes() {
	type setIn struct {
		AppIn
		Body client.SetUpstream
	}
	handle(s, access.DeployApp, huma.Operation{OperationID: "set-upstream", Method: http.MethodPut, Path: "/v1/apps/{name}/upstream", Tags: []string{"deploys"}, Summary: "Say from which git repository an app's code is fetched"},
		func(ctx context.Context, in *setIn) (*body[slipway.Upstream], error) {
			set := apps.SetUpstream{URL: in.Body.URL, Ref: in.Body.Ref, User: in.Body.User}
			if in.Body.Token != nil {
				token := secret.New(*in.Body.Token)
				set.Token = &token
			}
			return one(s.Apps.SetUpstream(ctx, in.Name, set))
		})
	handle(s, access.DeployApp, huma.Operation{OperationID: "remove-upstream", Method: http.MethodDelete, Path: "/v1/apps/{name}/upstream", Tags: []string{"deploys"}, Summary: "Forget from which git repository an app's code is fetched"},
		func(ctx context.Context, in *AppIn) (*none, error) {
			return nil, s.Apps.RemoveUpstream(ctx, in.Name)
		})

	type fetchIn struct {
		AppIn
		Idempotent
		Body client.FetchUpstream
	}
	handle(s, access.DeployApp, huma.Operation{OperationID: "deploy-upstream", Method: http.MethodPost, Path: "/v1/apps/{name}/deploys/upstream", DefaultStatus: http.StatusCreated, Tags: []string{"deploys"}, Summary: "Fetch what is newest in the app's git repository elsewhere, and deploy it"},
		func(ctx context.Context, in *fetchIn) (*body[slipway.Deploy], error) {
			return once(ctx, s.answers, in.Key, []any{"deploy-upstream", in.Name, in.Body}, func() (*body[slipway.Deploy], error) {
				return one(s.Apps.DeployUpstream(ctx, in.Name, apps.FetchInput(in.Body)))
			})
		})
}
