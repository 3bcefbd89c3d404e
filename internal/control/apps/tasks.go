package apps

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/plan"
	"slipway.dev/slipway/internal/store"
)

// runTask runs one of the deploy's own tasks to its end, or goes on watching
// the one that runs.
func (r *run) runTask(ctx context.Context, kind, env, source, command string, p build.Plan, keep []engine.Layer) error {
	ref := r.task(kind)
	t, err := r.s.findTask(ctx, ref)
	if err != nil {
		return err
	}
	if t == nil {
		var sp spec
		mounts, err := r.s.mounts(ctx, r.d.App, p)
		if err != nil {
			return err
		}
		if err := r.s.DB.View(ctx, func(tx *store.Tx) error {
			app, err := tx.App(r.d.App)
			if err != nil {
				return err
			}
			sp, err = r.s.spec(tx, app, p)
			return err
		}); err != nil {
			return err
		}
		sp = sp.withMount(mounts, p)
		w := sp.program(r.d.App, "", env, source, command)
		w.ID = ref
		if err := r.s.needVolume(ctx, sp, r.d.App); err != nil {
			return err
		}
		if err := r.s.Engine.Apply(ctx, engine.Task{Workload: w, Deadline: r.s.Limits.Task, Keep: keep}); err != nil {
			return err
		}
	}
	if err := r.copyLog(ctx, ref); err != nil {
		return err
	}
	exit, err := r.s.taskEnd(ctx, ref)
	switch {
	case err != nil:
		return err
	case exit == nil:
		return failed("the %s command vanished while it ran: the machine may have restarted; deploy again", kind)
	case exit.Failed():
		return failed("the %s command failed: %s", kind, withCause(exitReason(*exit, r.s.Limits.MemoryMB), r.s.tail(ctx, ref, 20)))
	}
	return nil
}

func (s *Service) findTask(ctx context.Context, ref engine.Ref) (*engine.TaskStatus, error) {
	snap, err := s.observe(ctx)
	if err != nil {
		return nil, err
	}
	for i := range snap.Tasks {
		if snap.Tasks[i].ID == ref {
			return &snap.Tasks[i], nil
		}
	}
	return nil, nil
}

// taskEnd waits for a task's end; a nil exit means that it was lost.
func (s *Service) taskEnd(ctx context.Context, ref engine.Ref) (*engine.Exit, error) {
	for {
		rung := s.bell.listen()
		t, err := s.findTask(ctx, ref)
		if err != nil {
			return nil, err
		}
		switch {
		case t == nil || t.Replica.Phase == engine.PhaseLost:
			return nil, nil
		case t.Replica.Phase == engine.PhaseExited && t.Replica.Exit != nil:
			return t.Replica.Exit, nil
		}
		if err := wait(ctx, rung, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// copyLog copies a task's lines into the deploy's log until the task ends; it
// goes on after the last line that was copied before.
func (r *run) copyLog(ctx context.Context, ref engine.Ref) error {
	last := r.s.events.copied(r.id, ref.Name)
	l, err := r.s.Engine.Logs(ctx, engine.LogQuery{Ref: ref, Index: -1, Since: last.at, Follow: true})
	if errs.Is(err, errs.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	skip, waiting := last.same, ""
	for {
		line, err := r.nextLine(ctx, l)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			if err := r.taskWaits(ctx, ref, &waiting); err != nil {
				return err
			}
			continue
		}
		if errors.Is(err, io.EOF) || errs.Is(err, errs.KindNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if line.Time.Before(last.at) {
			continue
		}
		if skip > 0 && line.Time.Equal(last.at) {
			skip--
			continue
		}
		r.s.events.add(r.id, record{Line: line.Text, Task: ref.Name, Time: line.Time})
	}
}

// nextLine waits for a line, but not so long that a task that cannot start goes
// unnoticed.
func (r *run) nextLine(ctx context.Context, l engine.LogReader) (engine.LogLine, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return l.Next(ctx)
}

func (r *run) taskWaits(ctx context.Context, ref engine.Ref, last *string) error {
	t, err := r.s.findTask(ctx, ref)
	if err != nil || t == nil {
		return err
	}
	why := ""
	if t.Replica.Waiting != "" {
		why = "it cannot start yet: " + t.Replica.Waiting
	}
	r.tellWaiting(last, why)
	return nil
}

// envBuild builds one environment for all deploys that wait for it.
type envBuild struct {
	waiting int           // deploys; guarded by the service's lock
	stop    func()        // ends the build
	gone    chan struct{} // closed when its tasks are removed
	refs    []engine.Ref  // tasks; guarded by mu, as the rest
	ref     engine.Ref    // the one that runs
	done    bool
	err     error
	mu      sync.Mutex
}

func (b *envBuild) state() (ref engine.Ref, done bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ref, b.done, b.err
}

// buildEnv waits for the plan's environment; whoever is the first builds it.
func (r *run) buildEnv(ctx context.Context, p build.Plan) error {
	b, err := r.join(ctx, p)
	if err != nil {
		return err
	}
	defer r.s.leave(p.EnvKey, b)
	var last engine.Ref
	for {
		rung := r.s.bell.listen()
		ref, done, err := b.state()
		if ref != last {
			last = ref
			if err := r.copyLog(ctx, ref); err != nil {
				return err
			}
			continue
		}
		if done {
			return err
		}
		if err := wait(ctx, rung, time.Second); err != nil {
			return err
		}
	}
}

func (r *run) join(ctx context.Context, p build.Plan) (*envBuild, error) {
	s := r.s
	for {
		s.mu.Lock()
		b := s.envs[p.EnvKey]
		switch {
		case s.group == nil:
			s.mu.Unlock()
			return nil, errs.Unavailable("the loop does not run")
		case b == nil:
			b = &envBuild{waiting: 1, gone: make(chan struct{})}
			run, cancel := context.WithCancel(context.Background())
			b.stop = cancel
			s.envs[p.EnvKey] = b
			app := r.d.App
			s.group.Spawn("build "+p.EnvKey, func(ctx context.Context) error {
				ctx, done := context.WithCancel(ctx)
				defer done()
				defer context.AfterFunc(run, done)()
				err := s.runBuild(ctx, b, p, string(app))
				b.mu.Lock()
				b.done, b.err = true, err
				b.mu.Unlock()
				s.bell.ring()
				return nil
			})
			s.mu.Unlock()
			return b, nil
		case b.waiting > 0:
			b.waiting++
			s.mu.Unlock()
			r.line("another deploy builds the same dependencies: waiting for it")
			return b, nil
		}
		s.mu.Unlock()
		if err := wait(ctx, b.gone, time.Second); err != nil { // its tasks are being removed
			return nil, err
		}
	}
}

// leave is called by each deploy that waited; after the last one the build's
// tasks are removed, also when they still run. At the end of Run nothing is
// removed: the next one goes on.
func (s *Service) leave(key string, b *envBuild) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.waiting--
	if b.waiting > 0 {
		return
	}
	b.stop()
	if s.group == nil || s.group.Context().Err() != nil {
		delete(s.envs, key)
		close(b.gone)
		return
	}
	s.group.Spawn("remove build "+key, func(ctx context.Context) error {
		b.mu.Lock()
		refs := slices.Clone(b.refs)
		b.mu.Unlock()
		var all []error
		for _, ref := range refs {
			all = append(all, s.Engine.Remove(ctx, ref))
		}
		s.mu.Lock()
		delete(s.envs, key)
		s.mu.Unlock()
		close(b.gone)
		return errors.Join(all...)
	})
}

func (s *Service) isBuilding(ref engine.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.envs {
		if strings.HasPrefix(ref.Name, key) {
			return true
		}
	}
	return false
}

const buildTries = 2 // a build whose process vanished is tried once more

func (s *Service) runBuild(ctx context.Context, b *envBuild, p build.Plan, app string) error {
	var vars []engine.Var
	if err := s.DB.View(ctx, func(tx *store.Tx) error {
		all, err := s.appVars(tx, slipway.AppID(app))
		for _, k := range slices.Sorted(maps.Keys(all)) {
			vars = append(vars, engine.Var{Name: k, Value: secret.New(all[k])})
		}
		return err
	}); err != nil {
		return err
	}
	for attempt := 1; attempt <= buildTries; attempt++ {
		p.Attempt = attempt
		t, err := s.Build.EnvTask(ctx, p, vars)
		if err != nil {
			return err
		}
		found, err := s.findTask(ctx, t.ID)
		if err != nil {
			return err
		}
		if found == nil {
			if err := s.Engine.Apply(ctx, t); err != nil {
				return err
			}
		}
		b.mu.Lock()
		b.ref, b.refs = t.ID, append(b.refs, t.ID)
		b.mu.Unlock()
		s.bell.ring()
		exit, err := s.taskEnd(ctx, t.ID)
		if err != nil {
			return err
		}
		if exit == nil {
			continue
		}
		if exit.Failed() {
			return failed("%s", s.Build.Explain(*exit, s.tail(ctx, t.ID, 50)))
		}
		ok, err := s.Build.EnvReady(ctx, p)
		if err == nil && !ok {
			err = failed("the dependencies were installed, but not kept: deploy again")
		}
		return err
	}
	return failed("the installation of the dependencies vanished twice while it ran: the machine may have restarted; deploy again")
}

// exitReason says in plain words how a program ended.
func exitReason(e engine.Exit, memoryMB int64) string {
	switch {
	case e.OOM && memoryMB > 0:
		return fmt.Sprintf("out of memory: it used more than its limit of %d MB", memoryMB)
	case e.OOM:
		return "out of memory: it used more than its limit"
	case e.Message != "":
		return e.Message
	case e.Signal != 0:
		return fmt.Sprintf("killed by signal %d", e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

var noModule = regexp.MustCompile(`No module named '?([A-Za-z0-9_.]+)'?`)

// withCause adds to how a program ended what its last lines say about why.
func withCause(how string, tail []string) string {
	for _, l := range slices.Backward(tail) {
		if m := noModule.FindStringSubmatch(l); m != nil {
			return fmt.Sprintf("No module named '%s': add the package that has it to the dependencies (%s)", m[1], how)
		}
	}
	for _, l := range slices.Backward(tail) {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(how, "out of memory") {
			return how + ": " + cut(l, 300)
		}
	}
	return how
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}

// explain fails a deploy whose replica died before it was ready.
func (r *run) explain(ctx context.Context, dead engine.Replica) error {
	process, _, _ := plan.Parse(dead.ID.Ref)
	exit := engine.Exit{}
	if dead.Exit != nil {
		exit = *dead.Exit
	}
	tail := r.showTail(ctx, dead.ID.Ref)
	return failed("%s ended before it answered: %s", process, withCause(exitReason(exit, r.s.Limits.MemoryMB), tail))
}

func (r *run) showTail(ctx context.Context, ref engine.Ref) []string {
	tail := r.s.tail(ctx, ref, 20)
	if len(tail) > 0 {
		process, _, _ := plan.Parse(ref)
		r.line("the last lines that %s printed:", process)
		for _, l := range tail {
			r.line("  %s", l)
		}
	}
	return tail
}

// tellWaiting says once what a deploy waits for.
func (r *run) tellWaiting(last *string, why string) {
	if why != "" && why != *last {
		r.line("%s; waiting", why)
	}
	*last = why
}

// late fails a deploy whose replicas did not answer in time.
func (r *run) late(ctx context.Context, v view, waiting string) error {
	why := cmp.Or(v.failure(r.d.Release), waiting, "it did not come up")
	r.showTail(ctx, plan.Workload(string(r.d.App), "web", r.d.Release))
	if why == notBound {
		why = fmt.Sprintf("%s: nothing listens on port %d; the command of web must listen on $PORT", notBound, appPort)
	}
	return failed("web did not answer within %s: %s", r.s.Limits.Start, why)
}
