package proc

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// FuzzUnpack looks for an entry that gets out of the folder.
func FuzzUnpack(f *testing.F) {
	f.Add("a/b", "x", byte(tar.TypeReg), "l", "a", byte(tar.TypeSymlink), "l/../../y")
	f.Add("l", "..", byte(tar.TypeSymlink), "l/x", "", byte(tar.TypeReg), "l")
	f.Add("d", ".", byte(tar.TypeSymlink), "d/e", "d", byte(tar.TypeLink), "d/e/f")
	f.Add("l", "/etc", byte(tar.TypeSymlink), "l/passwd", "l/passwd", byte(tar.TypeLink), "a")
	f.Fuzz(func(t *testing.T, name1, to1 string, type1 byte, name2, to2 string, type2 byte, name3 string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Name: name1, Linkname: to1, Typeflag: type1, Mode: 0o777},
			{Name: name2, Linkname: to2, Typeflag: type2, Mode: 0o4777},
			{Name: name3, Typeflag: tar.TypeReg, Size: 1, Mode: 0o644},
		} {
			if w.WriteHeader(&h) != nil {
				return
			}
			if h.Size > 0 {
				_, _ = w.Write([]byte("x"))
			}
		}
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_ = unpack(t.Context(), &b, dir)
		found, err := os.ReadDir(outer)
		if err != nil || len(found) != 1 {
			t.Fatalf("outside there is %v, %v", found, err)
		}
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeDevice|fs.ModeNamedPipe) != 0 {
				t.Errorf("%s has mode %v", p, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
