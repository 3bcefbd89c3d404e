package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/control/settings"
	"slipway.dev/slipway/internal/store"
)

// platformRoutes are what administrators set and see, and what everybody sees of it.
func (s *server) platformRoutes() {
	handle(s, signedIn, huma.Operation{OperationID: "get-me", Method: http.MethodGet, Path: "/v1/me", Tags: []string{"people"}, Summary: "Who asks, and what a page needs to know to begin with"},
		func(ctx context.Context, _ *none) (*body[client.Me], error) { return s.me(ctx) })

	handle(s, anyone, huma.Operation{OperationID: "get-branding", Method: http.MethodGet, Path: "/v1/branding", Tags: []string{"platform"}, Summary: "How the platform looks here"},
		func(ctx context.Context, _ *none) (*body[slipway.Branding], error) {
			return one(s.Settings.Branding(ctx))
		})
	handle(s, access.WriteSettings, huma.Operation{OperationID: "update-branding", Method: http.MethodPatch, Path: "/v1/branding", Tags: []string{"platform"}, Summary: "Change how the platform looks here"},
		func(ctx context.Context, in *body[client.UpdateBranding]) (*body[slipway.Branding], error) {
			return one(s.Settings.UpdateBranding(ctx, settings.BrandingPatch(in.Body)))
		})
	handle(s, anyone, huma.Operation{OperationID: "get-logo", Method: http.MethodGet, Path: "/v1/branding/logo", Tags: []string{"platform"}, Summary: "The logo", Responses: pictures()},
		func(ctx context.Context, in *PictureIn) (*PictureOut, error) {
			p, err := s.Settings.Logo(ctx)
			if err != nil {
				return nil, err
			}
			return picture(*in, p.Type, p.Version, p.Data, "public"), nil
		})
	handle(s, access.WriteSettings, huma.Operation{OperationID: "set-logo", Method: http.MethodPut, Path: "/v1/branding/logo", Tags: []string{"platform"}, Summary: "Set the logo: PNG, JPEG or WebP, at most 256 KiB", RequestBody: pictureBody(), MaxBodyBytes: maxPictureBody},
		func(ctx context.Context, in *RawIn) (*none, error) {
			return nil, s.Settings.SetLogo(ctx, append([]byte{}, in.RawBody...))
		})
	handle(s, access.WriteSettings, huma.Operation{OperationID: "delete-logo", Method: http.MethodDelete, Path: "/v1/branding/logo", Tags: []string{"platform"}, Summary: "Take the logo away"},
		func(ctx context.Context, _ *none) (*none, error) { return nil, s.Settings.SetLogo(ctx, nil) })

	handle(s, access.ReadSettings, huma.Operation{OperationID: "list-announcements", Method: http.MethodGet, Path: "/v1/announcements", Tags: []string{"platform"}, Summary: "List all announcements; those to show now are in /v1/me"},
		func(ctx context.Context, _ *none) (*body[client.Page[slipway.Announcement]], error) {
			list, err := s.Settings.Announcements(ctx)
			if err != nil {
				return nil, err
			}
			return page(list), nil
		})
	type announceIn struct {
		Idempotent
		Body client.CreateAnnouncement
	}
	handle(s, access.WriteSettings, huma.Operation{OperationID: "create-announcement", Method: http.MethodPost, Path: "/v1/announcements", DefaultStatus: http.StatusCreated, Tags: []string{"platform"}, Summary: "Tell everybody something"},
		func(ctx context.Context, in *announceIn) (*body[slipway.Announcement], error) {
			return once(ctx, s.answers, in.Key, []any{"announce", in.Body}, func() (*body[slipway.Announcement], error) {
				return one(s.Settings.Announce(ctx, settings.NewAnnouncement(in.Body)))
			})
		})
	type announcementIn struct {
		ID string `path:"id" maxLength:"64" doc:"The announcement."`
	}
	handle(s, access.WriteSettings, huma.Operation{OperationID: "delete-announcement", Method: http.MethodDelete, Path: "/v1/announcements/{id}", Tags: []string{"platform"}, Summary: "Take an announcement back"},
		func(ctx context.Context, in *announcementIn) (*none, error) {
			return nil, s.Settings.Withdraw(ctx, in.ID)
		})

	handle(s, access.ReadSettings, huma.Operation{OperationID: "get-defaults", Method: http.MethodGet, Path: "/v1/defaults", Tags: []string{"platform"}, Summary: "What new apps begin with"},
		func(ctx context.Context, _ *none) (*body[slipway.Defaults], error) {
			return one(s.Settings.Defaults(ctx))
		})
	handle(s, access.WriteSettings, huma.Operation{OperationID: "update-defaults", Method: http.MethodPatch, Path: "/v1/defaults", Tags: []string{"platform"}, Summary: "Change what new apps begin with"},
		func(ctx context.Context, in *body[client.UpdateDefaults]) (*body[slipway.Defaults], error) {
			return one(s.Settings.UpdateDefaults(ctx, settings.DefaultsPatch(in.Body)))
		})

	handle(s, access.ReadSettings, huma.Operation{OperationID: "get-limits", Method: http.MethodGet, Path: "/v1/limits", Tags: []string{"platform"}, Summary: "The platform's limits, and what is used"},
		func(ctx context.Context, _ *none) (*body[client.Limits], error) {
			r, err := s.Apps.Room(ctx)
			return one(limitsOf(r), err)
		})
	handle(s, access.WriteSettings, huma.Operation{OperationID: "update-limits", Method: http.MethodPatch, Path: "/v1/limits", Tags: []string{"platform"}, Summary: "Change the platform's limits"},
		func(ctx context.Context, in *body[client.UpdateLimits]) (*body[client.Limits], error) {
			r, err := s.Apps.SetRoom(ctx, func(l *store.Limits) {
				for _, v := range []struct {
					to   *int64
					from *int64
				}{
					{&l.Replicas, in.Body.Replicas},
					{&l.Volumes, in.Body.Volumes},
					{&l.MemoryMB, in.Body.Memory},
					{&l.Seats, in.Body.Seats},
					{&l.ProcessReplicas, in.Body.ProcessReplicas},
					{&l.ReplicaMemoryMB, in.Body.ReplicaMemoryMB},
				} {
					if v.from != nil {
						*v.to = *v.from
					}
				}
			})
			return one(limitsOf(r), err)
		})

	handle(s, access.ReadSettings, huma.Operation{OperationID: "get-health", Method: http.MethodGet, Path: "/v1/health", Tags: []string{"platform"}, Summary: "How the platform's parts are"},
		func(ctx context.Context, _ *none) (*body[client.Health], error) { return s.health(ctx) })
	s.auditRoutes()
}

// AuditIn selects lines of the audit log.
type AuditIn struct {
	Actor  string    `query:"actor" maxLength:"100" doc:"User name."`
	Verb   string    `query:"verb" maxLength:"60" doc:"Such as app.share, or app for all that begin with app."`
	Object string    `query:"object" maxLength:"100" doc:"Name of an app or a person."`
	Query  string    `query:"q" maxLength:"100" doc:"Part of any field."`
	Since  time.Time `query:"since"`
	Until  time.Time `query:"until"`
}

func (s *server) auditRoutes() {
	type listIn struct {
		PageIn
		AuditIn
	}
	handle(s, access.ReadAudit, huma.Operation{OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit", Tags: []string{"platform"}, Summary: "Who did what, newest first"},
		func(ctx context.Context, in *listIn) (*body[client.Page[slipway.AuditEntry]], error) {
			lines, next, err := s.Settings.Audit(ctx, auditFilter(in.AuditIn), in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := page(lines)
			out.Body.Next = next
			return out, nil
		})
	type exportIn struct {
		AuditIn
		Format string `query:"format" enum:"csv,ndjson" default:"csv"`
	}
	text := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	handle(s, access.ReadAudit, huma.Operation{
		OperationID: "export-audit", Method: http.MethodGet, Path: "/v1/audit/export", Tags: []string{"platform"}, Summary: "The audit log as a file, oldest first",
		Responses: map[string]*huma.Response{"200": {Description: "All lines that the filter selects", Content: map[string]*huma.MediaType{"text/csv": text, "application/x-ndjson": text}}},
	}, func(ctx context.Context, in *exportIn) (*huma.StreamResponse, error) {
		if _, _, err := s.Settings.Audit(ctx, store.AuditFilter{}, "", 1); err != nil { // while an error can still be the answer
			return nil, err
		}
		return s.export(auditFilter(in.AuditIn), in.Format), nil
	})
}

func auditFilter(in AuditIn) store.AuditFilter {
	return store.AuditFilter{Actor: in.Actor, Verb: in.Verb, Object: in.Object, Query: in.Query, Since: in.Since, Until: in.Until}
}

// export writes the audit log as a file.
func (s *server) export(f store.AuditFilter, format string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		mediaType := map[string]string{"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}[format]
		hc.SetHeader("Content-Type", mediaType)
		hc.SetHeader("Content-Disposition", `attachment; filename="audit.`+format+`"`)
		table := csv.NewWriter(hc.BodyWriter())
		lines := json.NewEncoder(hc.BodyWriter())
		var err error
		if format == "csv" {
			err = table.Write([]string{"seq", "at", "actor", "addr", "verb", "object", "result", "detail"})
		}
		if err == nil {
			err = s.Settings.EachAudit(hc.Context(), f, func(e slipway.AuditEntry) error {
				if format != "csv" {
					return lines.Encode(e)
				}
				return table.Write([]string{
					strconv.FormatInt(e.Seq, 10), e.At.Format(time.RFC3339Nano), cell(e.Actor), e.Addr, cell(e.Verb), cell(e.Object), e.Result, cell(e.Detail),
				})
			})
		}
		table.Flush()
		if err != nil && hc.Context().Err() == nil {
			s.Log.ErrorContext(hc.Context(), "the audit log was not sent whole", "error", err)
			panic(http.ErrAbortHandler) // so that nobody takes a part for the whole
		}
	}}
}

// cell keeps a spreadsheet from taking text for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func (s *server) me(ctx context.Context) (*body[client.Me], error) {
	a := slipway.ActorFrom(ctx)
	out := client.Me{
		Whoami: client.Whoami{User: *a.User, Token: a.Token, Scopes: a.Scopes}, Version: s.Version, Hosts: s.Hosts,
		Features: []string{"portal"}, Warnings: []client.Warning{},
	}
	var err error
	if out.Branding, err = s.Settings.Branding(ctx); err != nil {
		return nil, err
	}
	if out.Announcements, err = s.Settings.Current(ctx); err != nil {
		return nil, err
	}
	develops, err := s.Apps.Develops(ctx)
	if err != nil {
		return nil, err
	}
	if develops || a.User.Has(slipway.RoleLicensed) || a.User.Has(slipway.RoleAdmin) {
		out.Features = append(out.Features, "apps")
	}
	if a.User.Has(slipway.RoleLicensed) {
		out.Features = append(out.Features, "create")
	}
	if a.User.Has(slipway.RoleAdmin) {
		out.Features = append(out.Features, "admin")
	}
	warnings, err := s.Apps.Warnings(ctx)
	for _, w := range warnings {
		out.Warnings = append(out.Warnings, client.Warning{Limit: w.Limit, Used: w.Used, Max: w.Max, Text: w.Text, Level: w.State})
	}
	return one(out, err)
}

func limitsOf(r apps.LimitReport) client.Limits {
	one := func(l apps.Limit) client.Limit {
		out := client.Limit{Used: l.Used, Max: l.Max, Default: l.Default, State: l.State()}
		if l.Set != 0 {
			out.Override = &l.Set
		}
		return out
	}
	out := client.Limits{
		Replicas: one(r.Replicas), Volumes: one(r.Volumes), Memory: one(r.MemoryMB), Seats: one(r.Seats),
		ProcessReplicas: one(r.ProcessReplicas), ReplicaMemoryMB: one(r.ReplicaMemoryMB), WarnAtPercent: apps.WarnAt, Frees: []client.Use{},
	}
	out.ReplicaMemoryMB.State = "ok" // it is a size, not a count
	for _, u := range r.Uses {
		if len(out.Frees) == 20 {
			break
		}
		do := "Pausing it frees its replicas; deleting it, its volume too."
		if u.Replicas == 0 {
			do = "It is paused: only deleting it frees its volume."
		}
		out.Frees = append(out.Frees, client.Use{
			App: u.App.Name, Owner: u.App.OwnerName, Replicas: u.Replicas, Volumes: u.Volumes, MemoryMB: u.MemoryMB, Opened: u.Opened, Do: do,
		})
	}
	return out
}

// health asks each part.
func (s *server) health(ctx context.Context) (*body[client.Health], error) {
	if err := access.Check(slipway.ActorFrom(ctx), access.ReadSettings, access.Platform()); err != nil {
		return nil, err
	}
	out := client.Health{State: "ok", Parts: []client.Part{{Name: "core", State: "ok", Detail: "version " + s.Version}}}
	info, err := s.Engine.Info(ctx)
	engine := client.Part{Name: "engine", State: "ok", Detail: info.Engine + ", isolation " + string(info.Isolation)}
	switch {
	case err != nil:
		s.Log.ErrorContext(ctx, "the engine does not answer", "error", err)
		engine.State, engine.Detail = "down", "it does not answer: see the platform's log"
	case info.Why != "":
		engine.State, engine.Detail = "warning", engine.Detail+": "+info.Why
	}
	out.Parts = append(out.Parts, engine)
	if s.Health != nil {
		out.Parts = append(out.Parts, s.Health(ctx)...)
	}
	for _, p := range out.Parts {
		if p.State == "down" || p.State == "warning" && out.State == "ok" {
			out.State = p.State
		}
	}
	return ok(out), nil
}
