package loop_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"slipway.dev/slipway/internal/base/loop"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestFailureCancelsTheOthers(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	g := loop.New(t.Context(), quiet)
	g.Go("waits", untilDone)
	g.Go("fails", func(context.Context) error { return boom })
	if err := g.Wait(); !errors.Is(err, boom) || !strings.Contains(err.Error(), "fails") {
		t.Error(err)
	}
}

func TestSpawnTouchesNothingElse(t *testing.T) {
	t.Parallel()
	g := loop.New(t.Context(), quiet)
	done := make(chan struct{})
	g.Spawn("panics", func(context.Context) error { defer close(done); panic("oh") })
	<-done
	if g.Context().Err() != nil {
		t.Error("the group was canceled")
	}
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	g := loop.New(t.Context(), quiet)
	g.Go("panics", func(context.Context) error { panic("oh") })
	if err := g.Wait(); err == nil || !strings.Contains(err.Error(), "oh") {
		t.Error(err)
	}
}

func TestStopWaitsAndIsNoError(t *testing.T) {
	t.Parallel()
	g := loop.New(t.Context(), quiet)
	ended := false
	g.Go("waits", func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return context.Cause(ctx)
	})
	if err := g.Stop(); err != nil || !ended {
		t.Errorf("ended %v, %v", ended, err)
	}
	g.Go("late", func(context.Context) error { t.Error("started after Stop"); return nil })
	if err := g.Stop(); err != nil {
		t.Error(err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	err := loop.Run(t.Context(), untilDone, func(context.Context) error { return boom })
	if !errors.Is(err, boom) {
		t.Error(err)
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	b := loop.Backoff{Min: time.Microsecond, Max: time.Millisecond}
	for range 20 {
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b = loop.Backoff{Min: time.Hour, Max: time.Hour}
	if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
