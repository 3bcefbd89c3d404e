// Package web holds the browser's part of the Portal and the App Manager as
// `make build` made it from web/, and serves it: one document for every page,
// and assets whose names change with their content. It knows no product; who
// may see a page is decided before it is asked.
package web

import (
	"bytes"
	"crypto/rand"
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

//go:embed placeholder.html
var placeholder []byte

// mark is what the build leaves in the document where each answer's nonce goes.
const mark = "__SLIPWAY_NONCE__"

// UI serves a build.
type UI struct {
	files fs.FS
	index []byte // nil when there is no build
}

// Built returns the UI that is in this binary.
func Built() *UI {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the path is valid
	}
	return New(files)
}

// New returns the UI made of the files of a build: index.html and assets/,
// where a file may lie beside itself compressed as .br and .gz. Without
// index.html it is a page that says how to build one.
func New(files fs.FS) *UI {
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		index = nil
	}
	return &UI{files, index}
}

// Complete reports whether there is a build.
func (u *UI) Complete() bool { return u.index != nil }

// Document answers with the document, which every page of the UI begins with.
//
// Its policy lets in nothing but our own origin. There is no inline script.
// Style elements need the nonce: the component kit writes its variables into
// one at start. Styles of single elements are set through the DOM, which the
// policy does not cover, and cannot come from markup.
func (u *UI) Document(w http.ResponseWriter, _ *http.Request) {
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "same-origin")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	text, nonce := placeholder, rand.Text()
	if u.Complete() {
		text = bytes.ReplaceAll(u.index, []byte(mark), []byte(nonce))
	}
	head.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-"+nonce+"'; "+
		"img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	head.Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // a browser that is gone sees nothing
}

// Asset answers GET /assets/…. The names hold a hash of the content, so that a
// browser asks for each only once.
func (u *UI) Asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	kind := mime.TypeByExtension(path.Ext(name))
	if !strings.HasPrefix(name, "assets/") || kind == "" { // .br and .gz have none
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	coding := ""
	for _, c := range [][2]string{{"br", ".br"}, {"gzip", ".gz"}} {
		if accepts(r.Header.Get("Accept-Encoding"), c[0]) {
			if _, err := fs.Stat(u.files, name+c[1]); err == nil {
				coding, name = c[0], name+c[1]
				break
			}
		}
	}
	data, err := fs.ReadFile(u.files, name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	if coding != "" {
		head.Set("Content-Encoding", coding)
	}
	head.Set("Vary", "Accept-Encoding")
	head.Set("Content-Type", kind)
	head.Set("Content-Length", strconv.Itoa(len(data)))
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(data) // as above
}

// accepts reads Accept-Encoding as browsers write it; q=0 refuses.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			q, has := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			return !has || strings.Trim(q, "0.") != ""
		}
	}
	return false
}
