package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// logWriter keeps the newest output in two files of bounded size. What cannot
// be written, for a full disk, is dropped: a log must not stop an app.
type logWriter struct {
	dir string

	mu   sync.Mutex
	f    *os.File
	size int64
	buf  []byte
}

func openLog(dir string) (*logWriter, error) {
	w := &logWriter{dir: dir}
	return w, w.open()
}

func (w *logWriter) open() error {
	f, err := os.OpenFile(w.dir+"/"+inside.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	w.f, w.size = f, st.Size()
	return nil
}

// line keeps one line.
func (w *logWriter) line(at time.Time, stderr bool, text []byte) {
	w.lines(at, stderr, [][]byte{text})
}

func (w *logWriter) lines(at time.Time, stderr bool, texts [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = w.buf[:0]
	for _, t := range texts {
		w.buf = inside.AppendLine(w.buf, at, stderr, t)
	}
	if w.f == nil && w.open() != nil {
		return
	}
	n, _ := w.f.Write(w.buf)
	w.size += int64(n)
	if w.size < inside.LogBytes {
		return
	}
	_ = os.Rename(w.dir+"/"+inside.LogFile, w.dir+"/"+inside.LogOld)
	_ = w.f.Close()
	w.f = nil
}

// output is the pair of pipes of one life of the program.
type output struct {
	stdout, stderr *os.File // the program's ends
	readers        []*os.File
	done           []chan struct{}
}

// sink keeps lines of output that came at once.
type sink func(at time.Time, stderr bool, lines [][]byte)

func openPipes(g *loop.Group, keep sink) (*output, error) {
	o := &output{}
	for i := range 2 {
		r, p, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if i == 0 {
			o.stdout = p
		} else {
			o.stderr = p
		}
		done := make(chan struct{})
		o.readers, o.done = append(o.readers, r), append(o.done, done)
		g.Spawn("log", func(context.Context) error {
			defer close(done)
			copyLines(r, i == 1, keep)
			return r.Close()
		})
	}
	return o, nil
}

func (o *output) closeChild() {
	_ = o.stdout.Close()
	_ = o.stderr.Close()
}

// drain waits until all output is kept; a second is enough for what is in the pipes.
func (o *output) drain() {
	late := time.After(time.Second)
	for i, d := range o.done {
		select {
		case <-d:
		case <-late:
			_ = o.readers[i].SetReadDeadline(time.Now())
			<-d
		}
	}
}

// copyLines cuts the stream into lines and keeps them.
func copyLines(r io.Reader, stderr bool, keep sink) {
	buf, have := make([]byte, 2*inside.MaxLine), 0
	var lines [][]byte
	for {
		n, err := r.Read(buf[have:])
		now := time.Now()
		have += n
		rest := buf[:have]
		lines = lines[:0]
		for {
			i := bytes.IndexByte(rest, '\n')
			switch {
			case i >= 0 && i <= inside.MaxLine:
				lines = append(lines, bytes.TrimSuffix(rest[:i], []byte{'\r'}))
				rest = rest[i+1:]
				continue
			case len(rest) > inside.MaxLine:
				lines = append(lines, rest[:inside.MaxLine])
				rest = rest[inside.MaxLine:]
				continue
			}
			break
		}
		if err != nil && len(rest) > 0 {
			lines = append(lines, rest)
		}
		if len(lines) > 0 {
			keep(now, stderr, lines)
		}
		if err != nil {
			return
		}
		have = copy(buf, rest)
	}
}
