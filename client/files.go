package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

// File is something in an app's ~/mount.
type File struct {
	Name     string    `json:"name"`
	Kind     string    `json:"kind" enum:"file,folder,other" doc:"A link's is that of what it leads to; other: a link that leads nowhere or out, a socket, a device."`
	Size     int64     `json:"size" doc:"Of a file, in bytes."`
	Modified time.Time `json:"modified"`
	Link     bool      `json:"link,omitempty"`
	Odd      bool      `json:"odd,omitempty" doc:"Its name is no UTF-8 text: only the app can reach it."`
}

// NewFolder names a folder to make.
type NewFolder struct {
	Path string `json:"path" maxLength:"4000" doc:"Below ~/mount, with / between names."`
}

func at(path string) url.Values { return url.Values{"path": {path}} }

// Files lists a folder of an app's ~/mount; an empty path is ~/mount itself.
func (c *Client) Files(ctx context.Context, app, path string) ([]File, error) {
	q := at(path)
	q.Set("limit", "1000")
	return all[File](ctx, c, appPath(app, "files"), q)
}

// GetFile copies a file of an app's ~/mount to w and returns its size. An error
// means that what w got is not whole.
func (c *Client) GetFile(ctx context.Context, app, path string, w io.Writer) (int64, error) {
	res, err := c.send(ctx, call{method: http.MethodGet, path: appPath(app, "files", "content"), query: at(path), accept: "application/octet-stream"})
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	n, err := io.Copy(w, res.Body)
	if err != nil && ctx.Err() == nil {
		err = errs.Wrap(err, errs.KindUnavailable, "the file did not come whole: try again")
	}
	return n, err
}

// PutFile makes or replaces a file of an app's ~/mount with all that r gives, or
// changes nothing. size tells the platform how much comes; -1 = not known.
func (c *Client) PutFile(ctx context.Context, app, path string, r io.Reader, size int64) error {
	return c.do(ctx, call{method: http.MethodPut, path: appPath(app, "files", "content"), query: at(path), body: r, size: size, contentType: "application/octet-stream"}, nil)
}

// MakeFolder makes a folder in an app's ~/mount.
func (c *Client) MakeFolder(ctx context.Context, app, path string) error {
	return c.do(ctx, call{method: http.MethodPost, path: appPath(app, "files", "folders"), in: NewFolder{Path: path}}, nil)
}

// DeleteFile deletes a file of an app's ~/mount, or a folder with all that is in it.
func (c *Client) DeleteFile(ctx context.Context, app, path string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: appPath(app, "files"), query: at(path)}, nil)
}
