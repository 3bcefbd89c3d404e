// Package loop starts goroutines and waits for them. It is the only package
// that holds a go statement: whatever runs in the background is started here,
// by a Group that somebody stops.
package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"
)

// Group is a set of goroutines with one life. The zero value is not usable.
type Group struct {
	ctx    context.Context //nolint:containedctx // the root of what it starts
	cancel context.CancelCauseFunc
	log    *slog.Logger
	wg     sync.WaitGroup

	mu     sync.Mutex
	err    error
	closed bool
}

// ErrStopped is the cause of the context after Stop.
var ErrStopped = errors.New("stopped")

// New returns a group whose goroutines end with ctx or with Stop.
func New(ctx context.Context, log *slog.Logger) *Group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &Group{ctx: ctx, cancel: cancel, log: log}
}

// Context is what the group's goroutines get.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs fn. When fn returns an error or panics, the others are canceled and
// Wait returns the first such error; an error after the group was stopped is
// not one. After Stop, Go does nothing.
func (g *Group) Go(name string, fn func(ctx context.Context) error) {
	g.start(name, fn, true)
}

// Spawn runs fn like Go, but its failure is logged and touches nothing else:
// for work that belongs to one request or one app.
func (g *Group) Spawn(name string, fn func(ctx context.Context) error) {
	g.start(name, fn, false)
}

func (g *Group) start(name string, fn func(ctx context.Context) error, fatal bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return
	}
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		err := protect(fn, g.ctx)
		if err == nil || g.ctx.Err() != nil {
			return
		}
		if !fatal {
			g.log.Error("background work failed", "name", name, "error", err)
			return
		}
		g.mu.Lock()
		if g.err == nil {
			g.err = fmt.Errorf("%s: %w", name, err)
		}
		g.mu.Unlock()
		g.cancel(err)
	}()
}

func protect(fn func(context.Context) error, ctx context.Context) (err error) { //nolint:revive // fn reads first
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(ctx)
}

// Wait waits until every goroutine has ended.
func (g *Group) Wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Stop cancels the goroutines and waits for them.
func (g *Group) Stop() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel(ErrStopped)
	return g.Wait()
}

// Run calls all fns at once and waits for them. The first error cancels the
// others and is returned.
func Run(ctx context.Context, fns ...func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, len(fns))
	for _, fn := range fns {
		go func() { done <- protect(fn, ctx) }()
	}
	var first error
	for range fns {
		if err := <-done; err != nil {
			if first == nil {
				first = err
			}
			cancel()
		}
	}
	return first
}

// Backoff is a waiting time that doubles from Min to Max, with jitter.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Reset starts again at Min.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for the next, longer time; it returns ctx's error when that ends first.
func (b *Backoff) Wait(ctx context.Context) error {
	b.next = min(max(b.Min, 2*b.next), b.Max)
	return Sleep(ctx, b.next-time.Duration(rand.Int64N(int64(b.next/4)+1)))
}

// Sleep waits for d or for the end of ctx, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
