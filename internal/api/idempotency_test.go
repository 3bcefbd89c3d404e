package api

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
)

func as(t *testing.T, id slipway.UserID) context.Context {
	return slipway.WithActor(t.Context(), slipway.Actor{User: &slipway.User{ID: id}})
}

func TestOnce(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := newAnswers(func() time.Time { return now })
	calls := 0
	call := func(ctx context.Context, key, input string, err error) (int, error) {
		out, err := once(ctx, a, key, input, func() (*int, error) {
			calls++
			n := calls
			return &n, err
		})
		if err != nil {
			return 0, err
		}
		return *out, nil
	}
	ada, bob := as(t, "ada"), as(t, "bob")

	if _, err := call(ada, "k", "x", errors.New("broken")); err == nil {
		t.Fatal("a failure is an answer")
	}
	for range 2 { // a failure is not remembered, a success is
		if n, err := call(ada, "k", "x", nil); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := call(ada, "k", "y", nil); !errs.Is(err, errs.KindConflict) {
		t.Error("another input:", err)
	}
	if n, err := call(bob, "k", "y", nil); n != 3 || err != nil {
		t.Error("another person:", n, err)
	}
	reads := slipway.WithActor(t.Context(), slipway.Actor{User: &slipway.User{ID: "ada"}, Token: "tok_1", Scopes: []slipway.Scope{slipway.ScopeRead}})
	if _, err := call(reads, "k", "x", errs.Denied("it may not")); !errs.Is(err, errs.KindDenied) {
		t.Error("a token that may not create hears what was made:", err)
	}
	calls--
	if n, err := call(ada, "", "x", nil); n != 4 || err != nil {
		t.Error("without a key:", n, err)
	}
	now = now.Add(answerLife + time.Second)
	if n, err := call(ada, "k", "y", nil); n != 5 || err != nil {
		t.Error("after a day:", n, err)
	}
}

func TestOnceAtOnce(t *testing.T) {
	t.Parallel()
	a := newAnswers(time.Now)
	var calls atomic.Int32
	one := func(context.Context) error {
		_, err := once(as(t, "ada"), a, "k", "x", func() (*int, error) {
			if calls.Add(1) == 1 {
				return nil, errors.New("the first fails") // another takes its turn
			}
			n := 1
			return &n, nil
		})
		if err != nil && err.Error() != "the first fails" {
			return err
		}
		return nil
	}
	if err := loop.Run(t.Context(), one, one, one, one); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
}
