package api

import (
	"context"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// maxFile is what a file may have that is sent; apps may make larger ones.
const maxFile = 4 << 30

// FileIn names something in an app's ~/mount.
type FileIn struct {
	AppIn
	Path string `query:"path" required:"true" minLength:"1" maxLength:"4000" doc:"Below ~/mount, with / between names."`
}

// writeIn takes the body as a stream, as uploadIn does.
type writeIn struct {
	FileIn
	Length string `header:"Content-Length" hidden:"true"`

	stream io.Reader
}

// Resolve gets at the body.
func (w *writeIn) Resolve(hc huma.Context) []error {
	w.stream = hc.BodyReader()
	return nil
}

func (s *server) fileRoutes() {
	type listIn struct {
		AppIn
		Path   string `query:"path" maxLength:"4000" doc:"A folder below ~/mount; absent = ~/mount itself."`
		Cursor string `query:"cursor" maxLength:"4000" doc:"next of the part before."`
		Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
	}
	handle(s, access.ReadApp, huma.Operation{OperationID: "list-files", Method: http.MethodGet, Path: "/v1/apps/{name}/files", Tags: []string{"files"}, Summary: "List a folder of an app's ~/mount: folders first, then by name. A replica of the app must run"},
		func(ctx context.Context, in *listIn) (*body[client.Page[client.File]], error) {
			p, err := s.Apps.ListFiles(ctx, in.Name, in.Path, in.Cursor, in.Limit)
			if err != nil {
				return nil, err
			}
			out := page(make([]client.File, len(p.Items)))
			for i, f := range p.Items {
				out.Body.Items[i] = client.File{Name: f.Name, Kind: string(f.Kind), Size: f.Size, Modified: f.Modified, Link: f.Link, Odd: f.Odd}
			}
			out.Body.Next, out.Body.Total = p.Next, p.Total
			return out, nil
		})
	handle(s, access.ManageApp, huma.Operation{OperationID: "delete-file", Method: http.MethodDelete, Path: "/v1/apps/{name}/files", Tags: []string{"files"}, Summary: "Delete a file of an app's ~/mount, or a folder with all that is in it"},
		func(ctx context.Context, in *FileIn) (*none, error) {
			return nil, s.Apps.DeleteFile(ctx, in.Name, in.Path)
		})
	type folderIn struct {
		AppIn
		Body client.NewFolder
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "create-folder", Method: http.MethodPost, Path: "/v1/apps/{name}/files/folders", Tags: []string{"files"}, Summary: "Make a folder in an app's ~/mount"},
		func(ctx context.Context, in *folderIn) (*none, error) {
			return nil, s.Apps.MakeFolder(ctx, in.Name, in.Body.Path)
		})

	content := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	handle(s, access.ReadApp, huma.Operation{
		OperationID: "get-file", Method: http.MethodGet, Path: "/v1/apps/{name}/files/content", Tags: []string{"files"}, Summary: "Download a file of an app's ~/mount",
		Responses: map[string]*huma.Response{"200": {Description: "The file", Content: content}},
	}, func(ctx context.Context, in *FileIn) (*huma.StreamResponse, error) {
		return s.download(in.Name, in.Path), s.Apps.MayRead(ctx, in.Name)
	})
	handle(s, access.ManageApp, huma.Operation{
		OperationID: "put-file", Method: http.MethodPut, Path: "/v1/apps/{name}/files/content", Tags: []string{"files"},
		Summary:     "Make or replace a file of an app's ~/mount: whole or not at all; at most 4 GiB",
		RequestBody: &huma.RequestBody{Required: true, Content: content},
	}, func(ctx context.Context, in *writeIn) (*none, error) {
		if err := s.Apps.MayWriteFiles(ctx, in.Name); err != nil {
			return nil, err
		}
		tooLarge := errs.Exhausted("the file is larger than the %d GiB that can be sent: let the app fetch it itself", s.MaxFile>>30)
		if n, err := strconv.ParseInt(in.Length, 10, 64); err == nil && n > s.MaxFile {
			return nil, tooLarge
		}
		return nil, s.Apps.WriteFile(ctx, in.Name, in.Path, &limited{r: in.stream, left: s.MaxFile, over: tooLarge})
	})
}

// download sends a file as what is kept and never shown: it is the app's, and
// this is the host of the platform's own pages.
func (s *server) download(app, file string) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		begun := false
		err := s.Apps.ReadFile(hc.Context(), app, file, func(f apps.File) io.Writer {
			begun = true
			h := w.Header()
			h.Set("Content-Type", "application/octet-stream")
			h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": path.Base(file)}))
			h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
			h.Set("Content-Length", strconv.FormatInt(f.Size, 10))
			h.Set("Last-Modified", f.Modified.Format(http.TimeFormat))
			w.WriteHeader(http.StatusOK)
			return w
		})
		switch {
		case err == nil:
		case !begun:
			s.refuse(w, r, err)
		default:
			if hc.Context().Err() == nil {
				s.Log.WarnContext(hc.Context(), "a file was not sent whole", "app", app, "error", err)
			}
			panic(http.ErrAbortHandler) // so that nobody takes a part for the whole
		}
	}}
}
