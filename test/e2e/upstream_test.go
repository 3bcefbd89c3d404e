package e2e_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway.dev/slipway/internal/proto/gitd/gitdtest"
	"slipway.dev/slipway/test/rig"
)

// forge is a git server that is not the platform's.
type forge struct {
	*gitdtest.Remote
	slow  chan struct{} // gets one for each that asks below /slow
	hold  atomic.Bool   // whether they wait
	trap  string        // where /moved leads to
	asked atomic.Int64  // requests to the trap
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{slow: make(chan struct{}, 100)}
	f.hold.Store(true)
	trap, err := gitdtest.Serve(t.TempDir(), func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f.asked.Add(1) })
	})
	ok(t, err)
	t.Cleanup(trap.Close)
	f.trap = trap.URL
	f.Remote, err = gitdtest.Serve(t.TempDir(), func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if rest, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
				http.Redirect(w, r, f.trap+rest+"?"+r.URL.RawQuery, http.StatusFound)
				return
			}
			if rest, ok := strings.CutPrefix(r.URL.Path, "/slow"); ok {
				if f.hold.Load() {
					f.slow <- struct{}{}
					<-r.Context().Done()
					return
				}
				r.URL.Path = rest
			}
			h.ServeHTTP(w, r)
		})
	})
	ok(t, err)
	t.Cleanup(f.Close)
	return f
}

// commit is a command of stories: commit REPO BRANCH MESSAGE [FROM TO], which
// changes words of the app's page.
func (f *forge) commit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 && len(args) != 5 {
		ts.Fatalf("usage: commit REPO BRANCH MESSAGE [FROM TO]")
	}
	files := map[string]string{}
	dir := filepath.Join("..", "apps", "weather")
	ts.Check(fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, path))
		files[path] = string(text)
		if len(args) == 5 {
			files[path] = strings.ReplaceAll(files[path], args[3], args[4])
		}
		return err
	}))
	id, err := f.Commit(args[0], args[1], args[2], files)
	ts.Check(err)
	ts.Setenv("COMMIT", id)
}

// TestUpstream tells how code comes from elsewhere, and what cannot come of it.
func TestUpstream(t *testing.T) {
	oneMachine(t, "the other git server listens on this machine's loopback")
	f := newForge(t)
	dir := t.TempDir()
	ca, config := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "slipway.yaml")
	ok(t, os.WriteFile(ca, f.CA(), 0o600))
	at := strings.TrimPrefix(f.URL, "https://")
	host, _, _ := strings.Cut(at, ":")
	ok(t, os.WriteFile(config, fmt.Appendf(nil, "git_hosts: [%s]\ngit_ca_file: %s\n", host, ca), 0o600))
	w := newWorld(t, "--config", config)
	w.tell(t, testscript.Params{
		Files: scripts(t, "upstream"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"commit": f.commit,
			"slow": func(_ *testscript.TestScript, _ bool, args []string) { // slow wait | slow go
				if args[0] == "go" {
					f.hold.Store(false)
					return
				}
				<-f.slow
			},
			"idle": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Check(rig.Until(t.Context(), patience(10*time.Second), func() error { return nothingFetches(w.in.Data) }))
			},
			"stranger": func(ts *testscript.TestScript, _ bool, _ []string) {
				if n := f.asked.Load(); n > 0 {
					ts.Fatalf("a server that nobody allowed was asked %d times", n)
				}
			},
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("FORGE", f.URL)
			token := filepath.Join(env.WorkDir, "token")
			return os.WriteFile(token, []byte(gitdtest.Token+"\n"), 0o600)
		},
	})
	// The token is in no file of the platform but sealed, and in nothing that it logged.
	ok(t, filepath.WalkDir(w.in.Data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // what goes away meanwhile holds nothing
		}
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), gitdtest.Token) {
			t.Errorf("%s holds the token", path)
		}
		return nil
	}))
	// What a core that was killed had begun has ended.
	ok(t, rig.Until(t.Context(), patience(10*time.Second), func() error { return nothingFetches(w.in.Data) }))
}

// nothingFetches finds programs that work in repositories, and what they left.
func nothingFetches(data string) error {
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return err
	}
	for _, link := range all {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, filepath.Join(data, "repos")) {
			return fmt.Errorf("%s works in %s", link, at)
		}
	}
	left, err := filepath.Glob(filepath.Join(data, "repos", "*.git", "objects", "tmp_objdir-*"))
	if len(left) > 0 {
		return fmt.Errorf("%v is left", left)
	}
	return err
}
