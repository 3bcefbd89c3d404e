// Package storetest is the suite that every database behind package store
// passes: what its callers rely on and what dialects differ in.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/store"
)

// Run runs the suite. fresh returns the name of an empty database each time.
func Run(t *testing.T, fresh func(t *testing.T) string) {
	t.Helper()
	for name, fn := range map[string]func(*suite){
		"FailedUpdateLeavesNothing": (*suite).failedUpdate,
		"UpdatesAreSerial":          (*suite).serial,
		"UpdatesSeeEachOther":       (*suite).skew,
		"ViewIsOneState":            (*suite).snapshot,
		"Text":                      (*suite).text,
		"People":                    (*suite).people,
		"SSHKeys":                   (*suite).sshKeys,
		"Sessions":                  (*suite).sessions,
		"Apps":                      (*suite).apps,
		"DeleteTakesEverything":     (*suite).deleteApp,
		"Grants":                    (*suite).grants,
		"EnvVars":                   (*suite).env,
		"Upstreams":                 (*suite).upstreams,
		"Deploys":                   (*suite).deploys,
		"Releases":                  (*suite).releases,
		"KeptLayers":                (*suite).layers,
		"Portal":                    (*suite).portal,
		"Measurements":              (*suite).measurements,
		"AuditLog":                  (*suite).auditLog,
		"Settings":                  (*suite).settings,
		"Watch":                     (*suite).watch,
		"OneLeads":                  (*suite).oneLeads,
		"LeaseEnds":                 (*suite).leaseEnds,
		"LeaseIsHandedOver":         (*suite).handOver,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &suite{T: t, name: fresh(t)}
			s.db = s.open()
			s.update(func(tx *store.Tx) error {
				return tx.AddPerson(store.Person{User: slipway.User{ID: owner, Name: "alice", Created: now}, Epoch: 1})
			})
			fn(s)
		})
	}
}

const owner = slipway.UserID("user_alice")

// now has microseconds, which is what stores keep.
var now = time.Date(2026, 5, 4, 3, 2, 1, 123456000, time.UTC)

type suite struct {
	*testing.T
	name string
	db   *store.DB
}

// open opens the database once more, as another process would.
func (s *suite) open() *store.DB {
	s.Helper()
	db, err := store.Open(s.Context(), s.name)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := db.Close(); err != nil {
			s.Error(err)
		}
	})
	return db
}

func (s *suite) update(fn func(tx *store.Tx) error) {
	s.Helper()
	if err := s.db.Update(s.Context(), fn); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) view(fn func(tx *store.Tx) error) {
	s.Helper()
	if err := s.db.View(s.Context(), fn); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) kind(err error, k errs.Kind) {
	s.Helper()
	if !errs.Is(err, k) {
		s.Errorf("got %v, wanted %s", err, k)
	}
}

func app(name string) store.App {
	return store.App{Sealed: []byte{0, 1, 255}, App: slipway.App{
		ID: slipway.AppID("app_" + name), Name: name, Owner: owner, OwnerName: "alice", Access: slipway.AccessRestricted, Rev: 1, Created: now, Updated: now,
	}}
}

func (s *suite) add(name string) store.App {
	s.Helper()
	a := app(name)
	s.update(func(tx *store.Tx) error { return tx.AddApp(a) })
	return a
}

func (s *suite) failedUpdate() {
	boom := errors.New("boom")
	err := s.db.Update(s.Context(), func(tx *store.Tx) error {
		if err := tx.AddApp(app("iris")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		s.Error(err)
	}
	s.view(func(tx *store.Tx) error {
		_, err := tx.AppByName("iris")
		s.kind(err, errs.KindNotFound)
		return nil
	})
}

// serial: read, then write, from many sides and two processes at once, loses
// no update.
func (s *suite) serial() {
	a := s.add("iris")
	const sides, times = 6, 10
	other := s.open()
	fns := make([]func(context.Context) error, sides)
	for i := range fns {
		db := s.db
		if i%2 == 1 {
			db = other
		}
		fns[i] = func(ctx context.Context) error {
			for range times {
				if err := db.Update(ctx, func(tx *store.Tx) error {
					n, err := tx.Replicas(a.ID)
					if err != nil {
						return err
					}
					return tx.SetReplicas(a.ID, "web", n["web"]+1)
				}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if err := loop.Run(s.Context(), fns...); err != nil {
		s.Fatal(err)
	}
	s.view(func(tx *store.Tx) error {
		n, err := tx.Replicas(a.ID)
		if n["web"] != sides*times {
			s.Errorf("%d of %d updates are left", n["web"], sides*times)
		}
		return err
	})
}

// skew: two that each look before they write cannot both find nothing.
func (s *suite) skew() {
	a := s.add("iris")
	other := s.open()
	both := sync.WaitGroup{}
	both.Add(2)
	enter := func(db *store.DB, process string) func(context.Context) error {
		return func(ctx context.Context) error {
			both.Done()
			both.Wait()
			return db.Update(ctx, func(tx *store.Tx) error {
				n, err := tx.Replicas(a.ID)
				if err != nil {
					return err
				}
				if len(n) == 0 {
					return tx.SetReplicas(a.ID, process, 1)
				}
				return nil
			})
		}
	}
	if err := loop.Run(s.Context(), enter(s.db, "web"), enter(other, "worker")); err != nil {
		s.Fatal(err)
	}
	s.view(func(tx *store.Tx) error {
		n, err := tx.Replicas(a.ID)
		if len(n) != 1 {
			s.Errorf("both found nothing: %v", n)
		}
		return err
	})
}

// snapshot: what a View reads does not change under it.
func (s *suite) snapshot() {
	a := s.add("iris")
	s.view(func(tx *store.Tx) error {
		before, err := tx.Replicas(a.ID)
		if err != nil {
			return err
		}
		s.update(func(tx *store.Tx) error { return tx.SetReplicas(a.ID, "web", 3) })
		after, err := tx.Replicas(a.ID)
		if len(before) != len(after) {
			s.Errorf("a view saw %v, then %v", before, after)
		}
		return err
	})
}

func (s *suite) apps() {
	for _, name := range []string{"iris", "a-first", "zebra"} {
		s.add(name)
	}
	s.kind(s.db.Update(s.Context(), func(tx *store.Tx) error {
		a := app("iris")
		a.ID = "app_other"
		return tx.AddApp(a)
	}), errs.KindConflict)
	s.view(func(tx *store.Tx) error {
		got, err := tx.AppByName("iris")
		if want := app("iris"); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			s.Errorf("got  %+v\nwant %+v", got, want)
		}
		all, err2 := tx.Apps("a-first")
		if len(all) != 2 || all[0].Name != "iris" || all[1].Name != "zebra" {
			s.Errorf("after a-first come %+v", all)
		}
		return errors.Join(err, err2)
	})
	changed := app("iris")
	changed.Title, changed.Access, changed.Isolated, changed.Paused, changed.Current = "Irises ✿", slipway.AccessAuthenticated, true, true, 7
	s.update(func(tx *store.Tx) error { return tx.SaveApp(changed, now.Add(time.Second)) })
	s.view(func(tx *store.Tx) error {
		got, err := tx.App(changed.ID)
		if got.Title != changed.Title || got.Rev != 2 || !got.Updated.Equal(now.Add(time.Second)) || !got.Isolated || !got.Paused || got.Current != 7 {
			s.Errorf("got %+v", got)
		}
		return err
	})
	s.kind(s.db.Update(s.Context(), func(tx *store.Tx) error { return tx.SaveApp(app("none"), now) }), errs.KindNotFound)
}

func deploy(a store.App, id string) store.Deploy {
	return store.Deploy{Owner: owner, Deploy: slipway.Deploy{
		ID: slipway.DeployID(id), App: a.ID, AppName: a.Name, Cause: slipway.CausePush, Commit: "c0ffee", Message: "it's new", Source: "src-" + id,
		State: slipway.DeployQueued, By: "alice", Started: now,
	}}
}

func release(a store.App, n int, d string) store.Release {
	return store.Release{
		Deploy: slipway.DeployID(d), Plan: `{"python":"3.11","procfile":{"web":"run"},"env_key":"env-` + d + `"}`, Sealed: []byte{1},
		Release: slipway.Release{App: a.ID, N: n, Source: "src-" + d, Env: "env-" + d, Created: now, CreatedBy: "alice", Cause: slipway.CausePush},
	}
}

func (s *suite) deleteApp() {
	a, other := s.add("iris"), s.add("other")
	s.update(func(tx *store.Tx) error {
		_, err := tx.AddDeploy(deploy(a, "dep_1"))
		return errors.Join(err,
			tx.SetStep("dep_1", slipway.DeployStep{Name: "receive", State: slipway.StepDone, Started: now}),
			tx.AddRelease(release(a, 1, "dep_1")),
			tx.SetGrant(a.ID, owner, slipway.GrantViewer),
			tx.SetEnvVar(string(a.ID), store.EnvVar{Key: "A", Sealed: []byte{1}}),
			tx.SetEnvVar(string(other.ID), store.EnvVar{Key: "A", Sealed: []byte{1}}),
			tx.SetReplicas(a.ID, "web", 2),
			tx.SetUpstream(a.ID, &store.Upstream{Upstream: slipway.Upstream{URL: "https://git.example.com/a"}}),
		)
	})
	s.update(func(tx *store.Tx) error { return tx.DeleteApp(a.ID) })
	s.view(func(tx *store.Tx) error {
		_, err := tx.Deploy("dep_1")
		s.kind(err, errs.KindNotFound)
		_, err = tx.Release(a.ID, 1)
		s.kind(err, errs.KindNotFound)
		steps, err1 := tx.Steps("dep_1")
		grants, err2 := tx.GrantsOf(owner)
		vars, err3 := tx.EnvVars(string(a.ID))
		scaled, err4 := tx.Replicas(a.ID)
		if n := len(steps) + len(grants) + len(vars) + len(scaled); n != 0 {
			s.Errorf("%d rows are left", n)
		}
		if u, err := tx.Upstream(a.ID); u != nil || err != nil {
			s.Errorf("the upstream is left: %+v, %v", u, err)
		}
		rest, err5 := tx.EnvVars(string(other.ID))
		if len(rest) != 1 {
			s.Error("another app lost its variables")
		}
		return errors.Join(err1, err2, err3, err4, err5)
	})
}

func (s *suite) grants() {
	a := s.add("iris")
	s.update(func(tx *store.Tx) error {
		return errors.Join(
			tx.AddPerson(store.Person{User: slipway.User{ID: "user_bob", Name: "bob", Created: now}, Epoch: 1}),
			tx.SetGrant(a.ID, "user_bob", slipway.GrantViewer), tx.SetGrant(a.ID, "user_bob", slipway.GrantCoOwner))
	})
	s.view(func(tx *store.Tx) error {
		on, err1 := tx.GrantsOn(a.ID)
		if want := []slipway.Grant{{User: "user_bob", Name: "bob", Level: slipway.GrantCoOwner}}; !slices.Equal(on, want) {
			s.Errorf("grants %+v", on)
		}
		none, err2 := tx.GrantOf(a.ID, owner)
		if none != "" {
			s.Errorf("a grant of nobody: %q", none)
		}
		return errors.Join(err1, err2)
	})
	s.update(func(tx *store.Tx) error {
		first, err1 := tx.DeleteGrant(a.ID, "user_bob")
		second, err2 := tx.DeleteGrant(a.ID, "user_bob")
		if !first || second {
			s.Errorf("deleted %v, then %v", first, second)
		}
		return errors.Join(err1, err2)
	})
}

func (s *suite) env() {
	s.update(func(tx *store.Tx) error {
		return errors.Join(
			tx.SetEnvVar("", store.EnvVar{Key: "b", Sealed: []byte{0}}), tx.SetEnvVar("", store.EnvVar{Key: "B", Sealed: []byte{1}}),
			tx.SetEnvVar("", store.EnvVar{Key: "b", Sealed: []byte{0, 2}, Secret: true}), tx.SetEnvVar("app_1", store.EnvVar{Key: "b", Sealed: []byte{3}}))
	})
	s.view(func(tx *store.Tx) error {
		vars, err := tx.EnvVars("")
		if len(vars) != 2 || vars[0].Key != "B" || !slices.Equal(vars[1].Sealed, []byte{0, 2}) || !vars[1].Secret {
			s.Errorf("variables %+v", vars)
		}
		return err
	})
}

func (s *suite) deploys() {
	a := s.add("iris")
	for i := 1; i <= 3; i++ {
		s.update(func(tx *store.Tx) error {
			seq, err := tx.AddDeploy(deploy(a, fmt.Sprintf("dep_%d", i)))
			if seq != i {
				s.Errorf("deploy %d has number %d", i, seq)
			}
			return err
		})
	}
	ended := now.Add(time.Minute)
	s.update(func(tx *store.Tx) error {
		d, err := tx.Deploy("dep_2")
		if err != nil {
			return err
		}
		d.State, d.Reason, d.Release, d.Previous, d.Canceling, d.Ended, d.Deadline = slipway.DeployRolledBack, "no", 4, 3, true, &ended, ended
		return tx.SaveDeploy(d)
	})
	step := slipway.DeployStep{Name: "detect", State: slipway.StepRunning, Started: now}
	done := slipway.DeployStep{Name: "detect", State: slipway.StepDone, Detail: "Python 3.11", Started: now.Add(time.Hour), Ended: &ended}
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.SetStep("dep_2", step), tx.SetStep("dep_2", slipway.DeployStep{Name: "a-later-one", Started: now}), tx.SetStep("dep_2", done))
	})
	s.view(func(tx *store.Tx) error {
		d, err1 := tx.Deploy("dep_2")
		if d.State != slipway.DeployRolledBack || d.Seq != 2 || !d.Ended.Equal(ended) || !d.Deadline.Equal(ended) || d.Owner != owner || d.Previous != 3 || !d.Canceling {
			s.Errorf("got %+v", d)
		}
		open, err2 := tx.OpenDeploys()
		mine, err3 := tx.OpenDeploysOf(a.ID)
		page, err4 := tx.DeploysOf(a.ID, 3, 1)
		if len(open) != 2 || len(mine) != 2 || len(page) != 1 || page[0].ID != "dep_2" {
			s.Errorf("open %d, %d, page %+v", len(open), len(mine), page)
		}
		steps, err5 := tx.Steps("dep_2")
		if len(steps) != 2 || steps[0].Detail != "Python 3.11" || !steps[0].Started.Equal(now) || !steps[0].Ended.Equal(ended) {
			s.Errorf("steps %+v", steps)
		}
		return errors.Join(err1, err2, err3, err4, err5)
	})
}

func (s *suite) releases() {
	a := s.add("iris")
	var tries atomic.Int64
	s.update(func(tx *store.Tx) error {
		tries.Add(1)
		n, err := tx.NextRelease(a.ID)
		if n != 1 {
			s.Errorf("the first release is %d", n)
		}
		return errors.Join(err, tx.AddRelease(release(a, 1, "dep_1")), tx.AddRelease(release(a, 2, "dep_2")))
	})
	for what, r := range map[string]store.Release{"number": release(a, 2, "dep_3"), "deploy": release(a, 3, "dep_2")} {
		if err := s.db.Update(s.Context(), func(tx *store.Tx) error { return tx.AddRelease(r) }); !errs.Is(err, errs.KindConflict) {
			s.Errorf("a second release of one %s: %v", what, err)
		}
	}
	s.view(func(tx *store.Tx) error {
		r, err1 := tx.Release(a.ID, 2)
		if r.Python != "3.11" || r.Procfile["web"] != "run" || !r.Created.Equal(now) || r.Deploy != "dep_2" {
			s.Errorf("got %+v", r)
		}
		list, err2 := tx.ReleasesOf(a.ID, 2, 10)
		n, err3 := tx.NextRelease(a.ID)
		if len(list) != 1 || list[0].N != 1 || n != 3 {
			s.Errorf("list %+v, next %d", list, n)
		}
		return errors.Join(err1, err2, err3)
	})
}

func (s *suite) layers() {
	a := s.add("iris")
	s.update(func(tx *store.Tx) error {
		a.Current = 1
		d := deploy(a, "dep_open")
		_, err := tx.AddDeploy(d)
		d.Source, d.Plan = "src-kept", `{"env_key":"env-open","source":"src-open"}`
		return errors.Join(err, tx.SaveDeploy(d), tx.SaveApp(a, now), tx.AddRelease(release(a, 1, "one")), tx.AddRelease(release(a, 2, "two")),
			tx.AddRelease(release(a, 3, "three")))
	})
	s.view(func(tx *store.Tx) error {
		kept, err := tx.KeptLayers(1)
		for _, l := range []string{"src-one", "env-one", "src-three", "env-three", "src-kept", "src-open", "env-open"} {
			if !kept[l] {
				s.Errorf("%s is not kept", l)
			}
		}
		if kept["src-two"] || kept[""] || len(kept) != 7 {
			s.Errorf("kept %v", kept)
		}
		return err
	})
}
