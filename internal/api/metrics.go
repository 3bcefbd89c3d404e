package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// SpanIn selects a span of time.
type SpanIn struct {
	From time.Time `query:"from" doc:"Default: an hour before to."`
	To   time.Time `query:"to" doc:"Default: now."`
	Step int       `query:"step" minimum:"0" maximum:"2678400" doc:"Seconds; 0 = what gives about 120 points."`
}

func (s *server) metricsRoutes() {
	type appIn struct {
		AppIn
		SpanIn
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "get-metrics", Method: http.MethodGet, Path: "/v1/apps/{name}/metrics", Tags: []string{"metrics"}, Summary: "An app's requests, latency, errors, viewers, processor and memory over time"},
		func(ctx context.Context, in *appIn) (*body[client.Metrics], error) {
			m, err := s.Apps.Metrics(ctx, in.Name, in.span())
			return one(metricsOf(m), err)
		})
	handle(s, access.ReadSettings, huma.Operation{OperationID: "get-usage", Method: http.MethodGet, Path: "/v1/usage", Tags: []string{"metrics"}, Summary: "How the platform is used"},
		func(ctx context.Context, in *SpanIn) (*body[client.Usage], error) {
			u, err := s.Apps.Usage(ctx, in.span())
			if err != nil {
				return nil, err
			}
			out := client.Usage{Metrics: metricsOf(u.Metrics), Apps: make([]client.AppUsage, len(u.Apps)), People: u.People, Total: u.Total}
			for i, a := range u.Apps {
				out.Apps[i] = client.AppUsage{
					App: a.App.Name, Owner: a.App.OwnerName, Requests: a.Sum.Requests, Errors: a.Sum.Errors, Viewers: a.Viewers,
					CPU: a.Cores, Memory: a.Sum.Memory, Opened: a.Opened,
				}
			}
			return ok(out), nil
		})
}

func (in SpanIn) span() apps.Span {
	return apps.Span{From: in.From, To: in.To, Step: time.Duration(in.Step) * time.Second}
}

func metricsOf(m apps.Metrics) client.Metrics {
	out := client.Metrics{
		From: m.From, To: m.To, Step: int(m.Step.Seconds()), Points: make([]client.MetricsPoint, len(m.Points)), Viewers: m.Viewers,
		Requests: m.Sum.Requests, Errors: m.Sum.Errors, MemoryLimit: m.MemoryLimit, Deploys: make([]client.DeployMark, len(m.Deploys)),
	}
	for i, p := range m.Points {
		out.Points[i] = client.MetricsPoint{
			At: p.At, Requests: p.Requests, Errors: p.Errors, Refused: p.Refused, P50: p.P50, P95: p.P95, P99: p.P99,
			Viewers: p.Viewers, CPU: p.Cores, Memory: p.Memory, Replica: p.Replica, Replicas: p.Replicas,
		}
	}
	for i, d := range m.Deploys {
		out.Deploys[i] = client.DeployMark{ID: d.ID, Seq: d.Seq, Release: d.Release, State: d.State, At: d.Started}
	}
	return out
}
