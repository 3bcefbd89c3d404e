package gitd_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/proto/gitd"
	"slipway.dev/slipway/internal/proto/gitd/gitdtest"
)

// Servers that stall, break off or send something else end with a clear error.
func TestFetchBadServers(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	defer close(stop)
	hold := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
	const refs, pack = "application/x-git-upload-pack-advertisement", "application/x-git-upload-pack-result"
	answers := map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"/silent": func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { hold(r) },
		"/half": func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", refs)
			fmt.Fprint(w, "001e# service=git-upload-pack\n")
			_ = http.NewResponseController(w).Flush()
			hold(r)
		},
		"/pack": func(w http.ResponseWriter, r *http.Request, git http.Handler) {
			if r.Method == http.MethodPost && r.ContentLength > 0 && r.Header.Get("Content-Encoding") == "" {
				body, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(strings.NewReader(string(body)))
				if strings.Contains(string(body), "command=fetch") {
					w.Header().Set("Content-Type", pack)
					fmt.Fprint(w, "000dpackfile\n")
					_ = http.NewResponseController(w).Flush()
					hold(r)
					return
				}
			}
			r.URL.Path = "/iris.git" + strings.TrimPrefix(r.URL.Path, "/pack")
			git.ServeHTTP(w, r)
		},
		"/page":   func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>") },
		"/broken": func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"/busy": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"/noise": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", refs)
			fmt.Fprint(w, "this is no protocol")
		},
		"/zip": func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", refs)
			w.Header().Set("Content-Encoding", "gzip")
		},
	}
	w := newElsewhere(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			for name := range maps.Keys(answers) {
				if strings.HasPrefix(r.URL.Path, name+"/") {
					answers[name](rw, r, h)
					return
				}
			}
			h.ServeHTTP(rw, r)
		})
	})
	w.record("iris", "main", "first", nil)
	for at, says := range map[string]string{
		"/page": "smart protocol", "/broken": "HTTPS", "/busy": "status 503", "/noise": "may be damaged", "/zip": "smart protocol",
	} {
		_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + at})
		w.refused(err, "url", says)
	}
	_, err := w.fetch("none", gitd.Remote{URL: "https://127.0.0.1:1/x"})
	w.refused(err, "url", "cannot be reached")
	w.srv.Stall = 200 * time.Millisecond // they would stall for ever
	for _, at := range []string{"/silent", "/half"} {
		_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + at})
		w.refused(err, "url", "sent nothing")
	}
	w.srv.Stall = 3 * time.Second // what comes before takes a real git some time
	_, err = w.fetch("none", gitd.Remote{URL: w.remote.URL + "/pack"})
	w.refused(err, "url", "sent nothing")
}

// A history that ends in the middle would stay so: nobody could clone it.
func TestFetchShallow(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	w.record("iris", "main", "first", nil)
	w.record("iris", "main", "second", nil)
	if _, err := gitdtest.Git(w.remote.Root, "clone", "-q", "--bare", "--depth=1", "file://"+filepath.Join(w.remote.Root, "iris.git"), "shallow.git"); err != nil {
		t.Fatal(err)
	}
	_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/shallow.git"})
	w.refused(err, "url", "shallow")
}

func TestFetchTooLarge(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	noise := secret.Random(1 << 20).Reveal()
	w.record("big", "main", "first", map[string]string{"noise": noise})
	w.srv.MaxBytes = 256 << 10
	_, err := w.fetch("none", gitd.Remote{URL: w.remote.URL + "/big.git"})
	if !errs.Is(err, errs.KindExhausted) || !strings.Contains(err.Error(), "larger than") {
		t.Error(err)
	}
	if packs, _ := filepath.Glob(filepath.Join(w.srv.Root, "none.git", "objects", "*", "*")); len(packs) > 0 {
		t.Errorf("it left %v", packs)
	}
}

// Objects that git's check does not like are not kept: here a tree with a
// .git in it, which would write into a clone's own settings.
func TestFetchChecksObjects(t *testing.T) {
	t.Parallel()
	w := newElsewhere(t, nil)
	w.record("bad", "main", "first", map[string]string{"a": "b"})
	bare := filepath.Join(w.remote.Root, "bad.git")
	blob, err := gitdtest.Git(bare, "rev-parse", "main:a")
	if err != nil {
		t.Fatal(err)
	}
	cmd := w.command(bare, "mktree")
	cmd.Stdin = strings.NewReader("100644 blob " + strings.TrimSpace(blob) + "\t.git\n")
	tree, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	commit := strings.TrimSpace(w.must(bare, "commit-tree", "-m", "bad", strings.TrimSpace(string(tree))))
	w.must(bare, "update-ref", "refs/heads/main", commit)
	_, err = w.fetch("none", gitd.Remote{URL: w.remote.URL + "/bad.git"})
	w.refused(err, "url", "may be damaged")
	if !strings.Contains(w.log.String(), "fsck") {
		t.Errorf("the log does not say why: %s", w.log)
	}
}
