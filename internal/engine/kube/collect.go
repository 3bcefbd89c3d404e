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
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// keptPods is how many pods' logs are kept of one replica.
const keptPods = 4

// collector copies the pods' logs into bounded files, so that they can be read
// when the pod is gone. The file of a pod is logs/<object>/<index>-<uid>.log, with
// an older part in .log.1.
type collector struct {
	e   *Engine
	dir string

	mu   sync.Mutex
	pods map[types.UID]*follower
}

// follower is the copying of one pod's log.
type follower struct {
	done bool // all there will ever be is copied
}

func newCollector(e *Engine) *collector {
	return &collector{e: e, dir: filepath.Join(e.opt.Data, "logs"), pods: map[types.UID]*follower{}}
}

func (c *collector) folder(name string) string { return filepath.Join(c.dir, name) }

// drained reports whether all of an ended pod's log is copied.
func (c *collector) drained(p *corev1.Pod) bool {
	if status(p).ContainerID == "" {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.pods[p.UID]
	return f != nil && f.done
}

// follow begins to copy a pod's log, once it has one.
func (c *collector) follow(p *corev1.Pod) {
	if status(p).ContainerID == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[p.UID] != nil {
		return
	}
	f := &follower{}
	c.pods[p.UID] = f
	c.e.group.Spawn("log", func(ctx context.Context) error {
		err := c.copy(ctx, p)
		c.mu.Lock()
		f.done = true
		if c.e.cache.pod(p.Name) == nil {
			delete(c.pods, p.UID)
		}
		c.mu.Unlock()
		c.e.queue.Add(p.Labels[LabelObject])
		return err
	})
}

// copy follows a pod's container from life to life.
func (c *collector) copy(ctx context.Context, p *corev1.Pod) error {
	w, err := c.openFile(p)
	if err != nil {
		return err
	}
	defer w.close()
	wait := loop.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	last, begun := "", "" // the container whose log is copied to its end, or partly
	for {
		now := c.e.cache.pod(p.Name)
		if now == nil || now.UID != p.UID {
			return nil
		}
		s := status(now)
		ended := s.State.Running == nil
		if s.ContainerID == last && ended {
			if final(now) {
				return nil
			}
		} else {
			if s.RestartCount > 0 && s.ContainerID != begun {
				// What was said before the restart, as far as the kubelet has it.
				_ = c.stream(ctx, now, w, &corev1.PodLogOptions{Previous: true})
			}
			begun = s.ContainerID
			err := c.stream(ctx, now, w, &corev1.PodLogOptions{Follow: !ended})
			if err == nil {
				wait.Reset()
				if ended {
					last = s.ContainerID
				}
			}
			if apierrors.IsNotFound(err) {
				return nil
			}
		}
		if err := wait.Wait(ctx); err != nil {
			return nil //nolint:nilerr // the engine stops
		}
	}
}

// final reports whether a pod's container will not start again.
func final(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil && status(p).State.Running == nil ||
		p.Spec.RestartPolicy == corev1.RestartPolicyNever && status(p).State.Terminated != nil
}

// stream copies one answer of the API, without what is kept already.
func (c *collector) stream(ctx context.Context, p *corev1.Pod, w *logFile, o *corev1.PodLogOptions) error {
	o.Container, o.Timestamps = container, true
	if !w.last.IsZero() {
		o.SinceTime = to(metav1.NewTime(w.last.Truncate(time.Second)))
	}
	r, err := c.e.client.CoreV1().Pods(p.Namespace).GetLogs(p.Name, o).Stream(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, 64<<10)
	repeated := 0
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 && (err == nil || errors.Is(err, io.EOF) && !o.Follow) {
			if werr := w.keep(line, &repeated); werr != nil {
				return werr
			}
		}
		if in.Buffered() == 0 {
			if werr := w.flush(); werr != nil {
				return werr
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return w.flush()
		case errors.Is(err, bufio.ErrBufferFull): // the init cuts lines: this is not one of its
			continue
		case err != nil:
			return errors.Join(err, w.flush())
		}
	}
}

// logFile is the file of one pod.
type logFile struct {
	path string
	f    *os.File
	size int64
	buf  []byte
	last time.Time // of the newest line, in microseconds as kept
	same int       // how many lines have that time
}

func (c *collector) openFile(p *corev1.Pod) (*logFile, error) {
	name := p.Labels[LabelObject]
	dir := c.folder(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, strconv.Itoa(c.e.index(name, p))+"-"+string(p.UID)+".log")
	// It may have had another number.
	if old, _ := filepath.Glob(filepath.Join(dir, "*-"+string(p.UID)+".log")); len(old) > 0 {
		path = old[0]
	} else {
		c.prune(dir, filepath.Base(path))
	}
	w := &logFile{path: path}
	for _, part := range []string{path + ".1", path} {
		if err := w.recall(part); err != nil {
			return nil, err
		}
	}
	return w, w.open()
}

// index returns a pod's number; a task's is 0.
func (e *Engine) index(name string, p *corev1.Pod) int {
	if k, ok := e.knownOf(name); ok {
		for i, o := range e.indexed(name, k.replicas) {
			if o.UID == p.UID {
				return i
			}
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	i, _ := e.indexOf(p)
	return i
}

func (e *Engine) knownOf(name string) (known, bool) {
	s := e.cache.secret(name)
	if s == nil {
		return known{}, false
	}
	return parseKnown(s)
}

// prune deletes the oldest logs of a replica's earlier pods.
func (c *collector) prune(dir, next string) {
	index, _, _ := strings.Cut(next, "-")
	old, _ := filepath.Glob(filepath.Join(dir, index+"-*.log"))
	slices.SortFunc(old, func(a, b string) int { return modTime(b).Compare(modTime(a)) })
	for _, f := range old[min(len(old), keptPods-1):] {
		os.Remove(f)
		os.Remove(f + ".1")
	}
}

func modTime(path string) time.Time {
	st, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return st.ModTime()
}

// recall finds the newest line of an earlier life, and cuts off a torn one.
func (w *logFile) recall(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if whole := bytes.LastIndexByte(b, '\n') + 1; whole < len(b) {
		if err := os.Truncate(path, int64(whole)); err != nil {
			return err
		}
		b = b[:whole]
	}
	for l := range bytes.Lines(b) {
		if at, _, _, ok := inside.ParseLine(bytes.TrimSuffix(l, []byte{'\n'})); ok {
			w.count(at)
		}
	}
	return nil
}

func (w *logFile) count(at time.Time) {
	if at.Equal(w.last) {
		w.same++
		return
	}
	w.last, w.same = at, 1
}

func (w *logFile) open() error {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
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

func (w *logFile) close() {
	if w.f != nil {
		_ = w.f.Close() // all is flushed
	}
}

// keep takes a line with its time, as the kubelet tells it, unless it is kept
// already. Of several lines with the newest time as many are left out as there
// are; repeated counts them in one stream.
func (w *logFile) keep(line []byte, repeated *int) error {
	stamp, text, _ := bytes.Cut(bytes.TrimSuffix(line, []byte{'\n'}), []byte{' '})
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return nil //nolint:nilerr // the kubelet's own words
	}
	at = at.Truncate(time.Microsecond).UTC()
	if at.Before(w.last) {
		return nil
	}
	if at.Equal(w.last) && *repeated >= 0 {
		if *repeated++; *repeated <= w.same {
			return nil
		}
	}
	*repeated = -1
	w.count(at)
	text, stderr := bytes.CutPrefix(text, []byte{inside.StderrMark})
	w.buf = inside.AppendLine(w.buf, at, stderr, text[:min(len(text), inside.MaxLine)])
	if len(w.buf) > 256<<10 {
		return w.flush()
	}
	return nil
}

// flush writes what was kept, and begins a new file when one is full.
func (w *logFile) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	n, err := w.f.Write(w.buf)
	w.buf = w.buf[:0]
	w.size += int64(n)
	if err != nil || w.size < inside.LogBytes {
		return err
	}
	if err := errors.Join(os.Rename(w.path, w.path+".1"), w.f.Close()); err != nil {
		return err
	}
	return w.open()
}

// remove deletes the logs of an object that is gone.
func (c *collector) remove(name string) {
	if err := os.RemoveAll(c.folder(name)); err != nil {
		c.e.log.Warn("logs cannot be deleted", "object", name, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, f := range c.pods {
		if f.done {
			delete(c.pods, id)
		}
	}
}

// sweep deletes the logs of objects that went while no engine ran.
func (c *collector) sweep(context.Context) error {
	dirs, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		unlock := c.e.locks.lock(d.Name())
		if c.e.cache.gone(d.Name()) {
			c.remove(d.Name())
		}
		unlock()
	}
	return nil
}
