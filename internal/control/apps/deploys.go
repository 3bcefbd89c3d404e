package apps

import (
	"context"
	"strconv"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// DeployInput is what is deployed.
type DeployInput struct {
	Source  string // layer with the app's files
	Commit  string
	Message string
	Cause   slipway.Cause // CausePush, CauseUpload, CauseTemplate or CauseFetch
	Note    string        // for the log, before all else
}

// MayDeploy returns nil when the actor may deploy the app: to ask before much
// is sent.
func (s *Service) MayDeploy(ctx context.Context, name string) error {
	return s.view(ctx, access.DeployApp, name, nil)
}

// MayRead returns nil when the actor may read what belongs to the app.
func (s *Service) MayRead(ctx context.Context, name string) error {
	return s.view(ctx, access.ReadApp, name, nil)
}

// Deploy records a deploy of new files, which then goes on by itself. Deploys
// of the app that still wait are superseded.
func (s *Service) Deploy(ctx context.Context, name string, in DeployInput) (slipway.Deploy, error) {
	if in.Source == "" {
		return slipway.Deploy{}, errs.Invalid("a deploy needs files")
	}
	return s.deploy(ctx, name, store.Deploy{Deploy: slipway.Deploy{
		Source: in.Source, Commit: in.Commit, Message: in.Message, Cause: or(in.Cause, slipway.CauseUpload),
	}}, in.Note)
}

// Rollback records a deploy that uses the files and environment of an older
// release again, with today's variables; n = 0 means the one before the
// current.
func (s *Service) Rollback(ctx context.Context, name string, n int) (slipway.Deploy, error) {
	var r store.Release
	err := s.view(ctx, access.DeployApp, name, func(tx *store.Tx, app store.App) error {
		if app.Current == 0 {
			return errs.Conflict("the app has no release yet")
		}
		if n == 0 {
			d, err := tx.DeploysOf(app.ID, 0, 200)
			if err != nil {
				return err
			}
			if n = before(d, app.Current); n == 0 {
				return errs.Conflict("the app has no release before the current one")
			}
		}
		if n == app.Current {
			return errs.Conflict("release %d is the current one", n)
		}
		var err error
		r, err = tx.Release(app.ID, n)
		return err
	})
	if err != nil {
		return slipway.Deploy{}, err
	}
	for _, layer := range []string{r.Source, r.Env} {
		ok, err := s.Engine.Layers().Has(ctx, layer)
		if err != nil {
			return slipway.Deploy{}, err
		}
		if !ok {
			return slipway.Deploy{}, errs.Conflict("the files of release %d are no longer kept: only those of the newest %d are", n, s.Limits.Releases)
		}
	}
	return s.deploy(ctx, name, store.Deploy{Origin: n, Deploy: slipway.Deploy{
		Commit: r.Commit, Message: "roll back to release " + strconv.Itoa(n), Cause: slipway.CauseRollback,
	}})
}

// before finds the release that the deploy of the current one took over from.
func before(newestFirst []store.Deploy, current int) int {
	for _, d := range newestFirst {
		if d.Release == current {
			return d.Previous
		}
	}
	return 0
}

// ApplyConfig records a deploy of the current release's files with today's
// variables.
func (s *Service) ApplyConfig(ctx context.Context, name string) (slipway.Deploy, error) {
	return s.again(ctx, name, slipway.CauseConfig, "apply the variables")
}

// Restart replaces every replica, new beside old, with today's variables.
func (s *Service) Restart(ctx context.Context, name string) (slipway.Deploy, error) {
	return s.again(ctx, name, slipway.CauseRestart, "restart")
}

// Redeploy records a deploy of the files of an earlier one, which are built
// again as far as the build's cache does not have them.
func (s *Service) Redeploy(ctx context.Context, id slipway.DeployID) (slipway.Deploy, error) {
	var old store.Deploy
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		old, err = s.findDeploy(tx, slipway.ActorFrom(ctx), access.DeployApp, id)
		return err
	}); err != nil {
		return slipway.Deploy{}, err
	}
	if old.Origin != 0 {
		return slipway.Deploy{}, errs.Conflict("deploy %d used the files of release %d: roll back to that one instead", old.Seq, old.Origin)
	}
	ok, err := s.Engine.Layers().Has(ctx, old.Source)
	if err != nil {
		return slipway.Deploy{}, err
	}
	if !ok {
		return slipway.Deploy{}, errs.Conflict("the files of deploy %d are no longer kept: push them again", old.Seq)
	}
	return s.deploy(ctx, old.AppName, store.Deploy{Deploy: slipway.Deploy{
		Source: old.Source, Commit: old.Commit, Message: old.Message, Cause: old.Cause,
	}})
}

func (s *Service) again(ctx context.Context, name string, cause slipway.Cause, message string) (slipway.Deploy, error) {
	var r store.Release
	err := s.view(ctx, access.DeployApp, name, func(tx *store.Tx, app store.App) error {
		if app.Current == 0 {
			return errs.Conflict("the app has no release yet: push one first")
		}
		var err error
		r, err = tx.Release(app.ID, app.Current)
		return err
	})
	if err != nil {
		return slipway.Deploy{}, err
	}
	return s.deploy(ctx, name, store.Deploy{Origin: r.N, Deploy: slipway.Deploy{Commit: r.Commit, Message: message, Cause: cause}})
}

// deploy inserts the row: from then on the deploy goes on, whatever happens to
// the one who asked.
func (s *Service) deploy(ctx context.Context, name string, d store.Deploy, notes ...string) (slipway.Deploy, error) {
	first := false
	if err := s.view(ctx, access.DeployApp, name, func(_ *store.Tx, app store.App) error {
		first = app.Current == 0
		return nil
	}); err != nil {
		return slipway.Deploy{}, err
	}
	var see seen
	if first {
		var err error
		if see, err = s.look(ctx); err != nil {
			return slipway.Deploy{}, err
		}
	}
	actor := slipway.ActorFrom(ctx)
	now := s.now()
	d.ID, d.State, d.By, d.Started = slipway.DeployID(slipway.NewID("dep")), slipway.DeployQueued, actor.Name(), now
	step := slipway.DeployStep{Name: StepReceive, Detail: shortCommit(d.Commit), State: slipway.StepDone, Started: now, Ended: &now}
	var superseded []store.Deploy
	app, err := s.change(ctx, access.DeployApp, name, "app.deploy", string(d.Cause)+" "+d.Commit, func(tx *store.Tx, app *store.App) error {
		superseded = nil
		open, err := tx.OpenDeploysOf(app.ID)
		if err != nil {
			return err
		}
		if app.Current == 0 && len(open) == 0 { // all others take the place of one before
			volumes := int64(1)
			if see.volumes[app.ID] {
				volumes = 0
			}
			if err := s.makeRoom(tx, actor, see, 1, volumes); err != nil {
				return err
			}
		}
		for _, old := range open {
			if old.State != slipway.DeployQueued {
				continue
			}
			old.State, old.SupersededBy, old.Ended, old.Reason = slipway.DeploySuperseded, d.ID, &now, "a newer deploy took its place"
			if err := tx.SaveDeploy(old); err != nil {
				return err
			}
			superseded = append(superseded, old)
		}
		d.App, d.AppName, d.Owner = app.ID, app.Name, app.Owner
		if d.Seq, err = tx.AddDeploy(d); err != nil {
			return err
		}
		if d.Origin != 0 {
			return nil
		}
		return tx.SetStep(d.ID, step)
	})
	if err != nil {
		return slipway.Deploy{}, err
	}
	if d.Origin == 0 {
		d.Steps = []slipway.DeployStep{step}
		s.events.step(d.ID, step)
	}
	for _, n := range notes {
		if n != "" {
			s.events.line(d.ID, "%s", n)
		}
	}
	for _, old := range superseded {
		s.events.close(old.ID, old.State)
		s.changed(app.ID, old.ID, nil)
	}
	s.changed(app.ID, d.ID, nil)
	s.bell.ring()
	s.dispatchSoon()
	s.wake(app.ID)
	return d.Deploy, nil
}

func shortCommit(c string) string {
	if len(c) > 10 {
		return c[:10]
	}
	return c
}

// GetDeploy returns a deploy with its steps.
func (s *Service) GetDeploy(ctx context.Context, id slipway.DeployID) (slipway.Deploy, error) {
	var out slipway.Deploy
	err := s.DB.View(ctx, func(tx *store.Tx) error {
		d, err := s.findDeploy(tx, slipway.ActorFrom(ctx), access.ReadApp, id)
		if err != nil {
			return err
		}
		out = d.Deploy
		out.Steps, err = tx.Steps(id)
		return err
	})
	return out, err
}

func (s *Service) findDeploy(tx *store.Tx, a slipway.Actor, v access.Verb, id slipway.DeployID) (store.Deploy, error) {
	hidden := func() error {
		if err := access.Check(a, v, access.App(nil)); errs.Is(err, errs.KindUnauthenticated) {
			return err
		}
		return errs.NotFound("no such deploy, or not one that you may see")
	}
	d, err := tx.Deploy(id)
	if errs.Is(err, errs.KindNotFound) {
		return d, hidden()
	}
	if err != nil {
		return d, err
	}
	app, err := tx.App(d.App)
	if err != nil {
		return d, err
	}
	if app.Deleting {
		return d, hidden()
	}
	if err := s.check(tx, a, v, app); errs.Is(err, errs.KindNotFound) {
		return d, hidden()
	} else if err != nil {
		return d, err
	}
	return d, nil
}

// Deploys lists an app's deploys, newest first, without their steps.
func (s *Service) Deploys(ctx context.Context, name, cursor string, limit int) (Page[slipway.Deploy], error) {
	page := Page[slipway.Deploy]{Items: []slipway.Deploy{}}
	from, err := number(cursor)
	if err != nil {
		return page, err
	}
	limit = limitOf(limit)
	err = s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) error {
		rows, err := tx.DeploysOf(app.ID, from, limit+1)
		for _, d := range rows {
			if len(page.Items) == limit {
				page.Next = strconv.Itoa(page.Items[limit-1].Seq)
				break
			}
			page.Items = append(page.Items, d.Deploy)
		}
		return err
	})
	return page, err
}

func number(cursor string) (int, error) {
	if cursor == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(cursor)
	if err != nil || n <= 0 {
		return 0, errs.Invalid("the cursor %q is not one that a list returned", cursor)
	}
	return n, nil
}

// Releases lists an app's releases, newest first.
func (s *Service) Releases(ctx context.Context, name, cursor string, limit int) (Page[slipway.Release], error) {
	page := Page[slipway.Release]{Items: []slipway.Release{}}
	from, err := number(cursor)
	if err != nil {
		return page, err
	}
	limit = limitOf(limit)
	err = s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) error {
		rows, err := tx.ReleasesOf(app.ID, from, limit+1)
		for _, r := range rows {
			if len(page.Items) == limit {
				page.Next = strconv.Itoa(page.Items[limit-1].N)
				break
			}
			page.Items = append(page.Items, r.Release)
		}
		return err
	})
	return page, err
}

// CancelDeploy asks a deploy to stop. Conflict when it is too late: once
// traffic is being switched, roll back instead.
func (s *Service) CancelDeploy(ctx context.Context, id slipway.DeployID) (slipway.Deploy, error) {
	actor := slipway.ActorFrom(ctx)
	var d store.Deploy
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		var err error
		if d, err = s.findDeploy(tx, actor, access.DeployApp, id); err != nil {
			return err
		}
		switch {
		case d.State.Final():
			return errs.Conflict("the deploy has ended: it is %s", d.State)
		case d.State == slipway.DeploySwitching || d.State == slipway.DeployDraining:
			return errs.Conflict("it is too late to cancel: release %d takes the traffic; roll back instead", d.Release)
		}
		d.Canceling = true
		if d.State == slipway.DeployQueued {
			now := s.now()
			d.State, d.Ended, d.Reason = slipway.DeployCanceled, &now, "canceled by "+actor.Name()
		}
		if err := tx.SaveDeploy(d); err != nil {
			return err
		}
		return s.audit(tx, actor, "deploy.cancel", string(id), d.AppName)
	})
	if err != nil {
		return slipway.Deploy{}, err
	}
	if d.State.Final() {
		s.events.close(id, d.State)
	}
	s.changed(d.App, id, nil)
	s.cancelRun(id)
	s.bell.ring()
	return s.GetDeploy(ctx, id)
}
