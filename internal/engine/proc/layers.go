package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// layers keeps each layer as the folder dir/<name> with a note beside it,
// dir/.<name>.json. New ones grow in dir/.new-… and are renamed when whole.
type layers struct {
	dir  string
	used func(name string) string // who uses it

	mu  sync.Mutex
	seq int
}

// Layers implements engine.Engine.
func (e *Engine) Layers() engine.Layers { return e.layers }

// layerUsed tells which object needs the layer.
func (e *Engine) layerUsed(name string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ref, ob := range e.objects {
		if r := ob.replicas[0]; ref.Kind == engine.KindTask && r != nil && r.result != nil {
			continue // done
		}
		for _, l := range ob.rec.Layers {
			if l.Name == name {
				return ref.String()
			}
		}
	}
	return ""
}

func (l *layers) path(name string) string { return filepath.Join(l.dir, name) }

func (l *layers) note(name string) string { return filepath.Join(l.dir, "."+name+".json") }

func (l *layers) has(name string) bool {
	st, err := os.Stat(l.path(name))
	return engine.ValidName(name) && err == nil && st.IsDir()
}

// sweep deletes what a crash left half made.
func (l *layers) sweep() error {
	half, err := filepath.Glob(filepath.Join(l.dir, ".new-*"))
	if err != nil {
		return err
	}
	for _, h := range half {
		if err := os.RemoveAll(h); err != nil {
			return err
		}
	}
	return nil
}

func (l *layers) temp() (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	dir := filepath.Join(l.dir, fmt.Sprintf(".new-%d-%d", os.Getpid(), l.seq))
	return dir, os.Mkdir(dir, 0o755)
}

// commit makes the folder the layer, unless there is one.
func (l *layers) commit(tmp, name string) error {
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	note := engine.LayerInfo{Name: name, Bytes: treeSize(tmp), Created: time.Now().UTC()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.has(name) {
		return os.RemoveAll(tmp)
	}
	if err := inside.Write(l.note(name), note); err != nil {
		return err
	}
	return os.Rename(tmp, l.path(name))
}

// Put implements engine.Layers.
func (l *layers) Put(ctx context.Context, name string, tar io.Reader) error {
	if !engine.ValidName(name) {
		return errs.Invalid("%q is no name of a layer", name)
	}
	if l.has(name) {
		return nil
	}
	tmp, err := l.temp()
	if err != nil {
		return err
	}
	if err := unpack(ctx, tar, tmp); err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return l.commit(tmp, name)
}

// Has implements engine.Layers.
func (l *layers) Has(_ context.Context, name string) (bool, error) { return l.has(name), nil }

// Open implements engine.Layers.
func (l *layers) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if !l.has(name) {
		return nil, errs.NotFound("there is no layer %q", name)
	}
	r, w := io.Pipe()
	g := loop.New(ctx, nil)
	g.Go("pack", func(ctx context.Context) error {
		return w.CloseWithError(pack(ctx, l.path(name), w))
	})
	return stream{r, g}, nil
}

// stream ends its writer when it is closed.
type stream struct {
	*io.PipeReader
	g *loop.Group
}

func (s stream) Close() error { return errors.Join(s.PipeReader.Close(), s.g.Stop()) }

// List implements engine.Layers.
func (l *layers) List(context.Context) ([]engine.LayerInfo, error) {
	dirs, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var all []engine.LayerInfo
	for _, d := range dirs {
		if strings.HasPrefix(d.Name(), ".") {
			continue
		}
		i := engine.LayerInfo{Name: d.Name()}
		if _, err := inside.Read(l.note(d.Name()), &i); err != nil {
			return nil, err
		}
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b engine.LayerInfo) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Remove implements engine.Layers.
func (l *layers) Remove(_ context.Context, name string) error {
	if !l.has(name) {
		return nil
	}
	if by := l.used(name); by != "" {
		return errs.Conflict("layer %q is used by %s", name, by)
	}
	// Renamed first: a half deleted layer must not be seen.
	tmp, err := l.temp()
	if err != nil {
		return err
	}
	if err := os.Rename(l.path(name), filepath.Join(tmp, "old")); err != nil {
		return err
	}
	return errors.Join(os.Remove(l.note(name)), os.RemoveAll(tmp))
}

// fillKept makes the writable folder of a task: the layer at the same path, or nothing.
func (e *Engine) fillKept(rec record, k engine.Layer, dir string) error {
	// A crash may have left it half filled.
	if err := errors.Join(e.removeAll(dir), os.MkdirAll(filepath.Dir(dir), 0o700)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, l := range rec.Layers {
		if l.At == k.At {
			if err := copyTree(e.layers.path(l.Name), dir); err != nil {
				return err
			}
		}
	}
	return e.give(dir, rec.UID)
}

// keep makes layers of a task's folders.
func (e *Engine) keep(rec record, r *replica) error {
	for i, k := range rec.Keep {
		dir := r.path(fmt.Sprintf("keep/%d", i))
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) && e.layers.has(k.Name) {
			continue // a repetition after a crash
		}
		if err := e.take(dir); err != nil {
			return err
		}
		tmp, err := e.layers.temp()
		if err != nil {
			return err
		}
		if err := os.Remove(tmp); err != nil {
			return err
		}
		if err := os.Rename(dir, tmp); err != nil {
			return err
		}
		if err := e.layers.commit(tmp, k.Name); err != nil {
			return err
		}
	}
	return nil
}
