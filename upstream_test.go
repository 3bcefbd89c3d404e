package slipway_test

import (
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

func TestParseUpstream(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in    slipway.Upstream
		field string // empty = good
		says  string
	}{
		{slipway.Upstream{URL: " https://github.com/me/app/ "}, "", ""},
		{slipway.Upstream{URL: "https://gitlab.example.com:8443/a/b/c.git", Ref: "feature/x#1", User: "oauth2"}, "", ""},
		{slipway.Upstream{URL: "https://[2606:4700::1111]/x"}, "", ""},
		{slipway.Upstream{}, "url", "needed"},
		{slipway.Upstream{URL: "github.com/me/app"}, "url", "https://"},
		{slipway.Upstream{URL: "http://github.com/me/app"}, "url", "https://"},
		{slipway.Upstream{URL: "file:///etc/passwd"}, "url", "https://"},
		{slipway.Upstream{URL: "git://github.com/me/app"}, "url", "https://"},
		{slipway.Upstream{URL: "ext::sh -c id"}, "url", "https://"},
		{slipway.Upstream{URL: "git@github.com:me/app.git"}, "url", "ssh is not used"},
		{slipway.Upstream{URL: "ssh://git@github.com/me/app.git"}, "url", "ssh is not used"},
		{slipway.Upstream{URL: "https://me:hunter2@github.com/me/app"}, "url", "access token"},
		{slipway.Upstream{URL: "https://hunter2@github.com/me/app"}, "url", "access token"},
		{slipway.Upstream{URL: "https://me:hunter2%zz@github.com/me/app"}, "url", "https://"},
		{slipway.Upstream{URL: "https://github.com/me/app?token=hunter2"}, "url", "without ?"},
		{slipway.Upstream{URL: "https://github.com/me/app#hunter2"}, "url", "without ?"},
		{slipway.Upstream{URL: "https://github.com/"}, "url", "names a server"},
		{slipway.Upstream{URL: "https:///me/app"}, "url", "https://"},
		{slipway.Upstream{URL: "https://github.com/me/app\n--upload-pack=x"}, "url", "https://"},
		{slipway.Upstream{URL: "https://github.com/a b"}, "url", "characters"},
		{slipway.Upstream{URL: "https://gïthub.com/me/app"}, "url", "characters"},
		{slipway.Upstream{URL: "https://github.com/" + strings.Repeat("x", 500)}, "url", "longer"},
		{slipway.Upstream{URL: "https://github.com/me/app", Ref: "--upload-pack=x"}, "ref", "no branch"},
		{slipway.Upstream{URL: "https://github.com/me/app", Ref: "a b"}, "ref", "no branch"},
		{slipway.Upstream{URL: "https://github.com/me/app", Ref: "a:refs/heads/main"}, "ref", "no branch"},
		{slipway.Upstream{URL: "https://github.com/me/app", User: "a:b"}, "user", "colon"},
		{slipway.Upstream{URL: "https://github.com/me/app", User: "a\r\nHost: x"}, "user", "colon"},
	} {
		got, err := slipway.ParseUpstream(tt.in)
		if tt.field == "" {
			if err != nil || strings.TrimSpace(got.URL) != got.URL || strings.HasSuffix(got.URL, "/") {
				t.Errorf("%+v: %+v, %v", tt.in, got, err)
			}
			continue
		}
		fields := errs.FieldsOf(err)
		if !errs.Is(err, errs.KindInvalid) || len(fields) != 1 || fields[0].Name != tt.field || !strings.Contains(fields[0].Message, tt.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v, want %s to say %q", tt.in, err, tt.field, tt.says)
		}
	}
	if place := (slipway.Upstream{URL: "https://github.com/me/app.git"}).Place(); place != "github.com/me/app" {
		t.Error(place)
	}
}
