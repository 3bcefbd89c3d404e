package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
)

func (s *server) statusRoutes() {
	handle(s, signedIn, huma.Operation{OperationID: "status", Method: http.MethodGet, Path: "/v1/status", Tags: []string{"platform"}, Summary: "How the platform is"},
		func(ctx context.Context, _ *none) (*body[client.Status], error) {
			out := client.Status{Version: s.Version, Hosts: s.Hosts, SSH: s.SSH}
			if access.Check(slipway.ActorFrom(ctx), access.ReadSettings, access.Platform()) != nil {
				return ok(out), nil
			}
			info, err := s.Engine.Info(ctx)
			if err != nil {
				return nil, err
			}
			out.Engine = &client.EngineStatus{
				Name: info.Engine, Isolation: string(info.Isolation), Why: info.Why, MemoryUsed: info.Memory.Used, MemoryLimit: info.Memory.Limit,
				MemoryEnforced: info.MemoryEnforced, Egress: info.Egress, Pythons: info.Pythons,
			}
			return ok(out), nil
		})
}
