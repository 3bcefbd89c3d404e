// Package examples are small apps to begin with. The binary carries them, as
// templates of new apps.
package examples

import (
	"archive/tar"
	"bytes"
	"embed"
	"io/fs"
	"slices"

	"slipway.dev/slipway/internal/base/errs"
)

//go:embed dash fastapi iris streamlit
var files embed.FS

// Template is an app to begin with.
type Template struct {
	Name        string // as it is asked for
	Title       string
	Description string
	Framework   string
}

var templates = []Template{
	{"dash", "Dash", "One input and one plot: the least that a Dash app needs.", "Dash"},
	{"iris", "Dash with data", "Explore the iris data set; greets who has signed in and brings its own styles and data.", "Dash"},
	{"streamlit", "Streamlit", "One input and one chart, in a dozen lines.", "Streamlit"},
	{"fastapi", "FastAPI", "An API with its own documentation, served by uvicorn.", "FastAPI"},
}

// Templates lists them in the order in which they are shown.
func Templates() []Template { return slices.Clone(templates) }

// Tar returns the files of a template as a tar archive. NotFound when there is none.
func Tar(name string) ([]byte, error) {
	if !slices.ContainsFunc(templates, func(t Template) bool { return t.Name == name }) {
		return nil, errs.NotFound("there is no template %q: see GET /v1/templates, or slipway templates", name)
	}
	dir, err := fs.Sub(files, name)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(dir); err != nil {
		return nil, err
	}
	return buf.Bytes(), w.Close()
}
