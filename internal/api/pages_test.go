package api_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
)

func patch(t *testing.T, r *apitest.Rig, app string, in client.UpdateApp) {
	t.Helper()
	_, err := r.Client(t, "ada").UpdateApp(t.Context(), app, in)
	ok(t, err)
}

func names(cards []client.Card) string {
	out := []string{}
	for _, c := range cards {
		out = append(out, c.Name)
	}
	return strings.Join(out, " ")
}

// used is a report of one app in this minute.
func used(t *testing.T, r *apitest.Rig, app, user string, requests int64) {
	t.Helper()
	a, err := r.Client(t, "root").App(t.Context(), app)
	ok(t, err)
	u, err := r.Client(t, "root").User(t.Context(), user)
	ok(t, err)
	latency := make([]int64, len(slipway.LatencyBuckets)+1)
	latency[5] = requests // from 25 to 50 ms
	ok(t, r.Apps.Record(t.Context(), []link.Used{{
		App: a.ID, At: time.Now(), Requests: requests, Errors: 1, Refused: 2, Latency: latency,
		Viewers: []slipway.UserID{u.ID}, Opens: map[slipway.UserID]int64{u.ID: 1},
	}}))
}

func TestPortal(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	for _, name := range []string{"alpha", "beta", "delta", "gamma"} {
		shared(t, r, name, false)
	}
	_, err := r.Client(t, "ada").CreateApp(t.Context(), client.CreateApp{Name: "private"}, "")
	ok(t, err)
	rank, yes, no := 1, true, false
	patch(t, r, "gamma", client.UpdateApp{Rank: &rank, Tags: &[]string{"Sales", "europe", "sales"}, InPortal: &yes})
	patch(t, r, "alpha", client.UpdateApp{Tags: &[]string{"sales"}})
	patch(t, r, "delta", client.UpdateApp{InPortal: &no})
	used(t, r, "beta", "vera", 3)
	vera := r.Client(t, "vera")
	ok(t, vera.Star(t.Context(), "alpha", true))
	for name, tt := range map[string]struct {
		f    client.PortalFilter
		want string
	}{
		"by rank, then use":   {client.PortalFilter{}, "gamma beta alpha"},
		"search in a tag":     {client.PortalFilter{Query: "EURO"}, "gamma"},
		"each word":           {client.PortalFilter{Query: "sales alpha"}, "alpha"},
		"tag":                 {client.PortalFilter{Tags: []string{"sales"}}, "gamma alpha"},
		"all tags":            {client.PortalFilter{Tags: []string{"sales", "europe"}}, "gamma"},
		"favourites":          {client.PortalFilter{Favourites: true}, "alpha"},
		"recent":              {client.PortalFilter{Recent: true}, "beta"},
		"nothing":             {client.PortalFilter{Query: "private"}, ""},
		"not shown in Portal": {client.PortalFilter{Query: "delta"}, ""},
	} {
		p, err := vera.Portal(t.Context(), tt.f)
		ok(t, err)
		if got := names(p.Items); got != tt.want || p.Total != len(p.Items) {
			t.Errorf("%s: %q of %d, want %q", name, got, p.Total, tt.want)
		}
	}
	p, err := vera.Portal(t.Context(), client.PortalFilter{Tags: []string{"europe"}})
	ok(t, err)
	if !slices.Equal(p.Tags, []client.TagCount{{Tag: "sales", Count: 2}, {Tag: "europe", Count: 1}}) {
		t.Errorf("tags: %v", p.Tags)
	}
	p, err = r.Client(t, "carol").Portal(t.Context(), client.PortalFilter{})
	ok(t, err)
	if len(p.Items) != 0 || len(p.Tags) != 0 {
		t.Errorf("carol sees %s and tags %v", names(p.Items), p.Tags)
	}
	ok(t, vera.Star(t.Context(), "alpha", false))
	if p, err = vera.Portal(t.Context(), client.PortalFilter{Favourites: true}); err != nil || len(p.Items) != 0 {
		t.Errorf("favourites after taking it back: %s, %v", names(p.Items), err)
	}
}

// getRaw returns the whole answer to a persona.
func getRaw(t *testing.T, r *apitest.Rig, who, path string, head map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+path, nil)
	ok(t, err)
	if token := r.Token(who); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range head {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	ok(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ok(t, err)
	return res, string(body)
}

// A list in pages holds each app once, in the order asked for.
func TestListInPages(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	for _, name := range []string{"b", "d", "a", "c", "e"} {
		shared(t, r, name, false)
	}
	level := slipway.AccessAuthenticated
	patch(t, r, "d", client.UpdateApp{Access: &level, Tags: &[]string{"x"}})
	for query, want := range map[string]string{
		"":                                "a b c d e",
		"sort=-name":                      "e d c b a",
		"sort=created":                    "b d a c e",
		"sort=-updated":                   "d e c a b",
		"sort=state":                      "a b c d e",
		"access=authenticated":            "d",
		"tag=x":                           "d",
		"state=running":                   "",
		"owner=ada&state=empty&sort=name": "a b c d e",
		"orphans=true":                    "",
	} {
		var got []string
		for cursor := ""; ; {
			res, body := getRaw(t, r, "root", "/v1/apps?limit=2&"+query+"&cursor="+cursor, nil)
			var p client.Page[client.App]
			if err := json.Unmarshal([]byte(body), &p); err != nil || res.StatusCode != http.StatusOK {
				t.Fatalf("%s: %s %s", query, res.Status, body)
			}
			for _, a := range p.Items {
				got = append(got, a.Name)
			}
			if p.Total != len(strings.Fields(want)) {
				t.Errorf("%s: a total of %d", query, p.Total)
			}
			if cursor = p.Next; cursor == "" {
				break
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	none := []slipway.Role{}
	_, err := r.Client(t, "root").UpdateUser(t.Context(), "ada", client.UpdateUser{Roles: &none})
	ok(t, err)
	if _, body := getRaw(t, r, "root", "/v1/apps?orphans=true", nil); !strings.Contains(body, `"total":5`) {
		t.Errorf("orphans of an owner without a seat: %s", body)
	}
}

func TestThumbnail(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	shared(t, r, "shop", false)
	ada := r.Client(t, "ada")
	for name, data := range map[string][]byte{
		"svg":       []byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`),
		"html":      []byte("<!doctype html><script>alert(1)</script>"),
		"torn png":  drawn(t, 200, 200)[:80],
		"too large": append(drawn(t, 8, 8), make([]byte, 1<<20)...),
		"too wide":  drawn(t, 5000, 1),
	} {
		if err := ada.SetThumbnail(t.Context(), "shop", data); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, ada.SetThumbnail(t.Context(), "shop", drawn(t, 8, 8)))
	p, err := r.Client(t, "vera").Portal(t.Context(), client.PortalFilter{})
	ok(t, err)
	path := p.Items[0].Thumbnail
	res, body := getRaw(t, r, "vera", path, nil)
	for k, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox",
		"Cache-Control": "private, max-age=31536000, immutable",
	} {
		if got := res.Header.Get(k); got != want {
			t.Errorf("%s is %q", k, got)
		}
	}
	if body != string(drawn(t, 8, 8)) {
		t.Errorf("another picture: %d bytes", len(body))
	}
	if again, body := getRaw(t, r, "vera", path, map[string]string{"If-None-Match": res.Header.Get("ETag")}); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("the same version again: %s, %d bytes", again.Status, len(body))
	}
	if hidden, _ := getRaw(t, r, "carol", path, nil); hidden.StatusCode != http.StatusNotFound {
		t.Errorf("carol gets %s", hidden.Status)
	}
	ok(t, ada.SetThumbnail(t.Context(), "shop", nil))
	if gone, _ := getRaw(t, r, "vera", path, nil); gone.StatusCode != http.StatusNotFound {
		t.Errorf("a picture that was taken away: %s", gone.Status)
	}
}

func TestExplainAccess(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	shared(t, r, "shop", false)
	ada := r.Client(t, "ada")
	for user, want := range map[string]struct {
		may bool
		why string
	}{
		"ada": {true, "owns"}, "cora": {true, "co-owner"}, "vera": {true, "viewer"}, "root": {true, "administrator"},
		"carol": {false, "none of them"}, "nobody-here": {false, "Nobody"},
	} {
		a, err := ada.ExplainAccess(t.Context(), "shop", user)
		ok(t, err)
		if a.May != want.may || !strings.Contains(strings.Join(a.Why, " "), want.why) || !a.May && len(a.Do) == 0 {
			t.Errorf("%s: %+v", user, a)
		}
		_, err = r.Client(t, "root").UpdateUser(t.Context(), "vera", client.UpdateUser{})
		ok(t, err)
	}
	report, err := ada.WhoMayOpen(t.Context(), "shop")
	ok(t, err)
	var got []string
	for _, p := range report.People {
		got = append(got, p.User+":"+strings.Join(p.Why, "+"))
	}
	if want := "ada:owner cora:co-owner vera:viewer root:administrator"; strings.Join(got, " ") != want || report.Others != "nobody" {
		t.Errorf("%v and %s, want %s", got, report.Others, want)
	}
	found, err := ada.FindPeople(t.Context(), "shop", "co")
	ok(t, err)
	if len(found) != 1 || found[0].Name != "cora" || !found[0].Seat || found[0].Role != slipway.GrantCoOwner {
		t.Errorf("found %+v", found)
	}
}

// changes sends what a persona is told.
func changes(t *testing.T, r *apitest.Rig, who string) <-chan client.Change {
	t.Helper()
	out := make(chan client.Change, 100)
	c := r.Client(t, who)
	g := loop.New(context.WithoutCancel(t.Context()), slog.New(slog.DiscardHandler))
	g.Spawn("follow", func(ctx context.Context) error {
		return c.FollowChanges(ctx, func(ch client.Change) error {
			out <- ch
			return nil
		})
	})
	t.Cleanup(func() { _ = g.Stop() }) // it was told to end
	if first := next(t, out); first.Kind != "platform" {
		t.Fatalf("the stream begins with %+v", first)
	}
	return out
}

func next(t *testing.T, from <-chan client.Change) client.Change {
	t.Helper()
	select {
	case c := <-from:
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no change is told")
		return client.Change{}
	}
}

// Each is told of changes of what they see, and nobody of anything else.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	shared(t, r, "shop", false)
	vera, carol := changes(t, r, "vera"), changes(t, r, "carol")
	title := "T"
	patch(t, r, "shop", client.UpdateApp{Title: &title})
	if got := next(t, vera); got != (client.Change{Kind: "app", App: "shop"}) {
		t.Errorf("after an update: %+v", got)
	}
	ok(t, r.Client(t, "ada").Unshare(t.Context(), "shop", "vera"))
	if got := next(t, vera); got != (client.Change{Kind: "app", App: "shop", Gone: true}) {
		t.Errorf("after the right is gone: %+v", got)
	}
	patch(t, r, "shop", client.UpdateApp{Title: &title})
	name := "Ours"
	_, err := r.Client(t, "root").UpdateBranding(t.Context(), client.UpdateBranding{Name: &name})
	ok(t, err)
	for who, stream := range map[string]<-chan client.Change{"vera": vera, "carol": carol} {
		if got := next(t, stream); got != (client.Change{Kind: "platform"}) {
			t.Errorf("%s is told %+v", who, got)
		}
	}
	res, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL+"/v1/events", nil)
	ok(t, err)
	res.Header.Set("Authorization", "Bearer "+r.Token("vera"))
	res.Header.Set("Last-Event-ID", "another-life-7")
	answer, err := http.DefaultClient.Do(res)
	ok(t, err)
	defer answer.Body.Close()
	head := make([]byte, 0, 200)
	for !bytes.Contains(head, []byte("data:")) {
		b := make([]byte, 100)
		n, err := answer.Body.Read(b)
		ok(t, err)
		head = append(head, b[:n]...)
	}
	if !bytes.Contains(head, []byte(`"kind":"reset"`)) {
		t.Errorf("after a life of the core that is over: %s", head)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	shared(t, r, "shop", true)
	used(t, r, "shop", "vera", 10)
	used(t, r, "shop", "cora", 30)
	m, err := r.Client(t, "ada").Metrics(t.Context(), "shop", time.Hour, 0)
	ok(t, err)
	if m.Requests != 40 || m.Errors != 2 || m.Viewers != 2 || len(m.Points) == 0 || len(m.Deploys) != 1 || m.MemoryLimit == 0 {
		t.Errorf("%+v", m)
	}
	if p := m.Points[len(m.Points)-1]; p.P50 < 25 || p.P99 > 50 || p.P50 >= p.P99 {
		t.Errorf("latencies of 25 to 50 ms: %+v", p)
	}
	u, err := r.Client(t, "root").Usage(t.Context(), time.Hour, 0)
	ok(t, err)
	if u.Requests != 40 || len(u.Apps) != 1 || u.Apps[0].App != "shop" || u.Apps[0].Viewers != 2 || u.Total != 1 {
		t.Errorf("%+v", u)
	}
	if _, err := r.Client(t, "ada").Metrics(t.Context(), "shop", 500*24*time.Hour, 0); !errs.Is(err, errs.KindInvalid) {
		t.Errorf("a span of 500 days: %v", err)
	}
}

// At the limit nothing more starts, and who asks is told what of theirs frees
// how much, and nothing about apps of others.
func TestSystemLimits(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	root, ada, bob := r.Client(t, "root"), r.Client(t, "ada"), r.Client(t, "bob")
	shared(t, r, "shop", true)
	one := int64(1)
	l, err := root.UpdateLimits(t.Context(), client.UpdateLimits{Replicas: &one})
	ok(t, err)
	if l.Replicas.Used != 1 || l.Replicas.State != "reached" || l.Frees[0].App != "shop" {
		t.Errorf("%+v", l)
	}
	err = ada.Scale(t.Context(), "shop", "web", 2)
	if !errs.Is(err, errs.KindExhausted) || !strings.Contains(err.Error(), "pausing shop frees 1") {
		t.Errorf("one more: %v", err)
	}
	_, err = bob.CreateApp(t.Context(), client.CreateApp{Name: "second"}, "")
	ok(t, err)
	_, err = bob.Deploy(t.Context(), "second", client.Upload{Tar: bytes.NewReader(archive(t))})
	if !errs.Is(err, errs.KindExhausted) || strings.Contains(err.Error(), "shop") {
		t.Errorf("another's first deploy: %v", err)
	}
	me, err := bob.Me(t.Context())
	ok(t, err)
	if len(me.Warnings) != 1 || me.Warnings[0].Level != "reached" {
		t.Errorf("bob is warned of %+v", me.Warnings)
	}
	ok(t, ada.Pause(t.Context(), "shop"))
	_, err = bob.Deploy(t.Context(), "second", client.Upload{Tar: bytes.NewReader(archive(t))})
	ok(t, err)
	seats := int64(3) // ada, bob and cora
	_, err = root.UpdateLimits(t.Context(), client.UpdateLimits{Seats: &seats})
	ok(t, err)
	licensed := []slipway.Role{slipway.RoleLicensed}
	if _, err := root.UpdateUser(t.Context(), "carol", client.UpdateUser{Roles: &licensed}); !errs.Is(err, errs.KindExhausted) {
		t.Errorf("a seat too many: %v", err)
	}
}

// The platform is as its worst part is.
func TestHealth(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	root := r.Client(t, "root")
	part := func(name, state string) client.Part { return client.Part{Name: name, State: state, Detail: "in words"} }
	for _, tt := range []struct {
		parts []client.Part
		state string
	}{
		{nil, "ok"},
		{[]client.Part{part("database", "ok"), part("gateway", "ok")}, "ok"},
		{[]client.Part{part("disk", "warning"), part("gateway", "ok")}, "warning"},
		{[]client.Part{part("disk", "warning"), part("gateway", "down")}, "down"},
		{[]client.Part{part("gateway", "down"), part("disk", "warning")}, "down"},
	} {
		r.SetParts(tt.parts...)
		h, err := root.Health(t.Context())
		ok(t, err)
		if h.State != tt.state || len(h.Parts) != 2+len(tt.parts) || h.Parts[0].Name != "core" || h.Parts[1].Name != "engine" || !slices.Equal(h.Parts[2:], tt.parts) {
			t.Errorf("%+v, wanted %+v", h, tt)
		}
	}
	_, err := r.Client(t, "ada").Health(t.Context())
	if !errs.Is(err, errs.KindDenied) {
		t.Errorf("one who does not administer: %v", err)
	}
}

func tarOf(t *testing.T, files map[string]string) io.Reader {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, text := range files {
		ok(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}))
		_, err := w.Write([]byte(text))
		ok(t, err)
	}
	ok(t, w.Close())
	return &buf
}

// A comparison names what changed, and no value of a variable.
func TestCompareReleases(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	ada := r.Client(t, "ada")
	_, err := ada.CreateApp(t.Context(), client.CreateApp{Name: "shop"}, "")
	ok(t, err)
	var last slipway.DeployID
	deploy := func(secret, requirements, procfile string) {
		ok(t, ada.PatchEnv(t.Context(), "shop", client.PatchEnv{Set: []slipway.EnvVar{{Key: "TOKEN", Value: secret, Secret: true}}}))
		d, err := ada.Deploy(t.Context(), "shop", client.Upload{Tar: tarOf(t, map[string]string{"Procfile": procfile, "app.py": "", "requirements.txt": requirements})})
		ok(t, err)
		end, err := ada.FollowDeploy(t.Context(), d.ID, func(client.DeployEvent) error { return nil })
		ok(t, err)
		if end.State != slipway.DeployLive {
			t.Fatalf("the deploy is %s: %s", end.State, end.Reason)
		}
		last = d.ID
	}
	deploy("hush-one", "dash==2.0\nFlask>=2\n", "web: python app.py\n")
	deploy("hush-two", "dash==3.0 --hash=sha256:00\nprivate @ https://me:hush@example.com/p.whl\n", "web: python app.py\nworker: python app.py\n")
	_, body := getRaw(t, r, "ada", "/v1/apps/shop/releases/2/compare", nil)
	if strings.Contains(body, "hush") {
		t.Errorf("a secret is in the answer: %s", body)
	}
	c, err := ada.Compare(t.Context(), "shop", 2, 0)
	ok(t, err)
	if want := []client.Difference{
		{Name: "dash", Change: "changed", From: "==2.0", To: "==3.0"},
		{Name: "flask", Change: "removed", From: ">=2"},
		{Name: "private", Change: "added", To: "@ https://example.com/p.whl"},
	}; !slices.Equal(c.Dependencies, want) {
		t.Errorf("dependencies: %+v", c.Dependencies)
	}
	if want := []client.Difference{{Name: "TOKEN", Change: "changed"}}; !slices.Equal(c.Env, want) {
		t.Errorf("variables: %+v", c.Env)
	}
	if len(c.Processes) != 1 || c.Processes[0].Name != "worker" || c.Processes[0].Change != "added" {
		t.Errorf("processes: %+v", c.Processes)
	}
	again, err := ada.Redeploy(t.Context(), last)
	ok(t, err)
	end, err := ada.FollowDeploy(t.Context(), again.ID, func(client.DeployEvent) error { return nil })
	ok(t, err)
	lines, err := ada.DeployLog(t.Context(), again.ID)
	ok(t, err)
	if end.State != slipway.DeployLive || end.Release != 3 || len(lines) == 0 {
		t.Errorf("deployed again: %s, release %d, %d lines", end.State, end.Release, len(lines))
	}
}

func TestAnnouncementsAndAudit(t *testing.T) {
	t.Parallel()
	r := apitest.New(t)
	root := r.Client(t, "root")
	later, before := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	for text, in := range map[string]client.CreateAnnouncement{"now": {}, "later": {From: &later}, "over": {Until: &before}} {
		in.Text, in.Level = text, "info"
		_, err := root.Announce(t.Context(), in, "")
		ok(t, err)
	}
	me, err := r.Client(t, "carol").Me(t.Context())
	ok(t, err)
	if len(me.Announcements) != 1 || me.Announcements[0].Text != "now" || !slices.Equal(me.Features, []string{"portal"}) {
		t.Errorf("carol sees %+v with %v", me.Announcements, me.Features)
	}
	off := false
	_, err = root.UpdateDefaults(t.Context(), client.UpdateDefaults{Unauthenticated: &off, InPortal: &off})
	ok(t, err)
	shared(t, r, "shop", false)
	open := slipway.AccessUnauthenticated
	if _, err := r.Client(t, "ada").UpdateApp(t.Context(), "shop", client.UpdateApp{Access: &open}); !errs.Is(err, errs.KindDenied) {
		t.Errorf("open to everybody when that is off: %v", err)
	}
	if a, err := r.Client(t, "ada").App(t.Context(), "shop"); err != nil || a.InPortal {
		t.Errorf("a new app is in the Portal against the default: %v", err)
	}
	lines, err := root.Audit(t.Context(), client.AuditFilter{Actor: "ada", Verb: "app"}, 50)
	ok(t, err)
	if len(lines) != 3 || lines[0].Verb != "app.share" || lines[2].Verb != "app.create" {
		t.Errorf("what ada did: %+v", lines)
	}
	_, err = root.UpdateUser(t.Context(), "ada", client.UpdateUser{FullName: new(string)})
	ok(t, err)
	var file bytes.Buffer
	ok(t, root.ExportAudit(t.Context(), client.AuditFilter{Object: "shop"}, "csv", &file))
	if got := strings.Count(file.String(), "\n"); got != 4 || !strings.HasPrefix(file.String(), "seq,at,actor") {
		t.Errorf("exported: %s", file.String())
	}
	file.Reset()
	ok(t, root.ExportAudit(t.Context(), client.AuditFilter{Verb: "announcement.create"}, "ndjson", &file))
	if strings.Count(file.String(), "\n") != 3 {
		t.Errorf("exported: %s", file.String())
	}
}
