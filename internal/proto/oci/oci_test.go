package oci_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/proto/oci"
)

// rig is a registry in which people may use the repositories below their name;
// guest may pull what is alice's.
type rig struct {
	t      *testing.T
	store  *oci.Store
	host   string
	client *http.Client
	quota  int64
	gone   map[string]bool // people who may no longer sign in
}

func newRig(t *testing.T, where oci.Storage) *rig {
	t.Helper()
	r := &rig{t: t, gone: map[string]bool{}}
	var err error
	if r.store, err = oci.Open(t.Context(), where); err != nil {
		t.Fatal(err)
	}
	box, err := secret.OpenBox(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	server := oci.New(t.Context(), oci.Options{
		Store: r.store, Origin: "http://" + front.Listener.Addr().String(), Box: box, HTTPSecret: secret.New("fixed"),
		Log: logs.New(t.Output(), "text", 0, "registry"),
		Authenticate: func(_ context.Context, user string, password secret.String) (secret.String, error) {
			if password.Reveal() != "pw-"+user {
				return secret.String{}, errs.Unauthenticated("wrong user name or password")
			}
			return secret.New(user), nil
		},
		Authorize: func(_ context.Context, who secret.String, repo string, actions []string) error {
			owner, _, _ := strings.Cut(repo, "/")
			switch {
			case r.gone[who.Reveal()]:
				return errs.Unauthenticated("sign in again")
			case repo == "", owner == who.Reveal():
				return nil
			case who.Reveal() == "guest" && owner == "alice" && slices.Equal(actions, []string{"pull"}):
				return nil
			}
			return errs.NotFound("no such thing, or not one that you may see")
		},
		Quota: func(_ context.Context, repo string) (string, int64) {
			owner, _, _ := strings.Cut(repo, "/")
			return owner, r.quota
		},
	})
	front.Config.Handler = server
	front.Start()
	t.Cleanup(func() {
		front.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	r.host, r.client = front.Listener.Addr().String(), front.Client()
	return r
}

func (r *rig) ref(image string) name.Reference {
	r.t.Helper()
	ref, err := name.ParseReference(r.host + "/" + image)
	if err != nil {
		r.t.Fatal(err)
	}
	return ref
}

func as(who string) remote.Option {
	if who == "" {
		return remote.WithAuth(authn.Anonymous)
	}
	return remote.WithAuth(&authn.Basic{Username: who, Password: "pw-" + who})
}

func image(t *testing.T, size int64, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// status is the HTTP status of a refusal.
func status(err error) int {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode
	}
	return 0
}

// storages are the places in which images can be kept.
func storages(t *testing.T) map[string]func(t *testing.T) oci.Storage {
	t.Helper()
	return map[string]func(t *testing.T) oci.Storage{
		"folder": func(t *testing.T) oci.Storage { t.Helper(); return oci.Storage{Folder: t.TempDir()} },
		"s3": func(t *testing.T) oci.Storage {
			t.Helper()
			backend := s3mem.New()
			if err := backend.CreateBucket("images"); err != nil {
				t.Fatal(err)
			}
			s3 := httptest.NewServer(gofakes3.New(backend).Server())
			t.Cleanup(s3.Close)
			return oci.Storage{S3: &oci.S3{
				Bucket: "images", Region: "us-east-1", Prefix: "/slipway", Endpoint: s3.URL, AccessKey: "key", SecretKey: secret.New("secret"),
			}}
		},
	}
}

func TestPushAndPull(t *testing.T) {
	for where, storage := range storages(t) {
		t.Run(where, func(t *testing.T) {
			r := newRig(t, storage(t))
			img := image(t, 100_000, 3)
			if err := remote.Write(r.ref("alice/web:v1"), img, as("alice")); err != nil {
				t.Fatal(err)
			}
			for _, who := range []string{"alice", "guest"} {
				got, err := remote.Image(r.ref("alice/web:v1"), as(who))
				if err != nil {
					t.Fatalf("%s: %v", who, err)
				}
				if err := validate.Image(got); err != nil {
					t.Errorf("%s pulled something else: %v", who, err)
				}
			}
			tags, err := remote.List(r.ref("alice/web:v1").Context(), as("alice"))
			if err != nil || !slices.Equal(tags, []string{"v1"}) {
				t.Errorf("tags %v, %v", tags, err)
			}
			used, err := r.store.Usage(t.Context(), "alice")
			if err != nil || used < 300_000 || used > 400_000 {
				t.Errorf("alice keeps %d bytes, %v", used, err)
			}
			// An index of two platforms, one of whose images is there already.
			idx := mutate.AppendManifests(mutateEmpty(), mutate.IndexAddendum{Add: img}, mutate.IndexAddendum{Add: image(t, 1000, 1)})
			if err := remote.WriteIndex(r.ref("alice/web:many"), idx, as("alice")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	img := image(t, 1000, 1)
	if err := remote.Write(r.ref("alice/web:v1"), img, as("alice")); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	pull := func(image string) func(remote.Option) error {
		return func(o remote.Option) error { _, err := remote.Get(r.ref(image), o); return err }
	}
	push := func(image string) func(remote.Option) error {
		return func(o remote.Option) error { return remote.Write(r.ref(image), img, o) }
	}
	remove := func(o remote.Option) error { return remote.Delete(r.ref("alice/web@"+digest.String()), o) }
	for _, tc := range []struct {
		who, what string
		do        func(remote.Option) error
		want      int
	}{
		{"", "pull", pull("alice/web:v1"), 401},
		{"", "push", push("alice/web:v2"), 401},
		{"bob", "pull", pull("alice/web:v1"), 403},
		{"bob", "pull what is not there", pull("nobody/web:v1"), 403},
		{"bob", "push", push("alice/web:v2"), 403},
		{"bob", "delete", remove, 403},
		{"guest", "push", push("alice/web:v2"), 403},
		{"guest", "delete", remove, 403},
		{"bob", "push to his own", push("bob/web:v1"), 0},
		{"alice", "delete", remove, 0},
		{"alice", "pull what she deleted", pull("alice/web:v1"), 404},
	} {
		err := tc.do(as(tc.who))
		if status(err) != tc.want || (tc.want == 0) != (err == nil) {
			t.Errorf("%q, %s: %v; want status %d", tc.who, tc.what, err, tc.want)
		}
	}
	// There is no difference between what is hidden and what is not there.
	_, hidden := remote.Get(r.ref("alice/web:v1"), as("bob"))
	_, missing := remote.Get(r.ref("nobody/web:v1"), as("bob"))
	if a, b := strings.ReplaceAll(fmt.Sprint(hidden), "alice", "nobody"), fmt.Sprint(missing); a != b {
		t.Errorf("bob can tell an image of alice's from nothing:\n%s\n%s", a, b)
	}
	if err := pull("alice/web:v1")(remote.WithAuth(&authn.Basic{Username: "alice", Password: "wrong"})); status(err) != 401 {
		t.Errorf("with a wrong password: %v", err)
	}
}

// TestMountNeedsARight: naming the digest of another's layer gives it to nobody.
func TestMountNeedsARight(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	img := image(t, 1000, 1)
	if err := remote.Write(r.ref("alice/web:v1"), img, as("alice")); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	token := r.token("bob")
	for _, form := range []bool{false, true} {
		q := "mount=" + d.String() + "&from=alice/web"
		url, body := "http://"+r.host+"/v2/bob/web/blobs/uploads/", io.Reader(nil)
		if form {
			body = strings.NewReader(q)
		} else {
			url += "?" + q
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if form {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusAccepted {
			t.Errorf("form %v: %s; want an upload of bob's own", form, res.Status)
		}
	}
	if _, err := r.store.Blob(t.Context(), "bob/web", d.String()); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("bob has the layer: %v", err)
	}
}

func (r *rig) token(who string) string {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.host+"/token", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.SetBasicAuth(who, "pw-"+who)
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %v", res.Status, err)
	}
	_, token, _ := strings.Cut(string(body), `"token":"`)
	token, _, _ = strings.Cut(token, `"`)
	return token
}

// TestChallenge is what every client needs to find its way.
func TestChallenge(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	for path, scope := range map[string]string{"/v2/": "", "/v2/alice/web/manifests/v1": `,scope="repository:alice/web:pull"`} {
		for _, auth := range []string{"", "Bearer nonsense", "Bearer " + r.token("alice")[1:]} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.host+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", auth)
			res, err := r.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			want := fmt.Sprintf(`Bearer realm="http://%s/token",service="%s"%s`, r.host, r.host, scope)
			if res.StatusCode != 401 || res.Header.Get("WWW-Authenticate") != want || !strings.Contains(string(body), `"code":"UNAUTHORIZED"`) {
				t.Errorf("%s: %s %q %s", path, res.Status, res.Header.Get("WWW-Authenticate"), body)
			}
		}
	}
}

// TestRightEndsAtOnce: a token lives on, the right does not.
func TestRightEndsAtOnce(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	token := r.token("alice")
	get := func() int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	if s := get(); s != 200 {
		t.Fatalf("with a good token: %d", s)
	}
	r.gone["alice"] = true
	if s := get(); s != 401 {
		t.Errorf("after the end of the right: %d", s)
	}
}

func TestQuota(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	r.quota = 50_000
	small := image(t, 20_000, 1)
	if err := remote.Write(r.ref("alice/web:v1"), small, as("alice")); err != nil {
		t.Fatal(err)
	}
	err := remote.Write(r.ref("alice/web:v2"), image(t, 100_000, 1), as("alice"))
	if status(err) != 403 || !strings.Contains(err.Error(), "delete images that are not needed") {
		t.Errorf("beyond the quota: %v", err)
	}
	// What was sent of it does not count for ever, and what is there stays usable.
	if _, err := remote.Image(r.ref("alice/web:v1"), as("alice")); err != nil {
		t.Error(err)
	}
	if err := remote.Write(r.ref("bob/web:v1"), small, as("bob")); err != nil {
		t.Errorf("another's quota is another's: %v", err)
	}
}

func TestCollect(t *testing.T) {
	for where, storage := range storages(t) {
		t.Run(where, func(t *testing.T) {
			r := newRig(t, storage(t))
			keep, drop := image(t, 10_000, 2), image(t, 10_000, 2)
			for tag, img := range map[string]v1.Image{"keep": keep, "drop": drop} {
				if err := remote.Write(r.ref("alice/web:"+tag), img, as("alice")); err != nil {
					t.Fatal(err)
				}
			}
			layers, err := drop.Layers()
			if err != nil {
				t.Fatal(err)
			}
			d, err := layers[0].Digest()
			if err != nil {
				t.Fatal(err)
			}
			if err := r.store.Untag(t.Context(), "alice/web", "drop"); err != nil {
				t.Fatal(err)
			}
			there := func() bool {
				_, err := r.store.Blob(t.Context(), "alice/web", d.String())
				return err == nil
			}
			if err := r.store.Collect(t.Context(), time.Hour); err != nil {
				t.Fatal(err)
			}
			if !there() {
				t.Error("content that a push may rely on was collected")
			}
			if err := r.store.Collect(t.Context(), -time.Hour); err != nil {
				t.Fatal(err)
			}
			if there() {
				t.Error("content that nothing leads to stays")
			}
			got, err := remote.Image(r.ref("alice/web:keep"), as("alice"))
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(got); err != nil {
				t.Errorf("the image that is tagged lost something: %v", err)
			}
			if err := r.store.Remove(t.Context(), "alice"); err != nil {
				t.Fatal(err)
			}
			if err := r.store.Collect(t.Context(), -time.Hour); err != nil {
				t.Fatal(err)
			}
			if n, err := r.store.Usage(t.Context(), "alice"); n != 0 || err != nil {
				t.Errorf("after the end alice keeps %d bytes, %v", n, err)
			}
			if names, err := r.store.Below(t.Context(), ""); len(names) != 0 || err != nil {
				t.Errorf("repositories stay: %v, %v", names, err)
			}
		})
	}
}

// TestCollectWhilePushing: content is collected all the time, and no push fails.
func TestCollectWhilePushing(t *testing.T) {
	r := newRig(t, oci.Storage{Folder: t.TempDir()})
	img := image(t, 5000, 3)
	done := make(chan struct{})
	ended := make(chan error, 1)
	group(t, func() {
		for {
			select {
			case <-done:
				ended <- nil
				return
			default:
			}
			if err := r.store.Collect(t.Context(), time.Hour); err != nil {
				ended <- err
				return
			}
		}
	})
	for i := range 10 {
		// The layers are those of the image that has just lost its tag.
		if err := remote.Write(r.ref(fmt.Sprintf("alice/web:v%d", i)), img, as("alice")); err != nil {
			t.Fatal(err)
		}
		if err := r.store.Untag(t.Context(), "alice/web", fmt.Sprintf("v%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestInProcess(t *testing.T) {
	for where, storage := range storages(t) {
		t.Run(where, func(t *testing.T) {
			r := newRig(t, storage(t))
			ctx := t.Context()
			b, err := r.store.PutBlob(ctx, "own/base", func(w io.Writer) error { _, err := io.WriteString(w, "hello"); return err })
			if err != nil || b.Size != 5 {
				t.Fatal(b, err)
			}
			if _, err := r.store.PutBlob(ctx, "own/base", func(io.Writer) error { return io.ErrUnexpectedEOF }); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a broken write: %v", err)
			}
			if err := r.store.Link(ctx, "own/base", "alice/web", b); err != nil {
				t.Fatal(err)
			}
			if err := r.store.Link(ctx, "own/nothing", "alice/web", b); !errs.Is(err, errs.KindNotFound) {
				t.Errorf("linking from where it is not: %v", err)
			}
			f, err := r.store.OpenBlob(ctx, "alice/web", b.Digest)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(f)
			f.Close()
			if err != nil || string(text) != "hello" {
				t.Error(text, err)
			}
			if _, err := r.store.Manifest(ctx, "alice/web", "v1"); !errs.Is(err, errs.KindNotFound) {
				t.Errorf("no manifest: %v", err)
			}
			if err := r.store.Untag(ctx, "alice/web", "v1"); err != nil {
				t.Errorf("no tag: %v", err)
			}
		})
	}
}
