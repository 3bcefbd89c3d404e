package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
)

// Streams say something at least this often, so that no proxy ends them, and
// give a client that does not read this long.
const (
	pingEvery    = 15 * time.Second
	askEvery     = time.Second // whether the caller still may
	writeTimeout = 30 * time.Second
)

var errStreamEnd = errors.New("the stream is at its end")

// sender writes server-sent events.
type sender struct {
	mu sync.Mutex
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *sender) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

// send writes one event; an empty id is not written.
func (s *sender) send(id, event string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	text := "event: " + event + "\ndata: " + string(data) + "\n\n"
	if id != "" {
		text = "id: " + id + "\n" + text
	}
	return s.write(text)
}

// stream answers with what fn sends, for as long as may allows it: a stream may
// last for days, and who may see it changes. When fn returns nil the client is
// told that there is no more; an error is sent as the last event.
func (s *server) stream(may func(ctx context.Context) error, fn func(ctx context.Context, out *sender) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		out := &sender{w: w, rc: http.NewResponseController(w)}
		ctx := hc.Context()
		err := loop.Run(ctx,
			func(ctx context.Context) error {
				if err := out.write(": hello\n\n"); err != nil {
					return err
				}
				if err := fn(ctx, out); err != nil {
					return err
				}
				return errStreamEnd
			},
			func(ctx context.Context) error {
				for loop.Sleep(ctx, askEvery) == nil {
					if err := s.askAgain(ctx, r, may); err != nil {
						return err
					}
				}
				return nil
			},
			func(ctx context.Context) error {
				for loop.Sleep(ctx, pingEvery) == nil {
					if err := out.write(": still here\n\n"); err != nil {
						return err
					}
				}
				return nil
			})
		switch {
		case ctx.Err() != nil: // the client is gone
		case errors.Is(err, errStreamEnd):
			_ = out.send("", "end", struct{}{}) // nobody is left to tell
		default:
			_ = out.send("", "error", s.problem(ctx, err)) // as above
		}
	}}
}

// askAgain checks a request's credentials as they are now, and what they allow.
func (s *server) askAgain(ctx context.Context, r *http.Request, may func(ctx context.Context) error) error {
	actor, err := s.actor(r)
	if err == nil {
		err = may(slipway.WithActor(ctx, actor))
	}
	if ctx.Err() != nil {
		return nil // it is over anyway
	}
	return err
}

// eventStream documents a stream of T.
func eventStream(schema *huma.Schema, what string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: fmt.Sprintf("Server-sent events whose data is %s; after a break, Last-Event-ID goes on behind the one named. "+
			"The event `end` is the last, or `error` with a problem.", what),
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}},
	}}
}
