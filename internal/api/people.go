package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/people"
)

// loginLife is how long a token made by password lives.
const loginLife = 90 * 24 * time.Hour

func (s *server) peopleRoutes() {
	handle(s, anyone, huma.Operation{OperationID: "login", Method: http.MethodPost, Path: "/v1/login", DefaultStatus: http.StatusCreated, Tags: []string{"people"}, Summary: "Make a token by password"},
		func(ctx context.Context, in *body[client.Login]) (*body[client.NewToken], error) {
			return s.login(ctx, in.Body)
		})

	handle(s, signedIn, huma.Operation{OperationID: "whoami", Method: http.MethodGet, Path: "/v1/whoami", Tags: []string{"people"}, Summary: "Who asks, and with what"},
		func(ctx context.Context, _ *none) (*body[client.Whoami], error) {
			a := slipway.ActorFrom(ctx)
			return ok(client.Whoami{User: *a.User, Token: a.Token, Scopes: a.Scopes}), nil
		})
	s.tokenRoutes()
	s.sshKeyRoutes()
	s.sessionRoutes()
}

func (s *server) login(ctx context.Context, in client.Login) (*body[client.NewToken], error) {
	addr := slipway.ActorFrom(ctx).Addr
	a, err := s.People.Password(ctx, in.Username, in.Password, addr)
	if err != nil {
		return nil, err
	}
	a.Addr = addr
	name := in.Token
	if name == "" {
		name = "login"
	}
	expires := time.Now().Add(loginLife)
	return s.newToken(slipway.WithActor(ctx, a), client.CreateToken{Name: name, Scopes: []slipway.Scope{slipway.ScopeAll}, Expires: &expires})
}

func (s *server) newToken(ctx context.Context, in client.CreateToken) (*body[client.NewToken], error) {
	t, err := s.People.CreateToken(ctx, people.CreateToken(in))
	if err != nil {
		return nil, err
	}
	return ok(client.NewToken{Token: client.Token(t.Token), User: slipway.ActorFrom(ctx).Name(), Secret: t.Secret.Reveal()}), nil
}

func (s *server) tokenRoutes() {
	handle(s, access.ReadAccount, huma.Operation{OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Tags: []string{"people"}, Summary: "List one's own tokens"},
		func(ctx context.Context, _ *none) (*body[client.Page[client.Token]], error) {
			list, err := s.People.Tokens(ctx)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.Token, len(list)))
			for i, t := range list {
				out.Body.Items[i] = client.Token(t)
			}
			return out, nil
		})

	type createIn struct {
		Idempotent
		Body client.CreateToken
	}
	handle(s, access.MakeTokens, huma.Operation{OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", DefaultStatus: http.StatusCreated, Tags: []string{"people"}, Summary: "Make a token for oneself"},
		func(ctx context.Context, in *createIn) (*body[client.NewToken], error) {
			return once(ctx, s.answers, in.Key, []any{"create-token", in.Body}, func() (*body[client.NewToken], error) { return s.newToken(ctx, in.Body) })
		})

	type tokenIn struct {
		ID slipway.TokenID `path:"id" maxLength:"64" doc:"The token."`
	}
	handle(s, access.MakeTokens, huma.Operation{OperationID: "revoke-token", Method: http.MethodDelete, Path: "/v1/tokens/{id}", Tags: []string{"people"}, Summary: "End one of one's own tokens"},
		func(ctx context.Context, in *tokenIn) (*none, error) { return nil, s.People.RevokeToken(ctx, in.ID) })
}

func (s *server) sshKeyRoutes() {
	handle(s, access.ReadAccount, huma.Operation{OperationID: "list-ssh-keys", Method: http.MethodGet, Path: "/v1/ssh-keys", Tags: []string{"people"}, Summary: "List one's own SSH keys"},
		func(ctx context.Context, _ *none) (*body[client.Page[client.SSHKey]], error) {
			list, err := s.People.SSHKeys(ctx)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.SSHKey, len(list)))
			for i, k := range list {
				out.Body.Items[i] = client.SSHKey(k)
			}
			return out, nil
		})

	type addIn struct {
		Idempotent
		Body client.AddSSHKey
	}
	handle(s, access.AddKeys, huma.Operation{OperationID: "add-ssh-key", Method: http.MethodPost, Path: "/v1/ssh-keys", DefaultStatus: http.StatusCreated, Tags: []string{"people"}, Summary: "Add an SSH key of one's own, for git"},
		func(ctx context.Context, in *addIn) (*body[client.SSHKey], error) {
			return once(ctx, s.answers, in.Key, []any{"add-ssh-key", in.Body}, func() (*body[client.SSHKey], error) {
				k, err := s.People.AddSSHKey(ctx, people.AddSSHKey(in.Body))
				return one(client.SSHKey(k), err)
			})
		})

	type keyIn struct {
		ID slipway.SSHKeyID `path:"id" maxLength:"64" doc:"The key."`
	}
	handle(s, access.AddKeys, huma.Operation{OperationID: "remove-ssh-key", Method: http.MethodDelete, Path: "/v1/ssh-keys/{id}", Tags: []string{"people"}, Summary: "Take one of one's own SSH keys away"},
		func(ctx context.Context, in *keyIn) (*none, error) { return nil, s.People.RemoveSSHKey(ctx, in.ID) })
}

func (s *server) sessionRoutes() {
	handle(s, access.ReadAccount, huma.Operation{OperationID: "list-sessions", Method: http.MethodGet, Path: "/v1/sessions", Tags: []string{"people"}, Summary: "List where one is signed in"},
		func(ctx context.Context, _ *none) (*body[client.Page[client.Session]], error) {
			list, err := s.People.Sessions(ctx)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.Session, len(list)))
			for i, ses := range list {
				out.Body.Items[i] = client.Session(ses)
			}
			return out, nil
		})

	type sessionIn struct {
		ID slipway.SessionID `path:"id" maxLength:"64" doc:"The session."`
	}
	handle(s, access.UpdateAccount, huma.Operation{OperationID: "end-session", Method: http.MethodDelete, Path: "/v1/sessions/{id}", Tags: []string{"people"}, Summary: "Sign one of one's own browsers out"},
		func(ctx context.Context, in *sessionIn) (*none, error) { return nil, s.People.EndSession(ctx, in.ID) })
}
