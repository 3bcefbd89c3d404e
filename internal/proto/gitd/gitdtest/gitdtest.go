// Package gitdtest serves real repositories over HTTPS with git's own program,
// as other places on the internet do: for tests of what fetches from there.
package gitdtest

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Remote is a server of repositories that are folders NAME.git in Root. Those
// whose name begins with private ask for User and Token.
type Remote struct {
	Root string
	URL  string // https://127.0.0.1:port
	*httptest.Server
}

// What opens private repositories.
const (
	User  = "robot"
	Token = "glpat-this-is-the-token" //nolint:gosec // opens nothing but this
)

// Serve serves the repositories in a folder until Close. wrap, which may be
// nil, can put something before them.
func Serve(root string, wrap func(http.Handler) http.Handler) (*Remote, error) {
	where, err := exec.Command("git", "--exec-path").Output() //nolint:noctx // it answers at once
	if err != nil {
		return nil, err
	}
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(where)), "git-http-backend"), Dir: root,
		Env: []string{
			"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "HOME=" + root, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
	}
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/private") {
			if user, token, _ := r.BasicAuth(); user != User || token != Token {
				w.Header().Set("WWW-Authenticate", `Basic realm="private"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		backend.ServeHTTP(w, r)
	})
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewTLSServer(h)
	return &Remote{Root: root, URL: s.URL, Server: s}, nil
}

// CA returns what to trust, as PEM.
func (r *Remote) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
}

// Commit adds a commit with files to a branch of a repository, which is made
// when it is not there, and returns its id. Files that are not named stay.
func (r *Remote) Commit(repo, branch, message string, files map[string]string) (string, error) {
	bare := filepath.Join(r.Root, repo+".git")
	if _, err := os.Stat(bare); err != nil {
		if _, err := Git(r.Root, "init", "-q", "--bare", "-b", branch, bare); err != nil {
			return "", err
		}
	}
	work, err := os.MkdirTemp("", "work-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if _, err := Git(work, "clone", "-q", bare, "."); err != nil {
		return "", err
	}
	if _, err := Git(work, "checkout", "-q", branch); err != nil {
		if _, err := Git(work, "checkout", "-q", "-B", branch); err != nil {
			return "", err
		}
	}
	for name, text := range files {
		path := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", message}, {"push", "-q", "origin", branch}} {
		if _, err := Git(work, args...); err != nil {
			return "", err
		}
	}
	id, err := Git(work, "rev-parse", "HEAD")
	return strings.TrimSpace(id), err
}

// Git runs git in a folder, apart from whatever this machine's people have configured.
func Git(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", args...) //nolint:noctx // local, and short
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}
