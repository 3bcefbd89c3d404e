package fake_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play plays the suite's programs.
func play(ctx context.Context, p *fake.Proc) engine.Exit {
	switch p.Workload.Labels[enginetest.LabelProgram] {
	case enginetest.ProgramFail:
		p.Print(false, "out")
		p.Print(true, "err")
		return engine.Exit{Code: 3}
	case enginetest.ProgramPass:
		p.Print(false, "ran")
		return engine.Exit{}
	case enginetest.ProgramKeep:
		p.Files["/kept/file"] = []byte("kept")
		return engine.Exit{}
	case enginetest.ProgramNoKeep:
		p.Files["/kept/file"] = []byte("kept")
		return engine.Exit{Code: 1}
	case enginetest.ProgramPolite:
		<-p.TERM
		p.Print(false, "got TERM")
		return engine.Exit{}
	case enginetest.ProgramCount:
		for i := range 500 {
			p.Print(false, strconv.Itoa(i+1))
		}
	case enginetest.ProgramVolume:
		all := p.Volumes["/home/app/mount"].Append("line\n")
		p.Print(false, strconv.Itoa(strings.Count(all, "\n")))
		return engine.Exit{}
	case enginetest.ProgramForever:
		p.Print(false, "ready")
		<-ctx.Done()
		return engine.Exit{Code: 137, Signal: 9}
	case enginetest.ProgramServe:
		return fake.Serve(ctx, p)
	}
	return fake.Wait(ctx, p)
}

func TestContract(t *testing.T) {
	enginetest.Run(t, func(t *testing.T) enginetest.Harness {
		e := fake.New(fake.Options{Program: play})
		t.Cleanup(func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		return enginetest.Harness{Engine: e, Reopen: func() engine.Engine { return e }}
	})
}

func TestInject(t *testing.T) {
	e := fake.New(fake.Options{Backoff: time.Millisecond})
	defer e.Close() //nolint:errcheck // nothing failed before
	w := enginetest.Workload("app", "web", enginetest.ProgramServe)
	if err := e.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	id := engine.ReplicaRef{Ref: w.ID}
	enginetest.Await(t, "it can be killed", func() bool { return e.Inject(id, engine.Exit{Code: 137, OOM: true}) == nil })
	enginetest.Await(t, "it was restarted", func() bool {
		s, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r := s.Workloads[0].Replicas[0]
		return r.Restarts > 0 && r.Exit != nil && r.Exit.OOM && r.Phase == engine.PhaseRunning
	})
}

func TestLose(t *testing.T) {
	e := fake.New(fake.Options{Program: fake.Wait})
	defer e.Close() //nolint:errcheck // nothing failed before
	k := enginetest.Task("app", "task", enginetest.ProgramSleep)
	if err := e.Apply(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it can be lost", func() bool { return e.Lose(k.ID) == nil })
	enginetest.Await(t, "it is lost", func() bool {
		s, err := e.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Tasks[0].Replica.Phase == engine.PhaseLost
	})
}
