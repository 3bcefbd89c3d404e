package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/people"
)

// UserIn names a person.
type UserIn struct {
	User string `path:"user" maxLength:"64" doc:"User name."`
}

func (s *server) userRoutes() {
	type listIn struct {
		PageIn
		Query string `query:"q" maxLength:"100" doc:"Part of the name."`
	}
	handle(s, access.ListUsers, huma.Operation{OperationID: "list-users", Method: http.MethodGet, Path: "/v1/users", Tags: []string{"users"}, Summary: "List everybody"},
		func(ctx context.Context, in *listIn) (*body[client.Page[slipway.User]], error) {
			p, err := s.People.List(ctx, people.UserFilter{Query: in.Query, Cursor: in.Cursor, Limit: in.Limit})
			if err != nil {
				return nil, err
			}
			out := page(p.Items)
			out.Body.Next = p.Next
			return out, nil
		})

	type createIn struct {
		Idempotent
		Body client.CreateUser
	}
	handle(s, access.CreateUser, huma.Operation{OperationID: "create-user", Method: http.MethodPost, Path: "/v1/users", DefaultStatus: http.StatusCreated, Tags: []string{"users"}, Summary: "Make a person who may sign in"},
		func(ctx context.Context, in *createIn) (*body[slipway.User], error) {
			return once(ctx, s.answers, in.Key, []any{"create-user", in.Body}, func() (*body[slipway.User], error) {
				return one(s.People.Create(ctx, people.CreateUser{
					Name: in.Body.Name, Password: secret.New(in.Body.Password), Email: in.Body.Email, FullName: in.Body.FullName, Roles: in.Body.Roles,
				}))
			})
		})

	handle(s, access.ReadAccount, huma.Operation{OperationID: "get-user", Method: http.MethodGet, Path: "/v1/users/{user}", Tags: []string{"users"}, Summary: "Get a person"},
		func(ctx context.Context, in *UserIn) (*body[slipway.User], error) {
			return one(s.People.Get(ctx, in.User))
		})

	type updateIn struct {
		UserIn
		Body client.UpdateUser
	}
	handle(s, access.UpdateAccount, huma.Operation{OperationID: "update-user", Method: http.MethodPatch, Path: "/v1/users/{user}", Tags: []string{"users"}, Summary: "Change a person"},
		func(ctx context.Context, in *updateIn) (*body[slipway.User], error) {
			return one(s.People.Update(ctx, in.User, people.UserPatch(in.Body)))
		})

	type passwordIn struct {
		UserIn
		Body client.SetPassword
	}
	handle(s, access.UpdateAccount, huma.Operation{OperationID: "set-password", Method: http.MethodPut, Path: "/v1/users/{user}/password", Tags: []string{"users"}, Summary: "Give a person a new password"},
		func(ctx context.Context, in *passwordIn) (*none, error) {
			return nil, s.People.SetPassword(ctx, in.User, people.SetPassword{Old: secret.New(in.Body.Old), New: secret.New(in.Body.Password)})
		})
}
