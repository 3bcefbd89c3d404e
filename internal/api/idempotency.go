package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// How many answers are kept, and for how long. They are lost with the process:
// a repeat after that meets what the first made, as a Conflict.
const (
	maxAnswers = 10_000
	answerLife = 24 * time.Hour
)

// answers remembers what creates answered, by person, what they may, and Idempotency-Key.
type answers struct {
	now func() time.Time

	mu    sync.Mutex
	byKey map[string]*answer
	order []string // oldest first; may name what is gone
}

type answer struct {
	input [sha256.Size]byte
	at    time.Time
	done  chan struct{} // closed when out or err is there
	out   any
	err   error
}

func newAnswers(now func() time.Time) *answers {
	return &answers{now: now, byKey: map[string]*answer{}}
}

// once calls fn, or returns what an earlier call with the same key returned.
// Failures are not remembered. The same key with another input is Conflict.
func once[O any](ctx context.Context, a *answers, key string, input any, fn func() (*O, error)) (*O, error) {
	if key == "" {
		return fn()
	}
	if len(key) > 200 {
		return nil, errs.Invalid("the Idempotency-Key is too long: at most 200 characters")
	}
	actor := slipway.ActorFrom(ctx)
	if actor.User == nil {
		return fn()
	}
	text, err := json.Marshal(input)
	if err != nil {
		return nil, err
	}
	// By scopes too: a token that may not create must not hear what one that
	// may has made.
	key, sum := fmt.Sprint(actor.User.ID, actor.Token != "", actor.Scopes)+" "+key, sha256.Sum256(text)
	for {
		e, mine := a.claim(key, sum)
		if e.input != sum {
			return nil, errs.Conflict("this Idempotency-Key was used for another request: use a new one for each")
		}
		if mine {
			out, err := fn()
			a.settle(key, e, out, err)
			return out, err
		}
		select {
		case <-e.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if out, ok := e.out.(*O); ok && e.err == nil {
			return out, nil
		}
		// The other one failed, and was forgotten: it is our turn.
	}
}

// claim returns the answer under key, and whether the caller is to make it.
func (a *answers) claim(key string, input [sha256.Size]byte) (*answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.order) > 0 {
		e := a.byKey[a.order[0]]
		if e != nil && len(a.order) <= maxAnswers && a.now().Sub(e.at) < answerLife {
			break
		}
		delete(a.byKey, a.order[0])
		a.order = a.order[1:]
	}
	if e := a.byKey[key]; e != nil {
		return e, false
	}
	e := &answer{input: input, at: a.now(), done: make(chan struct{})}
	a.byKey[key] = e
	a.order = append(a.order, key)
	return e, true
}

func (a *answers) settle(key string, e *answer, out any, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e.out, e.err = out, err
	if err != nil && a.byKey[key] == e {
		delete(a.byKey, key)
	}
	close(e.done)
}
