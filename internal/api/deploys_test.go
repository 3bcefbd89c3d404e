package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/base/errs"
)

func TestDeployEventsGoOnAfterTheLastSeen(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	_, id := shared(t, r, "shop", true)
	events := func(last string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v1/deploys/"+id+"/events", nil)
		ok(t, err)
		req.Header.Set("Authorization", "Bearer "+r.Token("ada"))
		req.Header.Set("Last-Event-ID", last)
		res, err := http.DefaultClient.Do(req)
		ok(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		ok(t, err)
		return string(text)
	}
	all, rest := events(""), events("3")
	if !strings.Contains(all, "id: 1\n") || !strings.Contains(all, "event: deploy\n") || !strings.HasSuffix(all, "event: end\ndata: {}\n\n") {
		t.Errorf("all events:\n%s", all)
	}
	if strings.Contains(rest, "id: 3\n") || !strings.Contains(rest, "id: 4\n") || !strings.Contains(rest, "event: deploy\n") {
		t.Errorf("behind the third:\n%s", rest)
	}
	if text := events("x"); !strings.Contains(text, `"kind":"invalid"`) {
		t.Error(text)
	}
}

func TestUploads(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	ada := r.Client(t, "ada")
	_, err := ada.CreateApp(t.Context(), client.CreateApp{Name: "shop"}, "")
	ok(t, err)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err = z.Write(archive(t))
	ok(t, errors.Join(err, z.Close()))
	d, err := ada.Deploy(t.Context(), "shop", client.Upload{Tar: bytes.NewReader(packed.Bytes()), Message: "packed", Key: "once"})
	ok(t, err)
	again, err := ada.Deploy(t.Context(), "shop", client.Upload{Tar: bytes.NewReader(archive(t)), Message: "packed", Key: "once"})
	if err != nil || again.ID != d.ID || d.Cause != slipway.CauseUpload || d.Message != "packed" {
		t.Errorf("%+v\n%+v %v", d, again, err)
	}
	_, err = ada.Deploy(t.Context(), "shop", client.Upload{Tar: bytes.NewReader(archive(t)), Message: "other", Key: "once"})
	if !errs.Is(err, errs.KindConflict) {
		t.Error("another message:", err)
	}
	for name, body := range map[string]io.Reader{
		"too large": io.LimitReader(zeros{}, 2<<20), "empty": strings.NewReader(""), "no tar": strings.NewReader(strings.Repeat("no tar at all ", 100)),
	} {
		if _, err := ada.Deploy(t.Context(), "shop", client.Upload{Tar: body}); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = ada.FollowDeploy(t.Context(), d.ID, func(client.DeployEvent) error { return nil })
	ok(t, err)
}

// zeros begins like gzip does not.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestFollowedLogs(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	shared(t, r, "shop", true)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errSeen := errors.New("seen")
	err := r.Client(t, "ada").FollowLogs(ctx, "shop", client.LogQuery{}, func(l client.LogLine) error {
		if l.Text == "web-v1 begins" && l.Process == "web" && l.Release == 1 {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		t.Error(err)
	}
}
