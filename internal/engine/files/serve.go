package files

import (
	"bufio"
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"slipway.dev/slipway/internal/base/errs"
)

// Serve does one thing to the files below a folder and returns the exit code.
// args are a word, the folder and a path in it:
//
//	list DIR PATH CURSOR LIMIT   writes a Page as JSON
//	read DIR PATH                writes an Entry as a line of JSON, then so many bytes
//	write DIR PATH               makes a file of the frames that it reads, whole or not at all
//	mkdir DIR PATH               makes a folder
//	remove DIR PATH              deletes a file, or a folder with all that is in it
func Serve(args []string, in io.Reader, out, stderr io.Writer) int {
	err := serve(args, in, out)
	if err == nil {
		return 0
	}
	f := failure{Kind: errs.KindOf(err).String(), Message: errs.Message(err)}
	if errs.Is(err, errs.KindInternal) {
		f.Message = err.Error() // it names no more than what is in the folder
	}
	_ = json.NewEncoder(stderr).Encode(f) // whoever asked is gone
	return 1
}

func serve(args []string, in io.Reader, out io.Writer) error {
	if len(args) < 3 {
		return errs.Invalid("usage: files list|read|write|mkdir|remove DIR PATH")
	}
	name, err := Path(args[2])
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(args[1])
	if errors.Is(err, fs.ErrNotExist) {
		return errs.Wrap(err, errs.KindConflict, "the app has no such folder")
	}
	if err != nil {
		return explain(err, "")
	}
	defer func() { _ = root.Close() }() // nothing was written by it
	switch verb := args[0]; {
	case verb == "list" && len(args) == 5:
		err = list(root, name, args[3], args[4], out)
	case verb == "read":
		err = read(root, name, out)
	case name == ".":
		return errs.Conflict("this is the folder itself: name something in it")
	case verb == "write":
		err = write(root, name, in)
	case verb == "mkdir":
		err = mkdir(root, name)
	case verb == "remove":
		err = remove(root, name)
	default:
		return errs.Invalid("there is no verb %q", verb)
	}
	return explain(err, name)
}

// explain gives an error of the file system a kind and words.
func explain(err error, name string) error {
	var known *errs.Error
	say := func(k errs.Kind, format string, args ...any) error { return errs.Wrap(err, k, format, args...) }
	switch {
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return say(errs.KindNotFound, "there is no %q", name)
	case errors.Is(err, fs.ErrPermission):
		return say(errs.KindConflict, "the permissions of %q do not allow it: let the app change them", name)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return say(errs.KindExhausted, "the disk is full: delete what is no longer needed, then try again")
	case errors.Is(err, syscall.EROFS):
		return say(errs.KindConflict, "the folder cannot be written to")
	case errors.Is(err, syscall.ENOTDIR):
		return say(errs.KindConflict, "a part of %q is no folder", name)
	case errors.Is(err, syscall.EISDIR):
		return say(errs.KindConflict, "%q is a folder", name)
	case errors.Is(err, syscall.ENAMETOOLONG):
		return say(errs.KindInvalid, "a name in %q is too long: at most 255 bytes", name)
	case errors.Is(err, syscall.ELOOP), strings.Contains(err.Error(), "escapes"): // os.Root has no other mark
		return say(errs.KindInvalid, "%q leads out of the folder, or in circles", name)
	}
	return err
}

func list(root *os.Root, name, cursor, limit string, out io.Writer) error {
	most, err := strconv.Atoi(limit)
	if err != nil || most < 1 {
		return errs.Invalid("the limit is %q: it must be a number above 0", limit)
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // as above
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	all, err := f.ReadDir(MaxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(all) > MaxEntries {
		return errs.Exhausted("the folder has more than %d entries: only the app can list them", MaxEntries)
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(order(a), order(b)) })
	at, found := slices.BinarySearchFunc(all, cursor, func(e fs.DirEntry, cursor string) int { return cmp.Compare(order(e), cursor) })
	if found {
		at++
	}
	p := Page{Items: []Entry{}, Total: len(all)}
	part := all[at:min(at+most, len(all))]
	for _, e := range part {
		if i, err := dir.Lstat(e.Name()); err == nil { // one that has just gone is left out
			p.Items = append(p.Items, entry(root, path.Join(name, e.Name()), i))
		}
	}
	if at+len(part) < len(all) {
		p.Next = order(part[len(part)-1])
	}
	return json.NewEncoder(out).Encode(p)
}

// order is by what a folder's entries are sorted, and a page's cursor.
func order(e fs.DirEntry) string {
	if e.IsDir() {
		return "d" + e.Name()
	}
	return "f" + e.Name()
}

// entry describes what is at name; a link by what it leads to.
func entry(root *os.Root, name string, i fs.FileInfo) Entry {
	e := Entry{Name: strings.ToValidUTF8(path.Base(name), "\uFFFD"), Kind: Other, Modified: i.ModTime().UTC(), Odd: !utf8.ValidString(name)}
	if i.Mode()&fs.ModeSymlink != 0 {
		e.Link = true
		to, err := root.Stat(name)
		if err != nil {
			return e
		}
		i = to
	}
	switch {
	case i.Mode().IsRegular():
		e.Kind, e.Size = File, i.Size()
	case i.IsDir():
		e.Kind = Folder
	}
	return e
}

func read(root *os.Root, name string, out io.Writer) error {
	// A pipe without a writer must not be waited for.
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	i, err := f.Stat()
	if err != nil {
		return err
	}
	e := entry(root, name, i)
	if e.Kind != File {
		return errs.Conflict("%q is no file that can be read", name)
	}
	if err := json.NewEncoder(out).Encode(e); err != nil {
		return err
	}
	n, err := io.Copy(out, io.LimitReader(f, e.Size))
	if err == nil && n < e.Size {
		err = errs.Conflict("%q became shorter while it was read", name)
	}
	return err
}

func write(root *os.Root, name string, in io.Reader) (err error) {
	mode := fs.FileMode(0o644)
	switch i, err := root.Lstat(name); {
	case err == nil && i.IsDir():
		return errs.Conflict("%q is a folder", name)
	case err == nil && i.Mode().IsRegular():
		mode = i.Mode().Perm()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if i, err := root.Stat(path.Dir(name)); errors.Is(err, fs.ErrNotExist) {
		return errs.NotFound("there is no folder %q: make it first", path.Dir(name))
	} else if err == nil && !i.IsDir() {
		return errs.Conflict("%q is no folder", path.Dir(name))
	}
	tmp := path.Join(path.Dir(name), ".slipway-"+rand.Text())
	f, err := root.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(tmp))
		}
	}()
	err = errors.Join(unframe(f, in), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// unframe copies frames until the empty one.
func unframe(to io.Writer, from io.Reader) error {
	from = bufio.NewReaderSize(from, maxFrame+4)
	var head [4]byte
	for {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return errs.Wrap(err, errs.KindUnavailable, "the file did not come whole: nothing was changed")
		}
		n := binary.BigEndian.Uint32(head[:])
		if n == 0 {
			return nil
		}
		if n > maxFrame {
			return errs.Invalid("a frame of %d bytes is too large", n)
		}
		switch copied, err := io.CopyN(to, from, int64(n)); {
		case errors.Is(err, io.EOF):
			return errs.Wrap(err, errs.KindUnavailable, "the file did not come whole: nothing was changed")
		case err != nil:
			return err
		case copied < int64(n):
			return io.ErrShortWrite
		}
	}
}

func mkdir(root *os.Root, name string) error {
	err := root.Mkdir(name, 0o755)
	switch {
	case errors.Is(err, fs.ErrExist):
		return errs.Conflict("%q is there already", name)
	case errors.Is(err, fs.ErrNotExist):
		return errs.NotFound("there is no folder %q: make it first", path.Dir(name))
	}
	return err
}

func remove(root *os.Root, name string) error {
	if _, err := root.Lstat(name); err != nil {
		return err
	}
	return root.RemoveAll(name)
}
