package api

import (
	"bufio"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// DeployIn names a deploy.
type DeployIn struct {
	ID slipway.DeployID `path:"id" maxLength:"64" doc:"The deploy."`
}

func one[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return ok(v), nil
}

func (s *server) deployRoutes() {
	type pagedIn struct {
		AppIn
		PageIn
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-deploys", Method: http.MethodGet, Path: "/v1/apps/{name}/deploys", Tags: []string{"deploys"}, Summary: "List an app's deploys, newest first"},
		func(ctx context.Context, in *pagedIn) (*body[client.Page[slipway.Deploy]], error) {
			p, err := s.Apps.Deploys(ctx, in.Name, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := page(p.Items)
			out.Body.Next = p.Next
			return out, nil
		})

	archive := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	handle(s, access.DeployApp, huma.Operation{
		OperationID: "deploy", Method: http.MethodPost, Path: "/v1/apps/{name}/deploys", DefaultStatus: http.StatusCreated, Tags: []string{"deploys"},
		Summary:     "Upload an app's files as a tar archive, plain or gzip, and deploy them",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/x-tar": archive, "application/gzip": archive}},
	}, s.upload)

	handle(s, access.ReadApp, huma.Operation{OperationID: "get-deploy", Method: http.MethodGet, Path: "/v1/deploys/{id}", Tags: []string{"deploys"}, Summary: "Get a deploy with its steps"},
		func(ctx context.Context, in *DeployIn) (*body[slipway.Deploy], error) {
			return one(s.Apps.GetDeploy(ctx, in.ID))
		})
	handle(s, access.DeployApp, huma.Operation{OperationID: "cancel-deploy", Method: http.MethodPost, Path: "/v1/deploys/{id}/cancel", Tags: []string{"deploys"}, Summary: "Stop a deploy that has not switched traffic yet"},
		func(ctx context.Context, in *DeployIn) (*body[slipway.Deploy], error) {
			return one(s.Apps.CancelDeploy(ctx, in.ID))
		})

	handle(s, access.DeployApp, huma.Operation{OperationID: "redeploy", Method: http.MethodPost, Path: "/v1/deploys/{id}/redeploy", DefaultStatus: http.StatusCreated, Tags: []string{"deploys"}, Summary: "Deploy the same files again, as a new deploy"},
		func(ctx context.Context, in *DeployIn) (*body[slipway.Deploy], error) {
			return one(s.Apps.Redeploy(ctx, in.ID))
		})
	handle(s, access.ReadApp, huma.Operation{OperationID: "get-deploy-log", Method: http.MethodGet, Path: "/v1/deploys/{id}/log", Tags: []string{"deploys"}, Summary: "A deploy's log so far, line by line, each with its step"},
		func(ctx context.Context, in *DeployIn) (*body[client.Page[client.DeployLine]], error) {
			lines := []client.DeployLine{}
			step := ""
			err := s.Apps.DeployLog(ctx, in.ID, func(e apps.Event) error {
				switch {
				case e.Step != nil && e.Step.State == slipway.StepRunning:
					step = e.Step.Name
				case e.Step == nil && e.Deploy == nil:
					lines = append(lines, client.DeployLine{Seq: e.Seq, At: e.At, Step: step, Text: e.Line})
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			return page(lines), nil
		})

	type followIn struct {
		DeployIn
		Last string `header:"Last-Event-ID" maxLength:"40"`
	}
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.DeployEvent](), true, "DeployEvent")
	handle(s, access.ReadApp, huma.Operation{
		OperationID: "follow-deploy", Method: http.MethodGet, Path: "/v1/deploys/{id}/events", Tags: []string{"deploys"},
		Summary: "Follow a deploy: what happened, and what happens until its end", Responses: eventStream(schema, "a DeployEvent"),
	}, func(ctx context.Context, in *followIn) (*huma.StreamResponse, error) {
		may := func(ctx context.Context) error {
			_, err := s.Apps.GetDeploy(ctx, in.ID)
			return err
		}
		if err := may(ctx); err != nil { // while an error can still be the answer
			return nil, err
		}
		last, err := strconv.ParseInt("0"+in.Last, 10, 64)
		if err != nil {
			return nil, errs.Invalid("Last-Event-ID is %q: it must be one that this stream sent", in.Last)
		}
		return s.stream(may, func(ctx context.Context, out *sender) error {
			return s.Apps.Follow(ctx, in.ID, func(e apps.Event) error {
				if e.Seq <= last {
					return nil
				}
				return out.send(strconv.FormatInt(e.Seq, 10), eventName(e), client.DeployEvent(e))
			})
		}), nil
	})
	s.releaseRoutes()
}

func eventName(e apps.Event) string {
	switch {
	case e.Deploy != nil:
		return "deploy"
	case e.Step != nil:
		return "step"
	}
	return "line"
}

func (s *server) releaseRoutes() {
	type pagedIn struct {
		AppIn
		PageIn
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-releases", Method: http.MethodGet, Path: "/v1/apps/{name}/releases", Tags: []string{"releases"}, Summary: "List an app's releases, newest first"},
		func(ctx context.Context, in *pagedIn) (*body[client.Page[slipway.Release]], error) {
			p, err := s.Apps.Releases(ctx, in.Name, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := page(p.Items)
			out.Body.Next = p.Next
			return out, nil
		})

	type compareIn struct {
		AppIn
		N    int `path:"n" minimum:"1" doc:"Number of the newer release."`
		With int `query:"with" minimum:"0" doc:"Number of the older; 0 = the one before."`
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "compare-releases", Method: http.MethodGet, Path: "/v1/apps/{name}/releases/{n}/compare", Tags: []string{"releases"}, Summary: "What a release changed: commits, dependencies, variables (without values) and processes"},
		func(ctx context.Context, in *compareIn) (*body[client.Comparison], error) {
			c, err := s.Apps.Compare(ctx, in.Name, in.N, in.With)
			if err != nil {
				return nil, err
			}
			out := client.Comparison{
				From: c.From, To: c.To, SameSource: c.From.Source == c.To.Source, SameEnv: c.From.Env == c.To.Env, Commits: []client.Commit{},
				Dependencies: differences(c.Dependencies), Env: differences(c.Env), Processes: differences(c.Processes),
			}
			if s.Commits != nil && c.From.Commit != c.To.Commit {
				if out.Commits, err = s.Commits(ctx, in.Name, c.From.Commit, c.To.Commit); err != nil {
					return nil, err
				}
			}
			return ok(out), nil
		})

	type rollbackIn struct {
		AppIn
		Idempotent
		Body client.Rollback
	}
	handle(s, access.DeployApp, huma.Operation{OperationID: "rollback", Method: http.MethodPost, Path: "/v1/apps/{name}/rollback", DefaultStatus: http.StatusCreated, Tags: []string{"releases"}, Summary: "Deploy an older release's files again"},
		func(ctx context.Context, in *rollbackIn) (*body[slipway.Deploy], error) {
			return once(ctx, s.answers, in.Key, []any{"rollback", in.Name, in.Body}, func() (*body[slipway.Deploy], error) {
				return one(s.Apps.Rollback(ctx, in.Name, in.Body.Release))
			})
		})
}

func differences(list []apps.Difference) []client.Difference {
	out := make([]client.Difference, len(list))
	for i, d := range list {
		out[i] = client.Difference(d)
	}
	return out
}

// uploadIn takes the body as a stream: huma would read all of it into memory.
type uploadIn struct {
	AppIn
	Idempotent
	Message string `query:"message" maxLength:"2000" doc:"What changed."`
	Commit  string `query:"commit" maxLength:"64" doc:"The commit that the files are from."`
	Type    string `header:"Content-Type" hidden:"true"`

	stream io.Reader
}

// Resolve gets at the body.
func (u *uploadIn) Resolve(hc huma.Context) []error {
	u.stream = hc.BodyReader()
	return nil
}

func (s *server) upload(ctx context.Context, in *uploadIn) (*body[slipway.Deploy], error) {
	if err := s.Apps.MayDeploy(ctx, in.Name); err != nil { // before 200 MB are read
		return nil, err
	}
	tooLarge := errs.Invalid("the archive is larger than %d MB: leave out what the app does not need, with .gitignore", s.MaxUpload>>20)
	tar, err := unpacked(&limited{r: in.stream, left: s.MaxUpload, over: tooLarge}, in.Type)
	if err != nil {
		return nil, err
	}
	source, err := s.Source.AddSource(ctx, tar)
	if err != nil {
		return nil, err
	}
	d := apps.DeployInput{Source: source, Commit: in.Commit, Message: in.Message, Cause: slipway.CauseUpload}
	return once(ctx, s.answers, in.Key, []any{"deploy", in.Name, d}, func() (*body[slipway.Deploy], error) {
		return one(s.Apps.Deploy(ctx, in.Name, d))
	})
}

// unpacked takes gzip off by what is there, not by what is said: clients that
// send .tar.gz as application/x-tar are common.
func unpacked(r io.Reader, contentType string) (io.Reader, error) {
	switch contentType {
	case "application/x-tar", "application/tar", "application/gzip", "application/x-gzip", "application/octet-stream", "application/x-gtar":
	default:
		return nil, errs.Invalid("the body must be a tar archive: Content-Type application/x-tar, or application/gzip")
	}
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err != nil {
		if !errs.Is(err, errs.KindInternal) {
			return nil, err
		}
		return nil, errs.Wrap(err, errs.KindInvalid, "the archive is empty")
	}
	if head[0] != 0x1f || head[1] != 0x8b {
		return b, nil
	}
	z, err := gzip.NewReader(b)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "the archive is no gzip after all")
	}
	return z, nil
}

// limited reads at most so many bytes; when there are more, its error is over.
type limited struct {
	r    io.Reader
	left int64
	over error
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := l.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, l.over
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
