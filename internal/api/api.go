// Package api is the HTTP API, version 1: it decodes a request, calls a use
// case and encodes what comes back with the types of package client. Rights
// are the use cases' business; here it is found out who asks. The OpenAPI
// document is made from the same route table that serves.
package api

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/control/settings"
	"slipway.dev/slipway/internal/engine"
)

// Options are what the API is made of.
type Options struct {
	Apps     *apps.Service
	People   *people.Service
	Settings *settings.Service
	Health   func(ctx context.Context) []client.Part // of what the API itself does not know; may be nil
	Engine   engine.Engine
	Source   Source
	// Commits lists the commits of an app's repository that lead to one and not to
	// another, newest first, at most 100; none for what it does not have. May be nil.
	Commits   func(ctx context.Context, app, from, to string) ([]client.Commit, error)
	SSH       *client.SSHHost // where git is served over SSH; nil where it is not
	Hosts     slipway.Hosts
	Version   string // of the platform
	MaxUpload int64  // bytes of an uploaded archive as it comes; 0 = 200 MB
	MaxFile   int64  // bytes of a file that is sent into an app's ~/mount; 0 = 4 GiB
	Log       *slog.Logger
}

// Source keeps an app's files as a layer; package build does.
type Source interface {
	AddSource(ctx context.Context, tar io.Reader) (layer string, err error)
}

const maxUpload = 200 << 20

type server struct {
	Options
	huma    huma.API
	answers *answers
}

// New returns the handler of the management host's /v1.
func New(o Options) http.Handler {
	_, h := build(o)
	return h
}

// Spec returns the OpenAPI document.
func Spec() ([]byte, error) {
	s, _ := build(Options{Log: slog.New(slog.DiscardHandler)})
	doc, err := json.MarshalIndent(s.huma.OpenAPI(), "", "  ")
	return append(doc, '\n'), err
}

func build(o Options) (*server, http.Handler) {
	if o.MaxUpload == 0 {
		o.MaxUpload = maxUpload
	}
	if o.MaxFile == 0 {
		o.MaxFile = maxFile
	}
	s := &server{Options: o, answers: newAnswers(time.Now)}
	mux := http.NewServeMux()
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	s.huma = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Slipway", Version: "1",
				Description: "Build, run and share data apps. Errors are problems of RFC 9457 with a `kind`; lists come in pages; creates take an Idempotency-Key.",
			},
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"token":   {Type: "http", Scheme: "bearer", Description: "An API token."},
					"session": {Type: "apiKey", In: "cookie", Name: cookieName(slipway.Hosts{Scheme: "https"}), Description: "A browser's session on the management host."},
				},
			},
			Security: []map[string][]string{{"token": {}}, {"session": {}}},
		},
		OpenAPIPath:                  "/v1/openapi",
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{ours},
	})
	s.routes()
	for name := range registry.Map() {
		if name == "ErrorModel" || name == "ErrorDetail" { // huma's own, never sent
			delete(registry.Map(), name)
		}
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, errs.NotFound("no such route in the API: see /v1/openapi.json"))
	})
	return s, s.identify(mux)
}

func (s *server) routes() {
	s.peopleRoutes()
	s.userRoutes()
	s.appRoutes()
	s.envRoutes()
	s.deployRoutes()
	s.processRoutes()
	s.fileRoutes()
	s.templateRoutes()
	s.upstreamRoutes()
	s.statusRoutes()
	s.portalRoutes()
	s.sharingRoutes()
	s.metricsRoutes()
	s.platformRoutes()
	s.eventRoutes()
}

// Routes that ask for less than a verb of package access.
const (
	anyone   access.Verb = "anyone"    // no sign-in
	signedIn access.Verb = "signed-in" // any person: what comes back is theirs
)

// handle adds a route to the table. verb is what it asks of the caller: the use
// case checks it, and a test holds every route to it with real people.
func handle[I, O any](s *server, verb access.Verb, op huma.Operation, fn func(ctx context.Context, in *I) (*O, error)) {
	op.Extensions = map[string]any{"x-slipway-access": verb}
	if op.Metadata["planned"] == true {
		op.Extensions["x-slipway-planned"] = true
	}
	if verb == anyone {
		op.Security = []map[string][]string{}
	}
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	schema := s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	op.Responses["default"] = &huma.Response{Description: "Error", Content: map[string]*huma.MediaType{problemType: {Schema: schema}}}
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if verb != anyone && slipway.ActorFrom(ctx).User == nil {
			return nil, s.problem(ctx, errs.Unauthenticated("sign in, or send an API token"))
		}
		out, err := fn(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

type (
	body[T any] struct{ Body T }
	none        struct{}
)

// Parts of inputs. huma looks into exported embedded types only.
type (
	// PageIn selects a part of a list.
	PageIn struct {
		Cursor string `query:"cursor" maxLength:"500" doc:"next of the part before."`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	}
	// Idempotent makes repeating a create harmless.
	Idempotent struct {
		Key string `header:"Idempotency-Key" maxLength:"200" doc:"Of your choice: repeating a request with the same one gives the same answer."`
	}
	// AppIn names an app.
	AppIn struct {
		Name string `path:"name" maxLength:"100" doc:"The app."`
	}
)

func ok[T any](v T) *body[T] { return &body[T]{v} }

// page is a whole list as a page without a next.
func page[T any](items []T) *body[client.Page[T]] {
	if items == nil {
		items = []T{}
	}
	return ok(client.Page[T]{Items: items})
}
