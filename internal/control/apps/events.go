package apps

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
)

// Event is something that happened in a deploy: a step that began or ended, a
// line of output, or the end, with the deploy as it then was.
type Event struct {
	Seq    int64
	At     time.Time
	Step   *slipway.DeployStep
	Line   string
	Deploy *slipway.Deploy
}

// record is a line of a deploy's log file.
type record struct {
	Seq  int64               `json:"seq"`
	At   time.Time           `json:"at"`
	Step *slipway.DeployStep `json:"step,omitempty"`
	Line string              `json:"line,omitempty"`
	End  slipway.DeployState `json:"end,omitempty"`
	// A line copied from a task: its name and the line's own time, so that a
	// core that starts again goes on after the last one.
	Task string    `json:"task,omitempty"`
	Time time.Time `json:"time,omitzero"`
}

// events keeps the logs of deploys, a file each. What cannot be written is
// lost from the log; the deploy goes on.
type events struct {
	dir string
	now func() time.Time

	mu   sync.Mutex
	logs map[slipway.DeployID]*deployLog
}

// deployLog is an open file and those who wait for more of it.
type deployLog struct {
	file  *os.File
	seq   int64
	ended bool
	last  map[string]copied // by task
	more  chan struct{}
}

// copied says how far a task's lines were copied: the time of the last line,
// and how many lines have that very time.
type copied struct {
	at   time.Time
	same int
}

func newEvents(data string, now func() time.Time) *events {
	return &events{dir: filepath.Join(data, "deploys"), now: now, logs: map[slipway.DeployID]*deployLog{}}
}

func (e *events) path(id slipway.DeployID) string { return filepath.Join(e.dir, string(id)+".log") }

// open returns the log, with the lock held. A line that a crash tore is cut off.
func (e *events) open(id slipway.DeployID) *deployLog {
	if l := e.logs[id]; l != nil {
		return l
	}
	l := &deployLog{last: map[string]copied{}, more: make(chan struct{})}
	e.logs[id] = l
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return l
	}
	f, err := os.OpenFile(e.path(id), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return l
	}
	l.file = f
	whole, err := readRecords(f, func(r record) error {
		l.note(r)
		return nil
	})
	if err == nil {
		err = f.Truncate(whole)
	}
	if err == nil {
		_, err = f.Seek(whole, io.SeekStart)
	}
	if err != nil {
		f.Close()
		l.file = nil
	}
	return l
}

func (l *deployLog) note(r record) {
	l.seq = r.Seq
	l.ended = l.ended || r.End != ""
	if r.Task == "" {
		return
	}
	if c := l.last[r.Task]; c.at.Equal(r.Time) {
		l.last[r.Task] = copied{r.Time, c.same + 1}
	} else {
		l.last[r.Task] = copied{r.Time, 1}
	}
}

// readRecords calls fn with each whole record and returns where they end.
func readRecords(r io.Reader, fn func(record) error) (int64, error) {
	var at int64
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return at, nil // the rest is not whole (yet)
		}
		if err != nil {
			return at, err
		}
		at += int64(len(line))
		var rec record
		if json.Unmarshal(bytes.TrimSpace(line), &rec) != nil {
			continue
		}
		if err := fn(rec); err != nil {
			return at, err
		}
	}
}

func (e *events) add(id slipway.DeployID, r record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.open(id)
	if l.ended {
		return
	}
	r.Seq, r.At = l.seq+1, e.now().UTC()
	l.note(r)
	if l.file != nil {
		if b, err := json.Marshal(r); err == nil {
			_, _ = l.file.Write(append(b, '\n')) // see events
		}
	}
	close(l.more)
	l.more = make(chan struct{})
}

func (e *events) step(id slipway.DeployID, s slipway.DeployStep) { e.add(id, record{Step: &s}) }

// line adds a line for people; one that has several becomes several.
func (e *events) line(id slipway.DeployID, format string, args ...any) {
	for text := range strings.SplitSeq(strings.TrimRight(fmt.Sprintf(format, args...), "\n"), "\n") {
		e.add(id, record{Line: text})
	}
}

// close adds the end, once, and forgets the open file.
func (e *events) close(id slipway.DeployID, state slipway.DeployState) {
	e.add(id, record{End: state})
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.logs[id]; l != nil && l.file != nil {
		l.file.Close()
		l.file = nil
	}
	delete(e.logs, id)
}

// ended reports whether the end was told before.
func (e *events) ended(id slipway.DeployID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open(id).ended
}

func (e *events) copied(id slipway.DeployID, task string) copied {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open(id).last[task]
}

// waiter returns what the next record closes; nil when nobody writes.
func (e *events) waiter(id slipway.DeployID) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.logs[id]; l != nil {
		return l.more
	}
	return nil
}

func (e *events) remove(id slipway.DeployID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.logs[id]; l != nil && l.file != nil {
		l.file.Close()
	}
	delete(e.logs, id)
	err := os.Remove(e.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

var errEnd = errors.New("the end")

// Follow calls fn for everything that happened in a deploy and then for what
// happens, until its end, which is the last event. A deploy has ended for its
// followers when the new release serves; its old replicas may still drain.
func (s *Service) Follow(ctx context.Context, id slipway.DeployID, fn func(Event) error) error {
	if _, err := s.GetDeploy(ctx, id); err != nil {
		return err
	}
	var at, seq int64
	for {
		more, rung := s.events.waiter(id), s.bell.listen()
		d, err := s.GetDeploy(ctx, id)
		if err != nil {
			return err
		}
		at, err = s.replay(ctx, id, at, &seq, fn)
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.State.Final() { // it ended with nobody to say so
			return fn(Event{Seq: seq + 1, At: *d.Ended, Deploy: &d})
		}
		if more == nil {
			more = rung
		}
		if err := wait(ctx, more, time.Second); err != nil {
			return err
		}
	}
}

// replay sends the records after position at.
func (s *Service) replay(ctx context.Context, id slipway.DeployID, at int64, seq *int64, fn func(Event) error) (int64, error) {
	f, err := os.Open(s.events.path(id))
	if errors.Is(err, os.ErrNotExist) {
		return at, nil
	}
	if err != nil {
		return at, err
	}
	defer f.Close()
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return at, err
	}
	n, err := readRecords(f, func(r record) error {
		*seq = r.Seq
		e := Event{Seq: r.Seq, At: r.At, Step: r.Step, Line: r.Line}
		if r.End == "" {
			return fn(e)
		}
		d, err := s.GetDeploy(ctx, id)
		if err != nil {
			return err
		}
		d.State, e.Deploy = r.End, &d
		if d.Ended == nil {
			d.Ended = &r.At
		}
		if err := fn(e); err != nil {
			return err
		}
		return errEnd
	})
	return at + n, err
}

// wait waits for c to close, at most for d.
func wait(ctx context.Context, c <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
		return nil
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget closes the files: the next Run opens them again.
func (e *events) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, l := range e.logs {
		if l.file != nil {
			l.file.Close()
		}
		delete(e.logs, id)
	}
}

// DeployLog calls fn for everything that happened in a deploy until now.
func (s *Service) DeployLog(ctx context.Context, id slipway.DeployID, fn func(Event) error) error {
	if _, err := s.GetDeploy(ctx, id); err != nil {
		return err
	}
	var seq int64
	_, err := s.replay(ctx, id, 0, &seq, fn)
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}
