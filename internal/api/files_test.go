package api_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/base/errs"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	app, _ := shared(t, r, "shop", true)
	ada, cora := r.Client(t, "ada"), r.Client(t, "cora")
	page := "<!doctype html><script>alert(1)</script>"
	name := "a \"page\"\n.html"
	ok(t, ada.MakeFolder(t.Context(), app, "d"))
	ok(t, cora.PutFile(t.Context(), app, "d/"+name, strings.NewReader(page), -1))

	// What an app wrote is kept by the browser and never shown here.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v1/apps/"+app+"/files/content?path=d%2Fa+%22page%22%0A.html", nil)
	ok(t, err)
	req.Header.Set("Authorization", "Bearer "+r.Token("ada"))
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || string(text) != page || res.ContentLength != int64(len(page)) {
		t.Errorf("got %q of %d bytes, %v", text, res.ContentLength, err)
	}
	for header, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
		"Cache-Control": "no-store", "Content-Disposition": "attachment; filename*=utf-8''a%20%22page%22%0A.html",
	} {
		if got := res.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}

	list, err := cora.Files(t.Context(), app, "d")
	if err != nil || len(list) != 1 || list[0].Name != name || list[0].Size != int64(len(page)) || list[0].Kind != "file" {
		t.Errorf("there are %+v, %v", list, err)
	}
	for path, kind := range map[string]errs.Kind{"d": errs.KindConflict, "nothing": errs.KindNotFound, "../x": errs.KindInvalid, "/etc/passwd": errs.KindInvalid, "d/../d": errs.KindInvalid} {
		if _, err := ada.GetFile(t.Context(), app, path, io.Discard); !errs.Is(err, kind) {
			t.Errorf("get %q: %v, want %s", path, err, kind)
		}
	}
	for _, person := range []string{"anon", "bob", "vera", "ada-reads"} {
		if err := r.Client(t, person).PutFile(t.Context(), app, "x", strings.NewReader("x"), 1); err == nil {
			t.Errorf("%s wrote a file", person)
		}
		if err := r.Client(t, person).DeleteFile(t.Context(), app, "d"); err == nil {
			t.Errorf("%s deleted a folder", person)
		}
	}
	ok(t, ada.DeleteFile(t.Context(), app, "d"))
	if err := ada.DeleteFile(t.Context(), app, "d"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	entries, err := r.Client(t, "root").Audit(t.Context(), client.AuditFilter{Object: app}, 100)
	ok(t, err)
	var trail []string
	for _, e := range entries {
		if strings.HasPrefix(e.Verb, "files.") {
			trail = append(trail, e.Actor+" "+e.Verb+" "+e.Detail)
		}
	}
	if want := []string{"ada files.delete d", "cora files.write d/" + name, "ada files.mkdir d"}; strings.Join(trail, "|") != strings.Join(want, "|") {
		t.Errorf("the trail is %q, want %q", trail, want)
	}
}

// A file larger than what may be sent is refused at once, or, where its size is
// not said, when it is seen; and nothing is left of it.
func TestFilesTooLarge(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	app, _ := shared(t, r, "shop", true)
	ada := r.Client(t, "ada")
	large := bytes.Repeat([]byte("x"), apitest.MaxFile+1)
	for _, size := range []int64{-1, int64(len(large))} {
		if err := ada.PutFile(t.Context(), app, "large", bytes.NewReader(large), size); !errs.Is(err, errs.KindExhausted) {
			t.Errorf("size %d: %v", size, err)
		}
	}
	ok(t, ada.PutFile(t.Context(), app, "largest", bytes.NewReader(large[1:]), -1))
	list, err := ada.Files(t.Context(), app, "")
	if err != nil || len(list) != 1 || list[0].Name != "largest" {
		t.Errorf("there are %+v, %v", list, err)
	}
}
