package apps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/store"
)

// The names of a deploy's steps, as people see them.
const (
	StepReceive      = "receive"
	StepDetect       = "detect"
	StepDependencies = "dependencies"
	StepPredeploy    = "predeploy"
	StepPackage      = "package"
	StepStart        = "start"
	StepHealth       = "health check"
	StepPostdeploy   = "postdeploy"
	StepSwitch       = "switch"
	StepDrain        = "drain"
)

func stepOf(s slipway.DeployState) string {
	switch s {
	case slipway.DeployDetecting:
		return StepDetect
	case slipway.DeployEnv:
		return StepDependencies
	case slipway.DeployPredeploy:
		return StepPredeploy
	case slipway.DeployPacking, slipway.DeployReleasing:
		return StepPackage
	case slipway.DeployStarting:
		return StepStart
	case slipway.DeployChecking:
		return StepHealth
	case slipway.DeployPostdeploy:
		return StepPostdeploy
	case slipway.DeploySwitching:
		return StepSwitch
	case slipway.DeployDraining:
		return StepDrain
	default:
		return ""
	}
}

var (
	errStale    = errors.New("the deploy is in another state than expected")
	errCanceled = errors.New("canceled")
)

// failure ends a deploy for a reason that is the app's.
type failure struct{ reason string }

func (f *failure) Error() string { return f.reason }

func failed(format string, args ...any) error { return &failure{fmt.Sprintf(format, args...)} }

// run moves one deploy on. At most one runs of each.
type run struct {
	s  *Service
	id slipway.DeployID

	mu sync.Mutex
	d  store.Deploy // as written last; others read it with d0

	cancelCtx context.Context //nolint:containedctx // carries only the request to cancel
	cancel    context.CancelCauseFunc
}

func (r *run) d0() store.Deploy {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.d
}

// main does what the present state allows, records the next state, and so on.
// It stops with ctx at any place; the next run begins at the recorded state.
func (r *run) main(ctx context.Context) error {
	again := loop.Backoff{Min: 50 * time.Millisecond, Max: 5 * time.Second}
	if err := r.reload(ctx); err != nil {
		return err
	}
	var since time.Time // the first try in vain
	waiting := ""
	for tries := 0; !r.d.State.Final(); {
		state := r.d.State
		err := r.step(ctx)
		if ctx.Err() != nil || errors.Is(err, errStale) {
			return nil
		}
		if err == nil {
			if r.d.State != state {
				tries, waiting = 0, ""
				again.Reset()
			}
			continue
		}
		if tries == 0 {
			since = r.s.now()
		}
		reason, final := r.judge(err, tries, since)
		if final == "" {
			tries++
			if errors.Is(err, engine.ErrAway) {
				r.tellWaiting(&waiting, strings.TrimSuffix(errs.Message(err), ": try again"))
			}
			r.s.Log.WarnContext(ctx, "a deploy tries again", "deploy", r.id, "state", state, "error", err)
			if again.Wait(ctx) != nil {
				return nil
			}
			continue
		}
		if errs.KindOf(err) == errs.KindInternal && !isFailure(err) && !errors.Is(err, errCanceled) {
			r.s.Log.ErrorContext(ctx, "a deploy failed on our side", "deploy", r.id, "state", state, "error", err)
		}
		if err := r.finish(ctx, final, reason); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, errStale) {
				return nil
			}
			if again.Wait(ctx) != nil {
				return nil
			}
		}
	}
	return nil
}

// reload reads the deploy as it is now: the one who started the run may have
// read it before a run that has ended since, or before it was canceled.
func (r *run) reload(ctx context.Context) error {
	return r.s.DB.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Deploy(r.id)
		if errs.Is(err, errs.KindNotFound) {
			d.State, err = slipway.DeployCanceled, nil // its app is gone
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.d = d
		r.mu.Unlock()
		if d.Canceling {
			r.cancel(errCanceled)
		}
		return nil
	})
}

func isFailure(err error) bool {
	var f *failure
	return errors.As(err, &f)
}

// engineBack is how long a deploy waits for an engine that is away.
const engineBack = 10 * time.Minute

// judge tells how an error ends the deploy; final is empty when it does not.
func (r *run) judge(err error, tries int, since time.Time) (reason string, final slipway.DeployState) {
	final = slipway.DeployFailed
	if r.d.Release != 0 {
		final = slipway.DeployRolledBack
	}
	late := r.d.State == slipway.DeployDraining || r.d.State == slipway.DeploySwitching
	var f *failure
	switch {
	case errors.Is(err, errCanceled) && !late:
		return "canceled", slipway.DeployCanceled
	case errors.As(err, &f) && !late:
		return f.reason, final
	case late: // it has the traffic: there is only forward
		return "", ""
	case errors.Is(err, store.ErrAway): // no fault of the app's, and nothing could be recorded
		return "", ""
	case errors.Is(err, engine.ErrAway) && r.s.now().Sub(since) < engineBack:
		return "", ""
	}
	switch errs.KindOf(err) {
	case errs.KindInternal, errs.KindUnavailable:
		if tries < 8 {
			return "", ""
		}
	default:
	}
	return errs.Message(err), final
}

// step does the effect of the present state. Until the switch it is stopped by
// a request to cancel.
func (r *run) step(parent context.Context) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	if s := r.d.State; s != slipway.DeploySwitching && s != slipway.DeployDraining {
		defer context.AfterFunc(r.cancelCtx, func() { stop(errCanceled) })()
	}
	err := r.effect(ctx)
	if parent.Err() == nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), errCanceled) {
		return errCanceled
	}
	return err
}

func (r *run) effect(ctx context.Context) error {
	switch r.d.State {
	case slipway.DeployDetecting:
		return r.detect(ctx)
	case slipway.DeployEnv:
		return r.env(ctx)
	case slipway.DeployPredeploy:
		return r.predeploy(ctx)
	case slipway.DeployPacking:
		return r.pack(ctx)
	case slipway.DeployReleasing:
		return r.release(ctx)
	case slipway.DeployStarting:
		return r.start(ctx)
	case slipway.DeployChecking:
		return r.check(ctx)
	case slipway.DeployPostdeploy:
		return r.postdeploy(ctx)
	case slipway.DeploySwitching:
		return r.change(ctx)
	case slipway.DeployDraining:
		return r.drain(ctx)
	default:
		return fmt.Errorf("a deploy cannot be %q", r.d.State)
	}
}

// to records the next state, ends the step of the present one and begins the
// next one's, in one transaction.
func (r *run) to(ctx context.Context, next slipway.DeployState, detail string, edit func(tx *store.Tx, d *store.Deploy) error) error {
	var d store.Deploy
	var steps []slipway.DeployStep
	err := r.s.DB.Update(ctx, func(tx *store.Tx) error {
		var err error
		steps = nil
		if d, err = tx.Deploy(r.id); err != nil {
			return err
		}
		if d.State != r.d.State {
			return errStale
		}
		if d.Canceling && !next.Final() && next != slipway.DeployDraining {
			return errCanceled
		}
		now := r.s.now()
		if name := stepOf(next); name == "" || name != stepOf(d.State) {
			if steps, err = endStep(tx, r.id, slipway.StepDone, detail, now); err != nil {
				return err
			}
			if name != "" {
				s := slipway.DeployStep{Name: name, State: slipway.StepRunning, Started: now}
				steps = append(steps, s)
				if err := tx.SetStep(r.id, s); err != nil {
					return err
				}
			}
		}
		d.State, d.Deadline = next, time.Time{}
		if next.Final() {
			d.Ended = &now
		}
		if edit != nil {
			if err := edit(tx, &d); err != nil {
				return err
			}
		}
		return tx.SaveDeploy(d)
	})
	if err != nil {
		return err
	}
	r.written(d, steps)
	return nil
}

func (r *run) written(d store.Deploy, steps []slipway.DeployStep) {
	r.mu.Lock()
	r.d = d
	r.mu.Unlock()
	for _, s := range steps {
		r.s.events.step(r.id, s)
	}
	r.s.changed(d.App, r.id, nil)
	r.s.bell.ring()
	if !building(d) {
		r.s.dispatchSoon()
	}
	r.s.wake(d.App)
}

// endStep ends the running steps.
func endStep(tx *store.Tx, id slipway.DeployID, state slipway.StepState, detail string, now time.Time) ([]slipway.DeployStep, error) {
	all, err := tx.Steps(id)
	if err != nil {
		return nil, err
	}
	var out []slipway.DeployStep
	for _, s := range all {
		if s.State != slipway.StepRunning {
			continue
		}
		s.State, s.Ended = state, &now
		s.Detail = or(detail, s.Detail)
		if err := tx.SetStep(id, s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// finish ends the deploy without its release. The state comes first; the loop
// of the app then takes away what was started.
func (r *run) finish(ctx context.Context, final slipway.DeployState, reason string) error {
	var d store.Deploy
	var steps []slipway.DeployStep
	err := r.s.DB.Update(ctx, func(tx *store.Tx) error {
		var err error
		if d, err = tx.Deploy(r.id); err != nil {
			return err
		}
		if d.State != r.d.State {
			return errStale
		}
		now := r.s.now()
		if steps, err = endStep(tx, r.id, slipway.StepFailed, "", now); err != nil {
			return err
		}
		d.State, d.Reason, d.Ended, d.Deadline = final, reason, &now, time.Time{}
		return tx.SaveDeploy(d)
	})
	if err != nil {
		return err
	}
	r.written(d, steps)
	r.dropTasks(ctx)
	r.s.events.close(r.id, final)
	return nil
}

func (r *run) plan() (build.Plan, error) {
	var p build.Plan
	err := json.Unmarshal([]byte(r.d.Plan), &p)
	return p, err
}

func (r *run) line(format string, args ...any) { r.s.events.line(r.id, format, args...) }

// task names a task of this deploy.
func (r *run) task(kind string) engine.Ref {
	return engine.Ref{Kind: engine.KindTask, Scope: string(r.d.App), Name: kind + "-" + string(r.id)}
}

// dropTasks removes the tasks of the deploy, when their results are recorded.
func (r *run) dropTasks(ctx context.Context) {
	for _, kind := range []string{StepPredeploy, StepPostdeploy} {
		if err := r.s.Engine.Remove(ctx, r.task(kind)); err != nil && ctx.Err() == nil {
			r.s.Log.WarnContext(ctx, "a finished task could not be removed", "deploy", r.id, "task", kind, "error", err)
		}
	}
}
