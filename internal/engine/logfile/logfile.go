// Package logfile reads what replicas printed from the bounded files that
// engines keep on this machine, while they grow.
package logfile

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// File is one log: lines of package inside. When it is full it becomes the older
// one, and a new one begins.
type File struct {
	Replica     int
	Path, Older string
}

// Source lists the files that there are. done says that nothing will be written
// after what they have by now.
type Source func() (files []File, done bool, err error)

// Open reads the lines that q selects; which replicas' is up to the source.
func Open(q engine.LogQuery, source Source) (engine.LogReader, error) {
	r := &reader{q: q, source: source, tails: map[string]*tail{}}
	if err := r.fill(true); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// reader merges the files. It looks for more ten times a second.
type reader struct {
	q      engine.LogQuery
	source Source
	tails  map[string]*tail
	ready  []engine.LogLine
	done   bool // nothing more will come
}

// fill reads what is new. The first time, it keeps each replica's last lines
// only, when asked.
func (r *reader) fill(first bool) error {
	files, done, err := r.source()
	if err != nil {
		return err
	}
	r.done = done
	lines := map[int][]engine.LogLine{}
	for _, f := range files {
		t := r.tails[f.Path]
		if t == nil {
			t = &tail{file: f}
			r.tails[f.Path] = t
		}
		var ls []engine.LogLine
		if err := t.read(func(l engine.LogLine) {
			if !l.Time.Before(r.q.Since) {
				ls = append(ls, l)
			}
			if last := r.q.Tail; first && last > 0 && len(ls) > 2*last { // not all of it in memory
				ls = append(ls[:0], ls[len(ls)-last:]...)
			}
		}); err != nil {
			return err
		}
		lines[f.Replica] = append(lines[f.Replica], ls...)
	}
	byTime := func(a, b engine.LogLine) int { return a.Time.Compare(b.Time) }
	for _, ls := range lines {
		slices.SortStableFunc(ls, byTime)
		if first && r.q.Tail > 0 {
			ls = ls[max(0, len(ls)-r.q.Tail):]
		}
		r.ready = append(r.ready, ls...)
	}
	slices.SortStableFunc(r.ready, byTime)
	return nil
}

// Next implements engine.LogReader.
func (r *reader) Next(ctx context.Context) (engine.LogLine, error) {
	for len(r.ready) == 0 {
		if !r.q.Follow || r.done {
			return engine.LogLine{}, io.EOF
		}
		if err := loop.Sleep(ctx, 100*time.Millisecond); err != nil {
			return engine.LogLine{}, err
		}
		if err := r.fill(false); err != nil {
			return engine.LogLine{}, err
		}
	}
	l := r.ready[0]
	r.ready = r.ready[1:]
	return l, nil
}

// Close implements engine.LogReader.
func (r *reader) Close() error {
	var err error
	for _, t := range r.tails {
		err = errors.Join(err, t.close())
	}
	return err
}

// tail reads one log as its files grow and change places.
type tail struct {
	file  File
	f     *os.File
	pos   int64
	begun bool
}

func (t *tail) close() error {
	if t.f == nil {
		return nil
	}
	return t.f.Close()
}

// read passes on whole lines that were not yet read.
func (t *tail) read(fn func(engine.LogLine)) error {
	if !t.begun {
		t.begun = true
		old, err := os.Open(t.file.Older)
		if err == nil {
			t.f = old
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	for {
		if t.f != nil {
			if err := t.lines(fn); err != nil {
				return err
			}
		}
		next, err := os.Open(t.file.Path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.f != nil && same(t.f, next) {
			return next.Close()
		}
		if t.f != nil {
			// The last lines may have come just before the files were changed.
			if err := errors.Join(t.lines(fn), t.f.Close()); err != nil {
				return errors.Join(err, next.Close())
			}
		}
		t.f, t.pos = next, 0
	}
}

func same(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

func (t *tail) lines(fn func(engine.LogLine)) error {
	if _, err := t.f.Seek(t.pos, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(t.f, 64<<10)
	for {
		b, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil // the rest of a line comes later
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		t.pos += int64(len(b))
		at, stderr, text, ok := inside.ParseLine(bytes.TrimSuffix(b, []byte{'\n'}))
		if ok {
			fn(engine.LogLine{Time: at, Replica: t.file.Replica, Stderr: stderr, Text: text})
		}
	}
}
