package proc

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// volume is a folder in Root/volumes/<id>: volume.json and data/. Its changing
// fields are guarded by Engine.mu.
type volume struct {
	dir      string
	vol      engine.Volume
	used     int64
	at       time.Time // when used was counted
	counting bool
}

// size returns the bytes as counted last, and counts again when that is half a
// minute ago, beside the caller: it walks the folder. It needs Engine.mu.
func (e *Engine) size(v *volume) int64 {
	if !v.counting && time.Since(v.at) > 30*time.Second {
		v.counting = true
		e.group.Spawn("volume size", func(context.Context) error {
			n := treeSize(filepath.Join(v.dir, "data"))
			e.mu.Lock()
			defer e.mu.Unlock()
			v.used, v.at, v.counting = n, time.Now(), false
			return nil
		})
	}
	return v.used
}

func treeSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

func (e *Engine) applyVolume(v engine.Volume) error {
	v.ID.Kind = engine.KindVolume
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.volumes[v.ID]; old != nil {
		if old.vol != v {
			return errs.Conflict("%s exists and is different: a volume cannot change", v.ID)
		}
		return nil
	}
	uid, err := e.uid(v.ID.Scope)
	if err != nil {
		return err
	}
	dir := filepath.Join(e.opt.Root, "volumes", filepath.Base(e.objectDir(v.ID)))
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := e.chown(data, uid); err != nil {
		return err
	}
	if err := inside.Write(filepath.Join(dir, "volume.json"), v); err != nil {
		return err
	}
	e.volumes[v.ID] = &volume{dir: dir, vol: v}
	return nil
}

func (e *Engine) loadVolumes() error {
	dirs, err := filepath.Glob(filepath.Join(e.opt.Root, "volumes", "*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		v := &volume{dir: d}
		ok, err := inside.Read(filepath.Join(d, "volume.json"), &v.vol)
		if err != nil {
			return err
		}
		if !ok { // not yet recorded, or half deleted
			if err := e.removeAll(d); err != nil {
				return err
			}
			continue
		}
		e.volumes[v.vol.ID] = v
	}
	return nil
}

func (e *Engine) removeVolume(ref engine.Ref) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	v := e.volumes[ref]
	if v == nil {
		return nil
	}
	for _, ob := range e.objects {
		for _, m := range ob.rec.Mounts {
			if m.Volume == ref {
				return errs.Conflict("%s is used by %s: remove that first", ref, ob.ref)
			}
		}
	}
	// The record goes first: what is left of the data goes at the next start.
	if err := os.Remove(filepath.Join(v.dir, "volume.json")); err != nil {
		return err
	}
	delete(e.volumes, ref)
	return e.removeAll(v.dir)
}
