package rig

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Person is somebody who pushes: a home folder and what git answers when it is
// asked for a user and a password.
type Person struct {
	Name, Password, Home string
}

// Repo is a work tree of somebody's app.
type Repo struct {
	In  *Instance
	By  Person
	Dir string
	App string
}

// NewRepo copies the folder from into dir, commits it on branch main and sets
// the remote of the app.
func (in *Instance) NewRepo(ctx context.Context, by Person, from, dir, app string) (*Repo, error) {
	r := &Repo{in, by, dir, app}
	if err := CopyDir(from, dir); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"add", "-A"},
		{"commit", "-q", "-m", "first"},
		{"remote", "add", "slipway", in.Hosts.GitRemote(app)},
	} {
		if out, err := r.Git(ctx, args...); err != nil {
			return nil, fmt.Errorf("%w: %s", err, out)
		}
	}
	return r, nil
}

// Git runs git in the work tree and returns what it printed.
func (r *Repo) Git(ctx context.Context, args ...string) (string, error) {
	cmd, err := r.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Command prepares a git command whose password comes from the environment,
// never from an argument that others could list.
func (r *Repo) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	ask := filepath.Join(r.By.Home, ".askpass")
	script := "#!/bin/sh\ncase \"$1\" in Username*) echo \"$GIT_USER\" ;; *) echo \"$GIT_PASS\" ;; esac\n"
	if err := errors.Join(os.MkdirAll(r.By.Home, 0o700), os.WriteFile(ask, []byte(script), 0o700)); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.Dir
	cmd.Env = append(r.In.Env(r.By.Home), "GIT_ASKPASS="+ask, "GIT_USER="+r.By.Name, "GIT_PASS="+r.By.Password)
	return cmd, nil
}

// Push commits everything and pushes main; it returns what git printed.
func (r *Repo) Push(ctx context.Context, message string) (string, error) {
	if out, err := r.Git(ctx, "add", "-A"); err != nil {
		return out, err
	}
	if out, err := r.Git(ctx, "commit", "-q", "--allow-empty", "-m", message); err != nil {
		return out, err
	}
	return r.Git(ctx, "push", "slipway", "main")
}

// Edit replaces text in a file of the work tree, which must hold it.
func (r *Repo) Edit(file, old, text string) error {
	path := filepath.Join(r.Dir, file)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), old) {
		return fmt.Errorf("%s does not hold %q", file, old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), old, text, 1)), 0o644)
}

// CopyDir copies a folder without caches.
func CopyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "__pycache__" || d.Name() == ".git" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
}
