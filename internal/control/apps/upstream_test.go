package apps_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/store"
)

func token(s string) *secret.String {
	t := secret.New(s)
	return &t
}

// fetched answers fetches, and keeps what they asked for.
func (r *rig) fetched(answer func(ctx context.Context, f apps.Fetch) (apps.DeployInput, error)) *[]apps.Fetch {
	asked := &[]apps.Fetch{}
	r.opt.Fetcher = func(ctx context.Context, f apps.Fetch) (apps.DeployInput, error) {
		*asked = append(*asked, f)
		if err := f.Keep(ctx); err != nil {
			return apps.DeployInput{}, err
		}
		return answer(ctx, f)
	}
	return asked
}

const place = "https://git.example.com/team/iris.git"

func TestUpstream(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked := r.fetched(func(context.Context, apps.Fetch) (apps.DeployInput, error) {
		return apps.DeployInput{Source: r.source("one"), Commit: strings.Repeat("a", 40), Message: "newest", Note: "a note"}, nil
	})
	r.start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	if _, err := r.DeployUpstream(alice, "iris", apps.FetchInput{}); !errs.Is(err, errs.KindConflict) {
		t.Errorf("without an upstream: %v", err)
	}
	must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", apps.SetUpstream{URL: place, Ref: "main", User: "me", Token: token("glpat-secret")}))
	want := slipway.Upstream{URL: place, Ref: "main", User: "me", Token: true}
	if got := must[slipway.App](t)(r.Get(alice, "iris")); got.Upstream == nil || *got.Upstream != want {
		t.Errorf("%+v", got.Upstream)
	}
	d := must[slipway.Deploy](t)(r.DeployUpstream(alice, "iris", apps.FetchInput{}))
	if d.Cause != slipway.CauseFetch || d.Commit != strings.Repeat("a", 40) || d.Message != "newest" {
		t.Errorf("%+v", d)
	}
	noted := false
	if err := r.Follow(alice, d.ID, func(e apps.Event) error { noted = noted || e.Line == "a note"; return nil }); err != nil || !noted {
		t.Errorf("the note is not in the log: %v", err)
	}
	must[slipway.Deploy](t)(r.DeployUpstream(alice, "iris", apps.FetchInput{Ref: "v2", Replace: true}))
	if f := (*asked)[0]; f.Upstream != want || f.Secret.Reveal() != "glpat-secret" || f.Replace || f.App != "iris" {
		t.Errorf("the first fetch asked for %+v", f)
	}
	if f := (*asked)[1]; f.Ref != "v2" || !f.Replace {
		t.Errorf("the second fetch asked for %+v", f)
	}
	if err := r.RemoveUpstream(alice, "iris"); err != nil {
		t.Fatal(err)
	}
	if got := must[slipway.App](t)(r.Get(alice, "iris")); got.Upstream != nil {
		t.Errorf("%+v is left", got.Upstream)
	}
}

// Who may not deploy an app neither sees nor uses nor changes its upstream.
func TestUpstreamIsForThoseWhoDeploy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked := r.fetched(func(context.Context, apps.Fetch) (apps.DeployInput, error) { return apps.DeployInput{}, nil })
	r.start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", apps.SetUpstream{URL: place, Token: token("glpat-secret")}))
	if err := r.Share(alice, "iris", "carol", slipway.GrantViewer); err != nil {
		t.Fatal(err)
	}
	for who, kind := range map[string]errs.Kind{"carol": errs.KindDenied, "bob": errs.KindNotFound} {
		ctx := r.as(who)
		if got, err := r.Get(ctx, "iris"); err == nil && got.Upstream != nil {
			t.Errorf("%s sees %+v", who, got.Upstream)
		}
		_, err1 := r.SetUpstream(ctx, "iris", apps.SetUpstream{URL: place})
		_, err2 := r.DeployUpstream(ctx, "iris", apps.FetchInput{})
		for _, err := range []error{err1, err2, r.RemoveUpstream(ctx, "iris")} {
			if !errs.Is(err, kind) {
				t.Errorf("%s: %v", who, err)
			}
		}
	}
	for _, a := range must[apps.Page[slipway.App]](t)(r.List(alice, apps.AppFilter{})).Items {
		if a.Upstream != nil {
			t.Error("a list tells upstreams")
		}
	}
	if len(*asked) != 0 {
		t.Errorf("%d fetches", len(*asked))
	}
}

// A token is sent only where it was given for: whoever changes the address gets
// none that another gave. It is sealed in the database.
func TestUpstreamTokenStaysWithItsAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	asked := r.fetched(func(context.Context, apps.Fetch) (apps.DeployInput, error) {
		return apps.DeployInput{}, errs.Invalid("not today")
	})
	r.start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	first := apps.SetUpstream{URL: place, User: "me", Token: token("glpat-secret")}
	for _, tt := range []struct {
		name string
		then apps.SetUpstream
		kept bool
	}{
		{"another branch", apps.SetUpstream{URL: place, User: "me", Ref: "dev"}, true},
		{"another host", apps.SetUpstream{URL: "https://evil.example.org/team/iris.git", User: "me"}, false},
		{"another path", apps.SetUpstream{URL: "https://git.example.com/mallory/x", User: "me"}, false},
		{"another port", apps.SetUpstream{URL: "https://git.example.com:8443/team/iris.git", User: "me"}, false},
		{"another user", apps.SetUpstream{URL: place, User: "you"}, false},
		{"taken away", apps.SetUpstream{URL: place, User: "me", Token: token("")}, false},
	} {
		must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", first))
		u := must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", tt.then))
		if _, err := r.DeployUpstream(alice, "iris", apps.FetchInput{}); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: %v", tt.name, err)
		}
		f := (*asked)[len(*asked)-1]
		if u.Token != tt.kept || f.Secret.Empty() == tt.kept {
			t.Errorf("%s: token %v, sent %v, want %v", tt.name, u.Token, !f.Secret.Empty(), tt.kept)
		}
	}
	must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", first))
	var app store.App
	err := r.opt.DB.View(t.Context(), func(tx *store.Tx) error {
		var err error
		if app, err = tx.AppByName("iris"); err != nil {
			return err
		}
		u, err := tx.Upstream(app.ID)
		if err == nil && (len(u.Sealed) == 0 || bytes.Contains(u.Sealed, []byte("glpat"))) {
			t.Error("the token is not sealed")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Whoever can write to the database cannot send it elsewhere either.
	err = r.opt.DB.Update(t.Context(), func(tx *store.Tx) error {
		u, err := tx.Upstream(app.ID)
		if err != nil {
			return err
		}
		u.URL = "https://evil.example.org/x"
		return tx.SetUpstream(app.ID, u)
	})
	if err != nil {
		t.Fatal(err)
	}
	n := len(*asked)
	if _, err := r.DeployUpstream(alice, "iris", apps.FetchInput{}); err == nil || len(*asked) != n {
		t.Errorf("a token went to another address: %v", err)
	}
}

// One person cannot keep the platform busy with fetches.
func TestUpstreamFetchesAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	began, end := make(chan struct{}), make(chan struct{})
	r.opt.Fetcher = func(context.Context, apps.Fetch) (apps.DeployInput, error) {
		began <- struct{}{}
		<-end
		return apps.DeployInput{}, errs.Invalid("not today")
	}
	r.start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", apps.SetUpstream{URL: place}))
	if err := r.Share(alice, "iris", "bob", slipway.GrantCoOwner); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	fetch := func(who string) {
		all.Go(func() {
			if _, err := r.DeployUpstream(r.as(who), "iris", apps.FetchInput{}); !errs.Is(err, errs.KindInvalid) {
				t.Errorf("%s: %v", who, err)
			}
		})
		<-began
	}
	for range 10 {
		fetch("alice")
	}
	if _, err := r.DeployUpstream(alice, "iris", apps.FetchInput{}); !errs.Is(err, errs.KindExhausted) {
		t.Errorf("one more: %v", err)
	}
	fetch("bob")
	close(end)
	all.Wait()
	fetch("alice")
	all.Wait()
}

func TestUpstreamWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t).start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	for _, in := range []apps.SetUpstream{
		{URL: "http://git.example.com/x"},
		{URL: "https://me:glpat-secret@git.example.com/x"},
		{URL: place, Token: token("a b")},
		{URL: place, Token: token("a\nb")},
		{URL: place, Token: token(strings.Repeat("x", 4001))},
	} {
		_, err := r.SetUpstream(alice, "iris", in)
		if !errs.Is(err, errs.KindInvalid) || len(errs.FieldsOf(err)) != 1 || strings.Contains(err.Error(), "glpat") {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

// An app that was deleted and made anew by somebody else while a fetch went on
// gets nothing of it; and a fetch that failed is in the audit log.
func TestUpstreamOfAnAppThatIsAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opt.Fetcher = func(_ context.Context, f apps.Fetch) (apps.DeployInput, error) {
		if err := r.Delete(r.as("alice"), "iris", "iris"); err != nil {
			t.Error(err)
		}
		must[slipway.App](t)(r.Create(r.as("alice"), apps.CreateApp{Name: "iris"}))
		return apps.DeployInput{}, f.Keep(r.as("alice"))
	}
	r.start()
	alice := r.as("alice")
	must[slipway.App](t)(r.Create(alice, apps.CreateApp{Name: "iris"}))
	must[slipway.Upstream](t)(r.SetUpstream(alice, "iris", apps.SetUpstream{URL: place, Token: token("glpat-secret")}))
	if _, err := r.DeployUpstream(alice, "iris", apps.FetchInput{}); !errs.Is(err, errs.KindNotFound) {
		t.Error(err)
	}
	if got := must[slipway.App](t)(r.Get(alice, "iris")); got.Upstream != nil {
		t.Errorf("the new app has the upstream %+v", got.Upstream)
	}
	err := r.opt.DB.View(t.Context(), func(tx *store.Tx) error {
		lines, err := tx.AuditLines(store.AuditFilter{Verb: "app"}, 0, 50)
		var said []string
		for _, l := range lines {
			said = append(said, strings.Join([]string{l.Actor, l.Verb, l.Object, l.Result, l.Detail}, " "))
		}
		all := strings.Join(said, "\n")
		for _, want := range []string{"alice app.upstream iris ok git.example.com/team/iris", "alice app.fetch iris not_found git.example.com/team/iris"} {
			if !strings.Contains(all, want) || strings.Contains(all, "glpat") {
				t.Errorf("%q is not in the audit log:\n%s", want, all)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
