package api

import (
	"context"
	"net/http"
	"reflect"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/apps"
)

func (s *server) eventRoutes() {
	type followIn struct {
		Last string `header:"Last-Event-ID" maxLength:"64"`
	}
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Change](), true, "Change")
	handle(s, signedIn, huma.Operation{
		OperationID: "follow-changes", Method: http.MethodGet, Path: "/v1/events", Tags: []string{"events"},
		Summary: "Follow what changes of that which one may see", Responses: eventStream(schema, "a Change, under the event name change"),
	}, func(ctx context.Context, in *followIn) (*huma.StreamResponse, error) {
		var who atomic.Pointer[slipway.Actor]
		now := slipway.ActorFrom(ctx)
		who.Store(&now)
		may := func(ctx context.Context) error { // with the rights that the person has by now
			a := slipway.ActorFrom(ctx)
			if a.User == nil {
				return errs.Unauthenticated("you are not signed in any more")
			}
			who.Store(&a)
			return nil
		}
		return s.stream(may, func(ctx context.Context, out *sender) error {
			return s.Apps.Changes(ctx, in.Last, func() slipway.Actor { return *who.Load() }, func(id string, c apps.Change) error {
				return out.send(id, "change", client.Change(c))
			})
		}), nil
	})
}
