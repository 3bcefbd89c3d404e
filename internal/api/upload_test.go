package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
)

func TestUnpacked(t *testing.T) {
	t.Parallel()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write([]byte("a tar"))
	_ = z.Close()
	for name, tc := range map[string]struct {
		body, contentType string
		kind              errs.Kind
	}{
		"plain":          {"a tar", "application/x-tar", 0},
		"gzip":           {packed.String(), "application/gzip", 0},
		"gzip, said tar": {packed.String(), "application/x-tar", 0},
		"empty":          {"", "application/x-tar", errs.KindInvalid},
		"a form":         {"a=b", "application/x-www-form-urlencoded", errs.KindInvalid},
		"torn gzip":      {"\x1f\x8b", "application/gzip", errs.KindInvalid},
	} {
		r, err := unpacked(strings.NewReader(tc.body), tc.contentType)
		if tc.kind != 0 {
			if !errs.Is(err, tc.kind) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got, err := io.ReadAll(r); string(got) != "a tar" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestLimited(t *testing.T) {
	t.Parallel()
	read := func(n int) error {
		_, err := io.Copy(io.Discard, &limited{r: strings.NewReader(strings.Repeat("x", n)), left: 100, over: errs.Invalid("too large")})
		return err
	}
	if err := read(100); err != nil {
		t.Error(err)
	}
	if err := read(101); !errs.Is(err, errs.KindInvalid) {
		t.Error(err)
	}
}
