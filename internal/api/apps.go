package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

func (s *server) wire(a slipway.App) client.App {
	return client.App{App: a, URL: s.Hosts.App(a.Name, a.Isolated), Git: s.Hosts.GitRemote(a.Name), SSH: s.Hosts.SSHRemote(a.Name)}
}

func (s *server) app(a slipway.App, err error) (*body[client.App], error) {
	if err != nil {
		return nil, err
	}
	return ok(s.wire(a)), nil
}

func (s *server) appRoutes() {
	type listIn struct {
		PageIn
		Query   string             `query:"q" maxLength:"100" doc:"Words that name, title, description, owner or tags hold."`
		Owner   string             `query:"owner" maxLength:"64" doc:"User name."`
		Portal  bool               `query:"portal" doc:"Only those that the caller may open from the Portal."`
		State   []slipway.AppState `query:"state,explode" doc:"Only in one of these states."`
		Access  []slipway.Access   `query:"access,explode" doc:"Only with one of these levels."`
		Tags    []string           `query:"tag,explode" doc:"Only with all of these tags."`
		Orphans bool               `query:"orphans" doc:"Only those whose owner is disabled or has no seat."`
		Sort    string             `query:"sort" enum:"name,-name,updated,-updated,owner,-owner,state,-state,created,-created" default:"name" doc:"With - the other way round."`
	}
	handle(s, signedIn, huma.Operation{OperationID: "list-apps", Method: http.MethodGet, Path: "/v1/apps", Tags: []string{"apps"}, Summary: "List the apps that one may see"},
		func(ctx context.Context, in *listIn) (*body[client.Page[client.App]], error) {
			p, err := s.Apps.List(ctx, apps.AppFilter{
				Query: in.Query, Owner: in.Owner, Portal: in.Portal, States: in.State, Access: in.Access, Tags: in.Tags, Orphans: in.Orphans,
				Sort: in.Sort, Cursor: in.Cursor, Limit: in.Limit,
			})
			if err != nil {
				return nil, err
			}
			out := page(make([]client.App, len(p.Items)))
			for i, a := range p.Items {
				out.Body.Items[i] = s.wire(a)
			}
			out.Body.Next, out.Body.Total = p.Next, p.Total
			return out, nil
		})

	type createIn struct {
		Idempotent
		Body client.CreateApp
	}
	handle(s, access.CreateApp, huma.Operation{OperationID: "create-app", Method: http.MethodPost, Path: "/v1/apps", DefaultStatus: http.StatusCreated, Tags: []string{"apps"}, Summary: "Make an app"},
		func(ctx context.Context, in *createIn) (*body[client.App], error) {
			return once(ctx, s.answers, in.Key, []any{"create-app", in.Body}, func() (*body[client.App], error) {
				return s.app(s.Apps.Create(ctx, apps.CreateApp{Name: in.Body.Name, Title: in.Body.Title, Description: in.Body.Description}))
			})
		})

	handle(s, access.SeeApp, huma.Operation{OperationID: "get-app", Method: http.MethodGet, Path: "/v1/apps/{name}", Tags: []string{"apps"}, Summary: "Get an app"},
		func(ctx context.Context, in *AppIn) (*body[client.App], error) {
			return s.app(s.Apps.Get(ctx, in.Name))
		})

	type updateIn struct {
		AppIn
		Body client.UpdateApp
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "update-app", Method: http.MethodPatch, Path: "/v1/apps/{name}", Tags: []string{"apps"}, Summary: "Change an app"},
		func(ctx context.Context, in *updateIn) (*body[client.App], error) {
			return s.app(s.Apps.Update(ctx, in.Name, apps.AppPatch(in.Body)))
		})

	type deleteIn struct {
		AppIn
		Confirm string `query:"confirm" maxLength:"100" required:"true" doc:"The app's name, once more."`
	}
	handle(s, access.OwnApp, huma.Operation{OperationID: "delete-app", Method: http.MethodDelete, Path: "/v1/apps/{name}", Tags: []string{"apps"}, Summary: "Delete an app with all it has"},
		func(ctx context.Context, in *deleteIn) (*none, error) {
			return nil, s.Apps.Delete(ctx, in.Name, in.Confirm)
		})

	type transferIn struct {
		AppIn
		Body client.TransferApp
	}
	handle(s, access.OwnApp, huma.Operation{OperationID: "transfer-app", Method: http.MethodPost, Path: "/v1/apps/{name}/transfer", Tags: []string{"apps"}, Summary: "Give an app to another owner"},
		func(ctx context.Context, in *transferIn) (*body[client.App], error) {
			return s.app(s.Apps.Transfer(ctx, in.Name, in.Body.To))
		})
	s.grantRoutes()
}

// GrantIn names a person's right on an app.
type GrantIn struct {
	AppIn
	User string `path:"user" maxLength:"64" doc:"User name."`
}

func (s *server) grantRoutes() {
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-grants", Method: http.MethodGet, Path: "/v1/apps/{name}/grants", Tags: []string{"apps"}, Summary: "List who has rights on an app beside its owner"},
		func(ctx context.Context, in *AppIn) (*body[client.Page[slipway.Grant]], error) {
			list, err := s.Apps.Grants(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return page(list), nil
		})

	type shareIn struct {
		GrantIn
		Body client.ShareApp
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "share-app", Method: http.MethodPut, Path: "/v1/apps/{name}/grants/{user}", Tags: []string{"apps"}, Summary: "Give a person a right on an app, or change it"},
		func(ctx context.Context, in *shareIn) (*none, error) {
			return nil, s.Apps.Share(ctx, in.Name, in.User, in.Body.Role)
		})
	handle(s, access.ManageApp, huma.Operation{OperationID: "unshare-app", Method: http.MethodDelete, Path: "/v1/apps/{name}/grants/{user}", Tags: []string{"apps"}, Summary: "Take a person's right on an app away"},
		func(ctx context.Context, in *GrantIn) (*none, error) {
			return nil, s.Apps.Unshare(ctx, in.Name, in.User)
		})
}

// envRoutes are twice the same: for one app, and for every app.
func (s *server) envRoutes() {
	type patchIn struct {
		AppIn
		Body client.PatchEnv
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-env", Method: http.MethodGet, Path: "/v1/apps/{name}/env", Tags: []string{"env"}, Summary: "List an app's variables; secret values are left out"},
		func(ctx context.Context, in *AppIn) (*body[client.Page[slipway.EnvVar]], error) {
			return s.env(ctx, in.Name)
		})
	handle(s, access.ManageApp, huma.Operation{OperationID: "patch-env", Method: http.MethodPatch, Path: "/v1/apps/{name}/env", Tags: []string{"env"}, Summary: "Set and take away an app's variables, for its next release"},
		func(ctx context.Context, in *patchIn) (*none, error) {
			return nil, s.patchEnv(ctx, in.Name, in.Body)
		})
	handle(s, access.ReadGlobal, huma.Operation{OperationID: "list-global-env", Method: http.MethodGet, Path: "/v1/env", Tags: []string{"env"}, Summary: "List the variables of every app"},
		func(ctx context.Context, _ *none) (*body[client.Page[slipway.EnvVar]], error) {
			return s.env(ctx, "")
		})
	handle(s, access.WriteGlobal, huma.Operation{OperationID: "patch-global-env", Method: http.MethodPatch, Path: "/v1/env", Tags: []string{"env"}, Summary: "Set and take away variables of every app"},
		func(ctx context.Context, in *body[client.PatchEnv]) (*none, error) {
			return nil, s.patchEnv(ctx, "", in.Body)
		})
}

func (s *server) env(ctx context.Context, name string) (*body[client.Page[slipway.EnvVar]], error) {
	list, err := s.Apps.Env(ctx, name)
	if err != nil {
		return nil, err
	}
	return page(list), nil
}

func (s *server) patchEnv(ctx context.Context, name string, in client.PatchEnv) error {
	if len(in.Set) > 0 || len(in.Unset) == 0 {
		if err := s.Apps.SetEnv(ctx, name, in.Set); err != nil {
			return err
		}
	}
	if len(in.Unset) > 0 {
		return s.Apps.UnsetEnv(ctx, name, in.Unset)
	}
	return nil
}
