package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Logs implements engine.Engine.
func (e *Engine) Logs(_ context.Context, q engine.LogQuery) (engine.LogReader, error) {
	l := &logReader{e: e, name: e.name(q.Ref), q: q, files: map[string]*tail{}}
	if l.gone() {
		return nil, errs.NotFound("there is no %s", q.Ref)
	}
	if err := l.fill(true); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// logReader merges the files of an object's pods. It looks for more ten times
// a second.
type logReader struct {
	e     *Engine
	name  string
	q     engine.LogQuery
	files map[string]*tail
	ready []engine.LogLine
	done  bool // nothing more will come
}

func (l *logReader) gone() bool { return l.e.cache.gone(l.name) }

// fill reads what is new. The first time, it keeps each replica's last lines only,
// when asked.
func (l *logReader) fill(first bool) error {
	k, ok := l.e.knownOf(l.name)
	// Asked before reading: what is written until then is read.
	l.done = !ok && l.gone() || ok && k.result != nil
	found, err := filepath.Glob(filepath.Join(l.e.logs.folder(l.name), "*.log"))
	if err != nil {
		return err
	}
	lines := map[int][]engine.LogLine{}
	for _, path := range found {
		index, err := strconv.Atoi(strings.SplitN(filepath.Base(path), "-", 2)[0])
		if err != nil || l.q.Index >= 0 && l.q.Index != index {
			continue
		}
		t := l.files[path]
		if t == nil {
			t = &tail{path: path, replica: index}
			l.files[path] = t
		}
		if err := t.read(func(line engine.LogLine) {
			if !line.Time.Before(l.q.Since) {
				lines[index] = append(lines[index], line)
			}
		}); err != nil {
			return err
		}
	}
	for _, ls := range lines {
		slices.SortStableFunc(ls, func(a, b engine.LogLine) int { return a.Time.Compare(b.Time) })
		if first && l.q.Tail > 0 && len(ls) > l.q.Tail {
			ls = ls[len(ls)-l.q.Tail:]
		}
		l.ready = append(l.ready, ls...)
	}
	slices.SortStableFunc(l.ready, func(a, b engine.LogLine) int { return a.Time.Compare(b.Time) })
	return nil
}

// Next implements engine.LogReader.
func (l *logReader) Next(ctx context.Context) (engine.LogLine, error) {
	for len(l.ready) == 0 {
		if !l.q.Follow || l.done {
			return engine.LogLine{}, io.EOF
		}
		if err := loop.Sleep(ctx, 100*time.Millisecond); err != nil {
			return engine.LogLine{}, err
		}
		if err := l.fill(false); err != nil {
			return engine.LogLine{}, err
		}
	}
	line := l.ready[0]
	l.ready = l.ready[1:]
	return line, nil
}

// Close implements engine.LogReader.
func (l *logReader) Close() error {
	var err error
	for _, t := range l.files {
		err = errors.Join(err, t.close())
	}
	return err
}

// tail reads a pod's two files as they grow and change places.
type tail struct {
	path    string
	replica int
	f       *os.File
	pos     int64
	begun   bool
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
		old, err := os.Open(t.path + ".1")
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
		next, err := os.Open(t.path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if t.f != nil && sameFile(t.f, next) {
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

func sameFile(a, b *os.File) bool {
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
			fn(engine.LogLine{Time: at, Replica: t.replica, Stderr: stderr, Text: text})
		}
	}
}
