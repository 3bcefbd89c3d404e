package fake

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// layers keeps the regular files of layers.
type layers struct {
	used func(name string) bool

	mu  sync.Mutex
	all map[string]*layer
}

type layer struct {
	info engine.LayerInfo
	tar  []byte
}

// Layers implements engine.Engine.
func (e *Engine) Layers() engine.Layers { return e.layers }

func (e *Engine) layerUsed(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ob := range e.objects {
		done := ob.task != nil && ob.replicas[0] != nil && ob.replicas[0].ended
		if !done && slices.ContainsFunc(ob.workload.Layers, func(l engine.Layer) bool { return l.Name == name }) {
			return true
		}
	}
	return false
}

// Put implements engine.Layers.
func (l *layers) Put(_ context.Context, name string, r io.Reader) error {
	if !engine.ValidName(name) {
		return errs.Invalid("%q is no name of a layer", name)
	}
	var kept bytes.Buffer
	in, out := tar.NewReader(r), tar.NewWriter(&kept)
	info := engine.LayerInfo{Name: name, Created: time.Now().UTC()}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errs.Wrap(err, errs.KindInvalid, "the layer is no readable tar stream")
		}
		if h.Name, err = engine.CheckEntry(h); err != nil {
			return err
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		n, err := io.Copy(out, in)
		if err != nil {
			return err
		}
		info.Bytes += n
	}
	if err := out.Close(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[name] == nil {
		l.all[name] = &layer{info: info, tar: kept.Bytes()}
	}
	return nil
}

// Has implements engine.Layers.
func (l *layers) Has(_ context.Context, name string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[name] != nil, nil
}

// Open implements engine.Layers.
func (l *layers) Open(_ context.Context, name string) (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all[name] == nil {
		return nil, errs.NotFound("there is no layer %q", name)
	}
	return io.NopCloser(bytes.NewReader(l.all[name].tar)), nil
}

// List implements engine.Layers.
func (l *layers) List(context.Context) ([]engine.LayerInfo, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	infos := make([]engine.LayerInfo, 0, len(l.all))
	for _, v := range l.all {
		infos = append(infos, v.info)
	}
	slices.SortFunc(infos, func(a, b engine.LayerInfo) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// Remove implements engine.Layers.
func (l *layers) Remove(_ context.Context, name string) error {
	if l.used(name) {
		return errs.Conflict("layer %q is used", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, name)
	return nil
}

// read calls fn with each regular file.
func (l *layers) read(name string, fn func(name string, b []byte)) {
	l.mu.Lock()
	v := l.all[name]
	l.mu.Unlock()
	if v == nil {
		return
	}
	tr := tar.NewReader(bytes.NewReader(v.tar))
	for h, err := tr.Next(); err == nil; h, err = tr.Next() {
		if h.Typeflag == tar.TypeReg {
			b, _ := io.ReadAll(tr) // from memory
			fn(h.Name, b)
		}
	}
}

// pack makes a tar stream; writing to memory does not fail.
func pack(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		_ = w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))})
		_, _ = w.Write(files[name])
	}
	_ = w.Close()
	return b.Bytes()
}
