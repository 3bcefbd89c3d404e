package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/control/apps"
)

// PictureIn asks for a picture; who has that version already gets none.
type PictureIn struct {
	Match   string `header:"If-None-Match" maxLength:"100"`
	Version string `query:"v" maxLength:"64" doc:"Version; with it the answer may be kept for long."`
}

// PictureOut is a picture.
type PictureOut struct {
	Status int
	Type   string `header:"Content-Type"`
	ETag   string `header:"ETag"`
	Cache  string `header:"Cache-Control"`
	CSP    string `header:"Content-Security-Policy"`
	Body   []byte
}

// maxPictureBody is a little more than any picture may have, so that the use
// case says what is wrong.
const maxPictureBody = 2 << 20

// picture answers with a picture that browsers show and never run. One asked
// for by its version never changes.
func picture(in PictureIn, mediaType, version string, data []byte, cache string) *PictureOut {
	out := &PictureOut{
		Status: http.StatusOK, Type: mediaType, ETag: `"` + version + `"`, Cache: cache + ", no-cache",
		CSP: "default-src 'none'; sandbox", Body: data,
	}
	if in.Version == version {
		out.Cache = cache + ", max-age=31536000, immutable"
	}
	if in.Match == out.ETag {
		out.Status, out.Body, out.Type = http.StatusNotModified, nil, ""
	}
	return out
}

// pictures documents the answer of a picture.
func pictures() map[string]*huma.Response {
	bin := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	return map[string]*huma.Response{
		"200": {Description: "The picture", Content: map[string]*huma.MediaType{"image/png": bin, "image/jpeg": bin, "image/webp": bin}},
		"304": {Description: "It is the one that the caller has"},
	}
}

// pictureBody documents an uploaded picture.
func pictureBody() *huma.RequestBody {
	bin := &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
	return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"image/png": bin, "image/jpeg": bin, "image/webp": bin}}
}

func (s *server) portalRoutes() {
	type listIn struct {
		PageIn
		Query      string   `query:"q" maxLength:"100" doc:"Words that name, title, description, tags, owner or contact hold."`
		Tags       []string `query:"tag,explode" maxItems:"20" doc:"Only apps that have all of these."`
		Favourites bool     `query:"favourites" doc:"Only one's favourites."`
		Recent     bool     `query:"recent" doc:"Only those that one has opened, the last opened first."`
	}
	handle(s, signedIn, huma.Operation{OperationID: "get-portal", Method: http.MethodGet, Path: "/v1/portal", Tags: []string{"portal"}, Summary: "The apps that one may open, as cards: by rank, then the most used"},
		func(ctx context.Context, in *listIn) (*body[client.Portal], error) {
			p, tags, err := s.Apps.Portal(ctx, apps.PortalFilter{
				Query: in.Query, Tags: in.Tags, Favourites: in.Favourites, Recent: in.Recent, Cursor: in.Cursor, Limit: in.Limit,
			})
			if err != nil {
				return nil, err
			}
			out := client.Portal{
				Page: client.Page[client.Card]{Items: make([]client.Card, len(p.Items)), Next: p.Next, Total: p.Total},
				Tags: make([]client.TagCount, len(tags)),
			}
			for i, c := range p.Items {
				out.Items[i] = s.card(c)
			}
			for i, t := range tags {
				out.Tags[i] = client.TagCount(t)
			}
			return ok(out), nil
		})
	handle(s, access.MarkApp, huma.Operation{OperationID: "star-app", Method: http.MethodPut, Path: "/v1/portal/favourites/{name}", Tags: []string{"portal"}, Summary: "Make an app a favourite of one's own"},
		func(ctx context.Context, in *AppIn) (*none, error) { return nil, s.Apps.Star(ctx, in.Name, true) })
	handle(s, access.MarkApp, huma.Operation{OperationID: "unstar-app", Method: http.MethodDelete, Path: "/v1/portal/favourites/{name}", Tags: []string{"portal"}, Summary: "Make an app a favourite no more"},
		func(ctx context.Context, in *AppIn) (*none, error) { return nil, s.Apps.Star(ctx, in.Name, false) })
	s.thumbnailRoutes()
}

func (s *server) card(c apps.Card) client.Card {
	out := client.Card{
		Name: c.Name, Title: c.Title, Description: c.Description, Tags: c.Tags, Rank: c.Rank, Owner: c.OwnerName, Contact: c.Contact,
		State: c.State, URL: s.Hosts.App(c.Name, c.Isolated), Favourite: c.Favourite, Updated: c.Updated,
	}
	if out.Tags == nil {
		out.Tags = []string{}
	}
	if c.Thumbnail != "" {
		out.Thumbnail = "/v1/apps/" + c.Name + "/thumbnail?v=" + c.Thumbnail
	}
	if !c.Opened.IsZero() {
		out.Opened = &c.Opened
	}
	return out
}

// RawIn takes the body as it is.
type RawIn struct {
	RawBody []byte
}

func (s *server) thumbnailRoutes() {
	type thumbIn struct {
		AppIn
		PictureIn
	}
	handle(s, access.SeeApp, huma.Operation{OperationID: "get-thumbnail", Method: http.MethodGet, Path: "/v1/apps/{name}/thumbnail", Tags: []string{"portal"}, Summary: "An app's picture", Responses: pictures()},
		func(ctx context.Context, in *thumbIn) (*PictureOut, error) {
			p, err := s.Apps.Thumbnail(ctx, in.Name)
			if err != nil {
				return nil, err
			}
			return picture(in.PictureIn, p.Type, p.Version, p.Data, "private"), nil
		})
	type setIn struct {
		AppIn
		RawIn
	}
	handle(s, access.ManageApp, huma.Operation{OperationID: "set-thumbnail", Method: http.MethodPut, Path: "/v1/apps/{name}/thumbnail", Tags: []string{"portal"}, Summary: "Give an app a picture: PNG, JPEG or WebP, at most 1 MiB", RequestBody: pictureBody(), MaxBodyBytes: maxPictureBody},
		func(ctx context.Context, in *setIn) (*none, error) {
			return nil, s.Apps.SetThumbnail(ctx, in.Name, append([]byte{}, in.RawBody...))
		})
	handle(s, access.ManageApp, huma.Operation{OperationID: "delete-thumbnail", Method: http.MethodDelete, Path: "/v1/apps/{name}/thumbnail", Tags: []string{"portal"}, Summary: "Take an app's picture away"},
		func(ctx context.Context, in *AppIn) (*none, error) {
			return nil, s.Apps.SetThumbnail(ctx, in.Name, nil)
		})
}
