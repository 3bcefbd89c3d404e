package apps

import (
	"context"
	"io"
	"slices"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/files"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// File is something in an app's ~/mount.
type File = files.Entry

// ListFiles lists a folder of the app's ~/mount, folders first, then by name.
// Paths here are below ~/mount, with / between names; empty is ~/mount itself.
// An app of which no replica runs has its files out of reach: Conflict.
func (s *Service) ListFiles(ctx context.Context, name, path, cursor string, limit int) (Page[File], error) {
	m, err := s.mount(ctx, access.ReadApp, name)
	if err != nil {
		return Page[File]{}, err
	}
	p, err := m.List(ctx, path, cursor, limit)
	return Page[File]{Items: p.Items, Next: p.Next, Total: p.Total}, err
}

// ReadFile calls begin with what the file is and copies it to where that says.
// An error after begin means that it did not come whole.
func (s *Service) ReadFile(ctx context.Context, name, path string, begin func(File) io.Writer) error {
	m, err := s.mount(ctx, access.ReadApp, name)
	if err != nil {
		return err
	}
	return m.Read(ctx, path, begin)
}

// MayWriteFiles returns nil when the actor may change the app's files: to ask
// before much is sent.
func (s *Service) MayWriteFiles(ctx context.Context, name string) error {
	return s.view(ctx, access.ManageApp, name, nil)
}

// WriteFile makes or replaces a file with all that r gives, or changes nothing.
func (s *Service) WriteFile(ctx context.Context, name, path string, r io.Reader) error {
	return s.changeFiles(ctx, name, "files.write", path, func(m files.Mount) error { return m.Write(ctx, path, r) })
}

// MakeFolder makes a folder.
func (s *Service) MakeFolder(ctx context.Context, name, path string) error {
	return s.changeFiles(ctx, name, "files.mkdir", path, func(m files.Mount) error { return m.Mkdir(ctx, path) })
}

// DeleteFile deletes a file, or a folder with all that is in it.
func (s *Service) DeleteFile(ctx context.Context, name, path string) error {
	return s.changeFiles(ctx, name, "files.delete", path, func(m files.Mount) error { return m.Remove(ctx, path) })
}

func (s *Service) changeFiles(ctx context.Context, name, what, path string, fn func(files.Mount) error) error {
	m, err := s.mount(ctx, access.ManageApp, name)
	if err != nil {
		return err
	}
	if err := fn(m); err != nil {
		return err
	}
	// Who asked may be gone; the trail is left all the same.
	return s.DB.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		return s.audit(tx, slipway.ActorFrom(ctx), what, name, path)
	})
}

// mount finds the app's ~/mount in a replica that runs: all of them have the
// same one.
func (s *Service) mount(ctx context.Context, v access.Verb, name string) (files.Mount, error) {
	var app store.App
	if err := s.view(ctx, v, name, func(tx *store.Tx, a store.App) error {
		app = a
		if a.Current == 0 {
			return nil
		}
		r, err := tx.Release(a.ID, a.Current)
		if err != nil {
			return err
		}
		sp, err := s.openSpec(&r)
		if err == nil && sp.NoMount {
			err = errs.Conflict("the app has no ~/mount: ask for it with mount = true below [slipway] in project.toml, and deploy it again")
		}
		return err
	}); err != nil {
		return files.Mount{}, err
	}
	snap, err := s.observe(ctx)
	if err != nil {
		return files.Mount{}, err
	}
	r, ok := reachable(snap, app)
	if !ok || app.Paused { // what still runs then is about to end
		return files.Mount{}, noReplica(app)
	}
	return files.Mount{Dir: mountAt, Run: func(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) (int, error) {
		exit, err := s.Engine.Exec(ctx, r, engine.Command{Args: append([]string{engine.Init, files.Verb}, args...)}, engine.Streams{In: in, Out: out, Err: stderr})
		return exit.Code, err
	}}, nil
}

// reachable finds a running replica, of the current release and of web if there is one.
func reachable(snap engine.Snapshot, app store.App) (engine.ReplicaRef, bool) {
	type candidate struct {
		id   engine.ReplicaRef
		rank int
	}
	var all []candidate
	for _, w := range snap.Workloads {
		process, release, ok := plan.Parse(w.ID)
		if !ok || w.ID.Scope != string(app.ID) {
			continue
		}
		for _, r := range w.Replicas {
			if r.Phase != engine.PhaseRunning {
				continue
			}
			c := candidate{id: r.ID}
			if release != app.Current {
				c.rank += 2
			}
			if process != slipway.WebProcess {
				c.rank++
			}
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return engine.ReplicaRef{}, false
	}
	return slices.MinFunc(all, func(a, b candidate) int { return a.rank - b.rank }).id, true
}

func noReplica(app store.App) error {
	const why = "files are reached through a replica of the app, and none runs"
	switch {
	case app.Current == 0:
		return errs.Conflict("%s: deploy it first", why)
	case app.Paused:
		return errs.Conflict("%s: resume the app, then try again", why)
	}
	return errs.Conflict("%s: start the app (its log says what keeps it from running), then try again", why)
}
