package fake

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// live runs a replica's program, again and again, until it should end.
func (e *Engine) live(ctx context.Context, ob *object, r *replica) error {
	var delay time.Duration
	for {
		start := time.Now()
		exit, err := e.once(ctx, ob, r)
		if err != nil {
			return err
		}
		exit.At = time.Now().UTC()
		e.mu.Lock()
		stopped := isClosed(r.term)
		switch {
		case stopped:
			delete(ob.replicas, r.obs.ID.Index)
			e.converge(ob)
		case ob.task != nil:
			r.ended = true
			r.obs.Phase, r.obs.Since, r.obs.Exit = engine.PhaseExited, exit.At, &exit
			if exit.Message == lost {
				r.obs.Phase, r.obs.Exit = engine.PhaseLost, nil
			}
		default:
			delay = e.delay(delay, time.Since(start))
			r.obs.Phase, r.obs.Since, r.obs.Exit = engine.PhasePending, exit.At, &exit
			r.obs.NotBefore = exit.At.Add(delay)
		}
		e.mu.Unlock()
		e.changed(ob.ref)
		if stopped || ob.task != nil {
			return nil
		}
		select {
		case <-time.After(delay):
		case <-r.term: // once sees it at once
		case <-ctx.Done():
			return nil
		}
		e.mu.Lock()
		r.obs.Restarts++
		r.obs.NotBefore = time.Time{}
		e.mu.Unlock()
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// once is one life of the program.
func (e *Engine) once(ctx context.Context, ob *object, r *replica) (engine.Exit, error) {
	e.wait(ctx, r)
	if isClosed(r.term) {
		return engine.Exit{}, nil
	}
	p, err := e.proc(ctx, ob, r)
	if err != nil {
		return engine.Exit{}, err
	}
	if p.Listener != nil {
		defer p.Listener.Close()
	}
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	term := make(chan struct{})
	p.TERM = term
	done := make(chan struct{})
	var exit, forced engine.Exit
	var isForced bool
	err = loop.Run(ctx, func(ctx context.Context) error {
		defer close(done)
		e.mu.Lock()
		program := e.opt.Program
		r.obs.Phase, r.obs.Since = engine.PhaseRunning, time.Now().UTC()
		r.began = time.Now()
		e.mu.Unlock()
		e.changed(ob.ref)
		if program == nil {
			program = Serve
		}
		exit = program(ctx, p)
		return nil
	}, func(context.Context) error {
		forced, isForced = e.guard(ob, r, done, term, kill)
		return nil
	})
	if isForced {
		exit = forced
	}
	if ob.task != nil && err == nil && !exit.Failed() {
		err = e.keep(ctx, p)
	}
	return exit, err
}

// guard sends TERM and KILL when it is time.
func (e *Engine) guard(ob *object, r *replica, done <-chan struct{}, term chan<- struct{}, kill func()) (forced engine.Exit, is bool) {
	var deadline, grace <-chan time.Time
	if ob.task != nil && ob.task.Deadline > 0 {
		deadline = time.After(ob.task.Deadline)
	}
	stop := r.term
	end := func() {
		if grace == nil {
			close(term)
			g := ob.workload.Grace
			if g == 0 {
				g = 10 * time.Second
			}
			grace = time.After(g)
		}
	}
	for {
		select {
		case <-done:
			return forced, is
		case <-stop:
			stop = nil
			end()
		case <-deadline:
			forced, is = engine.Exit{Code: 143, Signal: 15, Message: "it was not done within " + ob.task.Deadline.String()}, true
			end()
		case <-grace:
			kill()
		case forced = <-r.inject:
			is = true
			kill()
		}
	}
}

func (e *Engine) proc(ctx context.Context, ob *object, r *replica) (*Proc, error) {
	e.mu.Lock()
	p := &Proc{
		ID: r.obs.ID, Workload: ob.workload, Task: ob.task, r: r, e: e,
		Files: map[string][]byte{}, Volumes: map[string]*File{},
	}
	for _, m := range ob.workload.Mounts {
		p.Volumes[m.Path] = e.volumes[m.Volume].file
	}
	addr := strings.TrimPrefix(r.obs.Endpoint, "tcp://")
	e.mu.Unlock()
	if ob.task != nil {
		for _, k := range ob.task.Keep {
			for _, l := range ob.workload.Layers {
				if l.At == k.At {
					e.layers.read(l.Name, func(name string, b []byte) { p.Files[path.Join(k.At, name)] = b })
				}
			}
		}
	}
	if ob.workload.Port == 0 || ob.task != nil {
		return p, nil
	}
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	p.Listener = l
	e.mu.Lock()
	r.obs.Endpoint = "tcp://" + l.Addr().String()
	e.mu.Unlock()
	return p, nil
}

// keep makes layers of the files below the kept folders.
func (e *Engine) keep(ctx context.Context, p *Proc) error {
	for _, k := range p.Task.Keep {
		files := map[string][]byte{}
		for name, b := range p.Files {
			if rel, ok := strings.CutPrefix(name, k.At+"/"); ok {
				files[rel] = b
			}
		}
		if err := e.layers.Put(ctx, k.Name, bytes.NewReader(pack(files))); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) print(r *replica, stderr bool, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r.lines = append(r.lines, engine.LogLine{Time: time.Now().UTC(), Replica: r.obs.ID.Index, Stderr: stderr, Text: text})
}

// Print writes a line to a replica's log, as its program would.
func (e *Engine) Print(id engine.ReplicaRef, text string) error {
	e.mu.Lock()
	ob := e.objects[id.Ref]
	var r *replica
	if ob != nil {
		r = ob.replicas[id.Index]
	}
	e.mu.Unlock()
	if r == nil {
		return errs.NotFound("there is no replica %d of %s", id.Index, id.Ref)
	}
	e.print(r, false, text)
	return nil
}

// Usage implements engine.Engine with made-up numbers.
func (e *Engine) Usage(context.Context) ([]engine.Usage, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var us []engine.Usage
	for _, ob := range e.objects {
		for _, r := range ob.replicas {
			if r.obs.Phase == engine.PhaseRunning {
				us = append(us, engine.Usage{
					ID: r.obs.ID, At: time.Now().UTC(), MemoryBytes: 50 << 20, CPU: max(time.Since(r.began), 1), PIDs: 2,
				})
			}
		}
	}
	return us, nil
}

// Logs implements engine.Engine.
func (e *Engine) Logs(_ context.Context, q engine.LogQuery) (engine.LogReader, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ob := e.objects[q.Ref]
	if ob == nil {
		return nil, errs.NotFound("there is no %s", q.Ref)
	}
	l := &logReader{e: e, ob: ob, q: q, pos: map[*replica]int{}}
	for _, r := range ob.replicas {
		if q.Tail > 0 {
			l.pos[r] = max(0, len(r.lines)-q.Tail)
		}
	}
	return l, nil
}

type logReader struct {
	e   *Engine
	ob  *object
	q   engine.LogQuery
	pos map[*replica]int
}

// next takes the oldest line that was not yet read.
func (l *logReader) next() (line engine.LogLine, ok, done bool) {
	l.e.mu.Lock()
	defer l.e.mu.Unlock()
	done = l.e.objects[l.ob.ref] != l.ob || l.ob.task != nil && l.ob.replicas[0] != nil && l.ob.replicas[0].ended
	var from *replica
	for i, r := range l.ob.replicas {
		if l.q.Index >= 0 && l.q.Index != i {
			continue
		}
		for l.pos[r] < len(r.lines) && r.lines[l.pos[r]].Time.Before(l.q.Since) {
			l.pos[r]++
		}
		if l.pos[r] < len(r.lines) && (!ok || r.lines[l.pos[r]].Time.Before(line.Time)) {
			line, ok, from = r.lines[l.pos[r]], true, r
		}
	}
	if ok {
		l.pos[from]++
	}
	return line, ok, done
}

// Next implements engine.LogReader.
func (l *logReader) Next(ctx context.Context) (engine.LogLine, error) {
	for {
		line, ok, done := l.next()
		switch {
		case ok:
			return line, nil
		case !l.q.Follow || done:
			return engine.LogLine{}, io.EOF
		}
		if err := loop.Sleep(ctx, 10*time.Millisecond); err != nil {
			return engine.LogLine{}, errors.Join(err)
		}
	}
}

// Close implements engine.LogReader.
func (l *logReader) Close() error { return nil }
