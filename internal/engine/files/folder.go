package files

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"sync"

	"slipway.dev/slipway/internal/base/errs"
)

// Mount is a folder of a replica, by way of Serve. Its methods may be called at
// once; what they return has a kind and words for people.
type Mount struct {
	Dir string // where the replica sees it
	// Run runs Serve with these arguments inside the replica and returns its exit code.
	Run func(ctx context.Context, args []string, in io.Reader, out, err io.Writer) (code int, _ error)
}

// List returns at most limit entries of a folder after the cursor.
func (m Mount) List(ctx context.Context, path, cursor string, limit int) (Page, error) {
	var p Page
	var out bytes.Buffer
	if err := m.run(ctx, nil, &out, "list", path, cursor, strconv.Itoa(limit)); err != nil {
		return p, err
	}
	return p, json.Unmarshal(out.Bytes(), &p)
}

// Read calls begin with what the file is and copies it to where that says. An
// error after begin means that it did not come whole.
func (m Mount) Read(ctx context.Context, path string, begin func(Entry) io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &receiver{begin: begin, failed: cancel}
	err := m.run(ctx, nil, r, "read", path)
	switch {
	case r.err != nil:
		return r.err
	case err == nil && (!r.begun || r.left != 0):
		return errs.Unavailable("the file did not come whole: try again")
	}
	return err
}

// Write makes or replaces a file with what r gives until its end, or changes
// nothing. An error of r comes back as it is.
func (m Mount) Write(ctx context.Context, path string, r io.Reader) error {
	f := &framer{from: r}
	err := m.run(ctx, f, io.Discard, "write", path)
	if own := f.failure(); own != nil {
		return own
	}
	return err
}

// Mkdir makes a folder.
func (m Mount) Mkdir(ctx context.Context, path string) error {
	return m.run(ctx, nil, io.Discard, "mkdir", path)
}

// Remove deletes a file, or a folder with all that is in it.
func (m Mount) Remove(ctx context.Context, path string) error {
	return m.run(ctx, nil, io.Discard, "remove", path)
}

func (m Mount) run(ctx context.Context, in io.Reader, out io.Writer, verb, path string, more ...string) error {
	path, err := Path(path)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	code, err := m.Run(ctx, append([]string{verb, m.Dir, path}, more...), in, out, &said)
	if err != nil || code == 0 {
		return err
	}
	var f failure
	if json.Unmarshal(said.Bytes(), &f) != nil || f.Message == "" {
		return errs.Wrap(errors.New(said.String()), errs.KindUnavailable,
			"the app's files cannot be reached (%d): it may have ended just now, or started before the platform could show files; restart it and try again", code)
	}
	return &errs.Error{Kind: errs.ParseKind(f.Kind), Message: f.Message}
}

// receiver takes the first line for the entry and passes the rest on.
type receiver struct {
	begin  func(Entry) io.Writer
	failed func(error)
	head   []byte
	to     io.Writer
	begun  bool
	left   int64
	err    error
}

func (r *receiver) Write(p []byte) (int, error) {
	n, err := r.write(p)
	if err != nil {
		r.err = err
		r.failed(err) // whoever sends would wait for a reader
	}
	return n, err
}

func (r *receiver) write(p []byte) (int, error) {
	rest := p
	if !r.begun {
		line, after, ended := bytes.Cut(p, []byte{'\n'})
		r.head = append(r.head, line...)
		if len(r.head) > 4*maxPath {
			return 0, errors.New("the replica sent no entry")
		}
		if !ended {
			return len(p), nil
		}
		var e Entry
		if err := json.Unmarshal(r.head, &e); err != nil {
			return 0, err
		}
		r.begun, r.left, r.to, rest = true, e.Size, r.begin(e), after
	}
	if r.left -= int64(len(rest)); r.left < 0 {
		return 0, errors.New("the replica sent more than the file has")
	}
	if _, err := r.to.Write(rest); err != nil {
		return 0, err
	}
	return len(p), nil
}

// framer puts what it reads into frames, and the empty one at the end. An
// engine may go on reading when the call is over.
type framer struct {
	from io.Reader
	buf  []byte // what is still to be given
	done bool

	mu  sync.Mutex
	err error
}

func (f *framer) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *framer) Read(p []byte) (int, error) {
	if len(f.buf) == 0 {
		if f.done {
			return 0, io.EOF
		}
		if err := f.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.buf)
	f.buf = f.buf[n:]
	return n, nil
}

func (f *framer) fill() error {
	frame := make([]byte, 4+maxFrame)
	n, err := f.from.Read(frame[4:])
	switch {
	case errors.Is(err, io.EOF):
		f.done = true
	case err != nil:
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
		return err
	case n == 0:
		return nil
	}
	if n > 0 {
		binary.BigEndian.PutUint32(frame, uint32(n))
		f.buf = frame[:4+n]
	}
	if f.done {
		f.buf = append(f.buf, 0, 0, 0, 0)
	}
	return nil
}
