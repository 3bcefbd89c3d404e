package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// packTree writes a file system as a compressed tar: in order of names, without
// devices and set-user bits, which a container may not use, and with no time
// later than the newest of a package's own files.
func packTree(ctx context.Context, root, file string) (err error) {
	latest, err := newest(filepath.Join(root, "usr", "bin"))
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(z)
	p := packer{tw, latest, map[uint64]string{}}
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || at == root {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(root, at)
		if err != nil {
			return err
		}
		return p.add(at, rel, d)
	})
	return errors.Join(err, tw.Close(), z.Close())
}

type packer struct {
	tw     *tar.Writer
	latest time.Time
	links  map[uint64]string // first name of a file with several
}

func (p *packer) add(at, rel string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	if !d.IsDir() && !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(at); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: no owner", at)
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = rel, int(st.Uid), int(st.Gid), "", ""
	h.Mode &^= 0o6000
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if h.ModTime = h.ModTime.Truncate(time.Second); h.ModTime.After(p.latest) {
		h.ModTime = p.latest
	}
	if d.IsDir() {
		h.Name += "/"
	}
	if info.Mode().IsRegular() && st.Nlink > 1 {
		if first, seen := p.links[st.Ino]; seen {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			p.links[st.Ino] = rel
		}
	}
	if err := p.tw.WriteHeader(h); err != nil || h.Typeflag != tar.TypeReg {
		return err
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	_, err = io.Copy(p.tw, f)
	return errors.Join(err, f.Close())
}

// newest is the time of the newest regular file in a folder.
func newest(dir string) (time.Time, error) {
	all, err := os.ReadDir(dir)
	var t time.Time
	for _, d := range all {
		if info, err := d.Info(); err == nil && d.Type().IsRegular() && info.ModTime().After(t) {
			t = info.ModTime().Truncate(time.Second)
		}
	}
	return t, err
}
