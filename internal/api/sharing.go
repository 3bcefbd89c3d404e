package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
)

// sharingRoutes answer who may open an app, and why.
func (s *server) sharingRoutes() {
	handle(s, access.ReadApp, huma.Operation{OperationID: "get-access", Method: http.MethodGet, Path: "/v1/apps/{name}/access", Tags: []string{"apps"}, Summary: "Who may open an app, and why"},
		func(ctx context.Context, in *AppIn) (*body[client.AccessReport], error) {
			r, err := s.Apps.WhoMayOpen(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			out := client.AccessReport{Level: r.Level, Others: r.Others, People: make([]client.WhoMayOpen, len(r.People))}
			for i, p := range r.People {
				out.People[i] = client.WhoMayOpen{User: p.User.Name, FullName: p.User.FullName, Why: p.Why, Disabled: p.User.Disabled}
			}
			return ok(out), nil
		})
	type explainIn struct {
		AppIn
		User string `query:"user" required:"true" maxLength:"64" doc:"User name."`
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "explain-access", Method: http.MethodGet, Path: "/v1/apps/{name}/access/explain", Tags: []string{"apps"}, Summary: "Why a person may open an app, or may not"},
		func(ctx context.Context, in *explainIn) (*body[client.AccessAnswer], error) {
			a, err := s.Apps.Explain(ctx, in.Name, in.User)
			return one(client.AccessAnswer(a), err)
		})
	type findIn struct {
		AppIn
		Query string `query:"q" maxLength:"100" doc:"Part of a name."`
		Limit int    `query:"limit" minimum:"1" maximum:"50" default:"20"`
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "find-people", Method: http.MethodGet, Path: "/v1/apps/{name}/people", Tags: []string{"apps"}, Summary: "Find people to share an app with"},
		func(ctx context.Context, in *findIn) (*body[client.Page[client.FoundPerson]], error) {
			list, err := s.Apps.FindPeople(ctx, in.Name, in.Query, in.Limit)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.FoundPerson, len(list)))
			for i, p := range list {
				out.Body.Items[i] = client.FoundPerson{
					Name: p.User.Name, FullName: p.User.FullName, Seat: p.User.Has(slipway.RoleLicensed), Role: p.Role, Owner: p.Owner,
				}
			}
			return out, nil
		})
}
