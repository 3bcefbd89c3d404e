package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// maxLines bounds an answer of the log that is not a stream.
const maxLines = 20_000

func (s *server) processRoutes() {
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-processes", Method: http.MethodGet, Path: "/v1/apps/{name}/processes", Tags: []string{"processes"}, Summary: "List an app's processes and how they run"},
		func(ctx context.Context, in *AppIn) (*body[client.Page[client.Process]], error) {
			list, err := s.Apps.Processes(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.Process, len(list)))
			for i, p := range list {
				out.Body.Items[i] = client.Process{Process: p.Process, Instances: make([]client.Replica, len(p.Instances))}
				for j, r := range p.Instances {
					out.Body.Items[i].Instances[j] = client.Replica(r)
				}
			}
			return out, nil
		})

	handle(s, access.ReadApp, huma.Operation{OperationID: "get-app-usage", Method: http.MethodGet, Path: "/v1/apps/{name}/usage", Tags: []string{"processes"}, Summary: "Tell what an app takes of the machine now"},
		func(ctx context.Context, in *AppIn) (*body[client.UsageNow], error) {
			u, err := s.Apps.UsageNow(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			out := client.UsageNow{App: u.App, At: u.At, MilliCPU: u.MilliCPU, MemoryBytes: u.MemoryBytes, Replicas: make([]client.ReplicaUsage, len(u.Replicas))}
			for i, r := range u.Replicas {
				out.Replicas[i] = client.ReplicaUsage(r)
			}
			return ok(out), nil
		})

	type scaleIn struct {
		AppIn
		Process string `path:"process" maxLength:"63" doc:"Process type, such as web."`
		Body    client.Scale
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "scale", Method: http.MethodPatch, Path: "/v1/apps/{name}/processes/{process}", Tags: []string{"processes"}, Summary: "Set how many replicas of a process run"},
		func(ctx context.Context, in *scaleIn) (*none, error) {
			return nil, s.Apps.Scale(ctx, in.Name, in.Process, in.Body.Replicas)
		})

	handle(s, access.ManageApp, huma.Operation{OperationID: "pause-app", Method: http.MethodPost, Path: "/v1/apps/{name}/pause", Tags: []string{"processes"}, Summary: "Stop all processes of an app"},
		func(ctx context.Context, in *AppIn) (*none, error) { return nil, s.Apps.Pause(ctx, in.Name) })
	handle(s, access.ManageApp, huma.Operation{OperationID: "resume-app", Method: http.MethodPost, Path: "/v1/apps/{name}/resume", Tags: []string{"processes"}, Summary: "Start a paused app again"},
		func(ctx context.Context, in *AppIn) (*none, error) { return nil, s.Apps.Resume(ctx, in.Name) })
	handle(s, access.DeployApp, huma.Operation{OperationID: "restart-app", Method: http.MethodPost, Path: "/v1/apps/{name}/restart", DefaultStatus: http.StatusCreated, Tags: []string{"processes"}, Summary: "Replace every replica, new beside old, with today's variables"},
		func(ctx context.Context, in *AppIn) (*body[slipway.Deploy], error) {
			return one(s.Apps.Restart(ctx, in.Name))
		})
	s.logRoutes()
}

// LogIn selects lines of an app's log.
type LogIn struct {
	AppIn
	Process string    `query:"process" maxLength:"63" doc:"Only this process type."`
	Since   time.Time `query:"since" doc:"Not older."`
	Tail    int       `query:"tail" minimum:"0" maximum:"20000" doc:"The last lines of each replica; 0 = all there are."`
}

func (s *server) logRoutes() {
	query := func(in *LogIn, follow bool) apps.LogQuery {
		return apps.LogQuery{Process: in.Process, Replica: -1, Since: in.Since, Tail: in.Tail, Follow: follow}
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "get-logs", Method: http.MethodGet, Path: "/v1/apps/{name}/logs", Tags: []string{"logs"}, Summary: "Read what an app printed"},
		func(ctx context.Context, in *LogIn) (*body[client.Page[client.LogLine]], error) {
			lines := []client.LogLine{}
			err := s.Apps.Logs(ctx, in.Name, query(in, false), func(l apps.Line) error {
				if len(lines) == maxLines {
					return errs.Exhausted("the log has more than %d lines: narrow it with tail, since or process", maxLines)
				}
				lines = append(lines, client.LogLine(l))
				return nil
			})
			if err != nil {
				return nil, err
			}
			return page(lines), nil
		})

	type followIn struct {
		LogIn
		Last string `header:"Last-Event-ID" maxLength:"64"`
	}
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.LogLine](), true, "LogLine")
	handle(s, access.ReadApp, huma.Operation{
		OperationID: "follow-logs", Method: http.MethodGet, Path: "/v1/apps/{name}/logs/stream", Tags: []string{"logs"},
		Summary: "Follow what an app prints", Responses: eventStream(schema, "a LogLine"),
	}, func(ctx context.Context, in *followIn) (*huma.StreamResponse, error) {
		q := query(&in.LogIn, true)
		if in.Last != "" {
			last, err := time.Parse(time.RFC3339Nano, in.Last)
			if err != nil {
				return nil, errs.Invalid("Last-Event-ID is %q: it must be one that this stream sent", in.Last)
			}
			q.Since, q.Tail = last.Add(1), 0
		}
		may := func(ctx context.Context) error { // the same right as for the log
			_, err := s.Apps.Deploys(ctx, in.Name, "", 1)
			return err
		}
		if err := may(ctx); err != nil { // while an error can still be the answer
			return nil, err
		}
		return s.stream(may, func(ctx context.Context, out *sender) error {
			return s.Apps.Logs(ctx, in.Name, q, func(l apps.Line) error {
				return out.send(l.Time.UTC().Format(time.RFC3339Nano), "line", client.LogLine(l))
			})
		}), nil
	})
}
