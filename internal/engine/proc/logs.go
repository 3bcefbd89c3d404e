package proc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Logs implements engine.Engine.
func (e *Engine) Logs(_ context.Context, q engine.LogQuery) (engine.LogReader, error) {
	l := &logReader{e: e, q: q, files: map[int]*tail{}}
	if _, ok := l.replicas(); !ok {
		return nil, errs.NotFound("there is no %s", q.Ref)
	}
	if err := l.fill(true); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// logReader merges the replicas' files. It looks for more five times a second.
type logReader struct {
	e     *Engine
	q     engine.LogQuery
	files map[int]*tail
	ready []engine.LogLine
	done  bool // nothing more will come
}

// replicas lists who may have written; ok is false when the ref is gone.
func (l *logReader) replicas() (rs []*replica, ok bool) {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	ob := l.e.objects[l.q.Ref]
	if ob == nil {
		return nil, false
	}
	for i, r := range ob.replicas {
		if l.q.Index < 0 || l.q.Index == i {
			rs = append(rs, r)
		}
	}
	l.done = len(rs) > 0 && l.q.Ref.Kind == engine.KindTask
	for _, r := range rs {
		l.done = l.done && r.result != nil
	}
	return rs, true
}

// fill reads what is new. The first time, it keeps the last lines only, when asked.
func (l *logReader) fill(first bool) error {
	rs, ok := l.replicas()
	if !ok {
		l.done = true
	}
	for _, r := range rs {
		t := l.files[r.id.Index]
		if t == nil {
			t = &tail{dir: r.priv(""), replica: r.id.Index}
			l.files[r.id.Index] = t
		}
		var lines []engine.LogLine
		if err := t.read(func(line engine.LogLine) {
			if !line.Time.Before(l.q.Since) {
				lines = append(lines, line)
			}
			if first && l.q.Tail > 0 && len(lines) > 2*l.q.Tail {
				lines = append(lines[:0], lines[len(lines)-l.q.Tail:]...)
			}
		}); err != nil {
			return err
		}
		if first && l.q.Tail > 0 && len(lines) > l.q.Tail {
			lines = lines[len(lines)-l.q.Tail:]
		}
		l.ready = append(l.ready, lines...)
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

// tail reads a replica's two files as they grow and change places.
type tail struct {
	dir     string
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
		old, err := os.Open(t.dir + "/" + inside.LogOld)
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
		next, err := os.Open(t.dir + "/" + inside.LogFile)
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
