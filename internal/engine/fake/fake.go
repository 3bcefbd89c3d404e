// Package fake is an engine in memory, for tests of what uses engines. Its
// programs are Go functions; a replica with a port has a real listener on the
// loopback, so that health checks and gateways work. A test injects deaths,
// prints lines and says how tasks end.
package fake

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// Program plays the program of a replica. TERM is closed when it should end,
// ctx ends when it is killed; its exit is what it returns.
type Program func(ctx context.Context, p *Proc) engine.Exit

// Proc is a running replica as its program sees it.
type Proc struct {
	ID       engine.ReplicaRef
	Workload engine.Workload
	Task     *engine.Task // nil for a workload
	Listener net.Listener // nil without a port
	TERM     <-chan struct{}
	Files    map[string][]byte // what is in Keep folders, by path; starts with the layer's
	Volumes  map[string]*File  // a volume's one file, by mount path

	r *replica
	e *Engine
}

// File is all that a volume of the fake holds.
type File struct {
	mu   sync.Mutex
	data []byte
}

// Append adds to the file and returns all of it.
func (f *File) Append(b string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data = append(f.data, b...)
	return string(f.data)
}

// Print writes a line to the replica's log.
func (p *Proc) Print(stderr bool, text string) { p.e.print(p.r, stderr, text) }

// Env returns a variable's value.
func (p *Proc) Env(name string) string {
	for _, v := range slices.Backward(p.Workload.Env) {
		if v.Name == name {
			return v.Value.Reveal()
		}
	}
	return ""
}

// Options of New; the zero value will do.
type Options struct {
	Program Program       // nil = Serve
	Backoff time.Duration // before a first restart; 0 = as in contract
	OneNode bool          // a volume holds what uses it on one node
}

// Engine implements engine.Engine.
type Engine struct {
	group  *loop.Group
	layers *layers

	mu      sync.Mutex
	opt     Options
	objects map[engine.Ref]*object
	volumes map[engine.Ref]*volume
	wakes   map[int]func(engine.Ref)
	nextID  int
	blocked string        // why nothing starts
	unblock chan struct{} // closed when it may
}

type volume struct {
	vol  engine.Volume
	file *File
	dir  string // of what engine.Init sees and keeps; empty until it does
}

type object struct {
	ref      engine.Ref
	workload engine.Workload
	task     *engine.Task
	replicas map[int]*replica
	removing bool
	gone     chan struct{}
}

type replica struct {
	obs    engine.Replica
	lines  []engine.LogLine
	began  time.Time
	term   chan struct{} // closed to stop it
	inject chan engine.Exit
	ended  bool // obs is final
}

// New returns an empty engine. Close it.
func New(opt Options) *Engine {
	e := &Engine{
		opt: opt, group: loop.New(context.Background(), slog.New(slog.DiscardHandler)),
		objects: map[engine.Ref]*object{}, volumes: map[engine.Ref]*volume{}, wakes: map[int]func(engine.Ref){},
	}
	e.layers = &layers{all: map[string]*layer{}, used: e.layerUsed}
	return e
}

// Close ends all programs.
func (e *Engine) Close() error {
	err := e.group.Stop()
	for _, v := range e.volumes {
		err = errors.Join(err, v.drop())
	}
	return err
}

// SetProgram changes what starts from now on.
func (e *Engine) SetProgram(p Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opt.Program = p
}

// Block keeps what has not started yet from starting, and tells why; with ""
// all may start.
func (e *Engine) Block(why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.unblock != nil {
		close(e.unblock)
		e.unblock = nil
	}
	if e.blocked = why; why != "" {
		e.unblock = make(chan struct{})
	}
}

// wait waits until the replica may start, or should end.
func (e *Engine) wait(ctx context.Context, r *replica) {
	for {
		e.mu.Lock()
		unblock := e.unblock
		r.obs.Waiting = e.blocked
		e.mu.Unlock()
		if unblock == nil {
			return
		}
		e.changed(r.obs.ID.Ref)
		select {
		case <-unblock:
		case <-r.term:
			return
		case <-ctx.Done():
			return
		}
	}
}

// Serve is the default program: a workload answers every request with 200, a
// task exits with 0 at once.
func Serve(ctx context.Context, p *Proc) engine.Exit {
	return Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))(ctx, p)
}

// Handler is a program that serves HTTP until TERM; a task exits with 0.
func Handler(h http.Handler) Program {
	return func(ctx context.Context, p *Proc) engine.Exit {
		if p.Task != nil {
			return engine.Exit{}
		}
		if p.Listener == nil {
			return Wait(ctx, p)
		}
		s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
		var exit engine.Exit
		_ = loop.Run(ctx, func(context.Context) error {
			_ = s.Serve(p.Listener) // ends by Close below
			return nil
		}, func(ctx context.Context) error {
			exit = Wait(ctx, p)
			return s.Close()
		})
		return exit
	}
}

// Wait waits for TERM or KILL and returns the exit of a plain program then.
func Wait(ctx context.Context, p *Proc) engine.Exit {
	select {
	case <-p.TERM:
		return engine.Exit{Code: 143, Signal: 15}
	case <-ctx.Done():
		return engine.Exit{Code: 137, Signal: 9}
	}
}

// Inject ends a running replica as told: Exit{OOM: true, Code: 137} and so on.
// NotFound when it does not run.
func (e *Engine) Inject(id engine.ReplicaRef, exit engine.Exit) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	ob := e.objects[id.Ref]
	if ob == nil || ob.replicas[id.Index] == nil || ob.replicas[id.Index].obs.Phase != engine.PhaseRunning {
		return errs.NotFound("replica %d of %s does not run", id.Index, id.Ref)
	}
	select {
	case ob.replicas[id.Index].inject <- exit:
	default:
	}
	return nil
}

// Restart implements engine.Restarter.
func (e *Engine) Restart(_ context.Context, id engine.ReplicaRef, why string) error {
	err := e.Inject(id, engine.Exit{Code: 125, Message: why})
	if errs.Is(err, errs.KindNotFound) {
		return nil
	}
	return err
}

// Lose makes a task's process vanish without a record.
func (e *Engine) Lose(ref engine.Ref) error {
	return e.Inject(engine.ReplicaRef{Ref: ref}, engine.Exit{Message: lost})
}

const lost = "\x00lost"

// Info implements engine.Engine.
func (e *Engine) Info(context.Context) (engine.Info, error) {
	return engine.Info{
		Engine: "fake", Isolation: engine.IsolationFull, Memory: engine.Quota{Limit: 8 << 30}, MemoryEnforced: true,
		Egress: true, SharedVolumes: !e.opt.OneNode, Pythons: []string{"3.11"},
	}, nil
}

// Apply implements engine.Engine.
func (e *Engine) Apply(ctx context.Context, o engine.Object) error {
	if err := engine.Check(o); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch o := o.(type) {
	case engine.Volume:
		o.ID.Kind = engine.KindVolume
		if v := e.volumes[o.ID]; v != nil {
			if v.vol != o {
				return errs.Conflict("%s exists and is different", o.ID)
			}
			return nil
		}
		e.volumes[o.ID] = &volume{vol: o, file: &File{}}
		return nil
	case engine.Workload:
		o.ID.Kind = engine.KindWorkload
		return e.apply(ctx, &object{ref: o.ID, workload: o})
	case engine.Task:
		o.ID.Kind, o.Replicas, o.Port = engine.KindTask, 1, 0
		return e.apply(ctx, &object{ref: o.ID, workload: o.Workload, task: &o})
	}
	return nil
}

func (e *Engine) apply(ctx context.Context, ob *object) error {
	if old := e.objects[ob.ref]; old != nil {
		was := old.workload
		was.Replicas = ob.workload.Replicas
		switch {
		case old.removing:
			return errs.Conflict("%s is being removed", ob.ref)
		case !reflect.DeepEqual(was, ob.workload), !reflect.DeepEqual(old.task, ob.task):
			return errs.Conflict("%s exists and is different", ob.ref)
		}
		old.workload.Replicas = ob.workload.Replicas
		e.converge(old)
		return nil
	}
	for _, l := range ob.workload.Layers {
		if ok, err := e.layers.Has(ctx, l.Name); err != nil || !ok {
			return errs.NotFound("there is no layer %q", l.Name)
		}
	}
	for _, m := range ob.workload.Mounts {
		if e.volumes[m.Volume] == nil {
			return errs.NotFound("there is no %s", m.Volume)
		}
	}
	ob.replicas, ob.gone = map[int]*replica{}, make(chan struct{})
	e.objects[ob.ref] = ob
	e.converge(ob)
	return nil
}

// converge starts and ends replicas. It is called with the lock held.
func (e *Engine) converge(ob *object) {
	want := ob.workload.Replicas
	if ob.removing {
		want = 0
	}
	for i, r := range ob.replicas {
		if i < want {
			continue
		}
		if r.ended {
			delete(ob.replicas, i)
			continue
		}
		select {
		case <-r.term:
		default:
			close(r.term)
		}
	}
	for i := range want {
		if ob.replicas[i] != nil {
			continue
		}
		r := &replica{term: make(chan struct{}), inject: make(chan engine.Exit, 1), obs: engine.Replica{
			ID: engine.ReplicaRef{Ref: ob.ref, Index: i}, Phase: engine.PhasePending, Since: time.Now().UTC(), Node: "fake",
		}}
		ob.replicas[i] = r
		e.group.Spawn("replica", func(ctx context.Context) error { return e.live(ctx, ob, r) })
	}
	if ob.removing && len(ob.replicas) == 0 && e.objects[ob.ref] == ob {
		delete(e.objects, ob.ref)
		close(ob.gone)
	}
}

// Remove implements engine.Engine.
func (e *Engine) Remove(ctx context.Context, ref engine.Ref) error {
	e.mu.Lock()
	if ref.Kind == engine.KindVolume {
		defer e.mu.Unlock()
		for _, ob := range e.objects {
			for _, m := range ob.workload.Mounts {
				if m.Volume == ref {
					return errs.Conflict("%s is used by %s", ref, ob.ref)
				}
			}
		}
		var err error
		if v := e.volumes[ref]; v != nil {
			err = v.drop()
		}
		delete(e.volumes, ref)
		return err
	}
	ob := e.objects[ref]
	if ob != nil {
		ob.removing = true
		e.converge(ob)
	}
	e.mu.Unlock()
	if ob == nil {
		return nil
	}
	defer e.changed(ref)
	select {
	case <-ob.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.group.Context().Done():
		return errs.Unavailable("the engine is closed")
	}
}

// Observe implements engine.Engine.
func (e *Engine) Observe(context.Context) (engine.Snapshot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var s engine.Snapshot
	for ref, ob := range e.objects {
		var rs []engine.Replica
		for _, r := range ob.replicas {
			rs = append(rs, r.obs)
		}
		slices.SortFunc(rs, func(a, b engine.Replica) int { return a.ID.Index - b.ID.Index })
		if ob.task == nil {
			s.Workloads = append(s.Workloads, engine.WorkloadStatus{ID: ref, Labels: ob.workload.Labels, Wanted: ob.workload.Replicas, Replicas: rs})
		} else if len(rs) > 0 {
			s.Tasks = append(s.Tasks, engine.TaskStatus{ID: ref, Labels: ob.workload.Labels, Replica: rs[0]})
		}
	}
	for ref := range e.volumes {
		s.Volumes = append(s.Volumes, engine.VolumeStatus{ID: ref})
	}
	slices.SortFunc(s.Workloads, func(a, b engine.WorkloadStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Tasks, func(a, b engine.TaskStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	slices.SortFunc(s.Volumes, func(a, b engine.VolumeStatus) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return s, nil
}

// Watch implements engine.Engine.
func (e *Engine) Watch(ctx context.Context, wake func(engine.Ref)) error {
	e.mu.Lock()
	id := e.nextID
	e.nextID++
	e.wakes[id] = wake
	e.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-e.group.Context().Done():
	}
	e.mu.Lock()
	delete(e.wakes, id)
	e.mu.Unlock()
	return ctx.Err()
}

func (e *Engine) changed(ref engine.Ref) {
	e.mu.Lock()
	fns := make([]func(engine.Ref), 0, len(e.wakes))
	for _, fn := range e.wakes {
		fns = append(fns, fn)
	}
	e.mu.Unlock()
	for _, fn := range fns {
		fn(ref)
	}
}

// delay is the contract's curve, from Options.Backoff on.
func (e *Engine) delay(last, life time.Duration) time.Duration {
	if life >= time.Minute || last <= 0 {
		return cmp.Or(e.opt.Backoff, 500*time.Millisecond)
	}
	return min(2*last, time.Minute)
}
