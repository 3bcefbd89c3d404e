package link

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

const maxAsk = 64 << 10 // bytes of a gateway's question

// Tokens say to an app who its viewer is.
type Tokens struct {
	User                 slipway.UserID
	IDToken, AccessToken secret.String // compact JWTs
	Expires              time.Time     // at least an hour away
}

// Backend is what a gateway may ask the core.
type Backend interface {
	// Exchange makes a session token of a one-time code that was issued for the host.
	Exchange(ctx context.Context, code, host string) (token string, expires time.Time, err error)
	// AppTokens returns what an app gets to know of a session's person.
	AppTokens(ctx context.Context, sid slipway.SessionID, app slipway.AppID) (Tokens, error)
}

// The messages. Tokens travel in plain text: the socket is the platform's own.
type (
	ackMessage struct {
		Gateway string `json:"gateway"`
		Epoch   string `json:"epoch"`
		Version uint64 `json:"version"`
	}
	exchangeMessage struct {
		Code string `json:"code"`
		Host string `json:"host"`
	}
	sessionMessage struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires"`
	}
	askTokensMessage struct {
		Session slipway.SessionID `json:"session"`
		App     slipway.AppID     `json:"app"`
	}
	tokensMessage struct {
		User    slipway.UserID `json:"user"`
		ID      string         `json:"id_token"`
		Access  string         `json:"access_token"`
		Expires time.Time      `json:"expires"`
	}
	errorMessage struct {
		Kind    string `json:"kind"`
		Message string `json:"message"`
	}
)

// Handler serves gateways; b answers what they ask.
func (h *Hub) Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /link/policy", h.stream)
	mux.HandleFunc("POST /link/usage", h.takeUsage)
	mux.HandleFunc("POST /link/ack", func(w http.ResponseWriter, r *http.Request) {
		answer(h, w, r, func(_ context.Context, m ackMessage) (struct{}, error) {
			if !h.ack(m.Gateway, m.Epoch, m.Version) {
				return struct{}{}, errs.Conflict("this gateway is not connected to this life of the core")
			}
			return struct{}{}, nil
		})
	})
	mux.HandleFunc("POST /link/exchange", func(w http.ResponseWriter, r *http.Request) {
		answer(h, w, r, func(ctx context.Context, m exchangeMessage) (sessionMessage, error) {
			token, expires, err := b.Exchange(ctx, m.Code, m.Host)
			return sessionMessage{token, expires}, err
		})
	})
	mux.HandleFunc("POST /link/tokens", func(w http.ResponseWriter, r *http.Request) {
		answer(h, w, r, func(ctx context.Context, m askTokensMessage) (tokensMessage, error) {
			version := h.version()
			t, err := b.AppTokens(ctx, m.Session, m.App)
			out := tokensMessage{t.User, t.IDToken.Reveal(), t.AccessToken.Reveal(), t.Expires}
			if err == nil {
				h.hand(handed{askTokensMessage: m, tokensMessage: out}, version)
			}
			return out, err
		})
	})
	return mux
}

// answer decodes the question, calls fn and encodes what it returns. Errors
// keep their kind over the link.
func answer[In, Out any](h *Hub, w http.ResponseWriter, r *http.Request, fn func(context.Context, In) (Out, error)) {
	var in In
	err := json.NewDecoder(io.LimitReader(r.Body, maxAsk)).Decode(&in)
	if err != nil {
		err = errs.Wrap(err, errs.KindInvalid, "the gateway's question cannot be read")
	}
	var out any
	if err == nil {
		out, err = fn(r.Context(), in)
	}
	status := http.StatusOK
	if err != nil {
		kind := errs.KindOf(err)
		if kind == errs.KindInternal {
			h.log.ErrorContext(r.Context(), "a gateway's question failed", "path", r.URL.Path, "error", err)
		}
		status, out = http.StatusUnprocessableEntity, errorMessage{kind.String(), errs.Message(err)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out) //nolint:errcheck // the gateway has gone
}

// stream sends the table, or what is missing of it, then every change, and a
// heartbeat when there is none. It ends when the gateway goes or stops
// acknowledging.
func (h *Hub) stream(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	epoch := q.Get("epoch")
	version, _ := strconv.ParseUint(q.Get("version"), 10, 64)
	var hands uint64
	p := &peer{id: q.Get("gateway")}
	h.join(p)
	defer h.leave(p)
	h.log.Info("a gateway is connected", "gateway", p.id)
	defer h.log.Info("a gateway is gone", "gateway", p.id)

	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	beat := time.NewTicker(h.beat)
	defer beat.Stop()
	beats := []frame{{}} // the first line tells the gateway that it is connected
	for {
		frames, changed := h.next(epoch, version, hands)
		if changed == nil {
			return
		}
		for _, f := range append(frames, beats...) {
			out.SetWriteDeadline(time.Now().Add(patience * h.beat)) //nolint:errcheck // then the write blocks longer
			if enc.Encode(f) != nil {
				return
			}
			switch {
			case f.Policy != nil:
				epoch, version = f.Policy.Epoch, f.Policy.Version
			case f.Delta != nil:
				version = f.Delta.Version
			case f.Tokens != nil:
				hands = f.Tokens.n
			}
		}
		if out.Flush() != nil {
			return
		}
		beats = nil
		select {
		case <-changed:
		case <-beat.C:
			if h.silent(p) > patience*h.beat {
				h.log.Warn("a gateway acknowledges nothing: its connection is closed", "gateway", p.id)
				return
			}
			beats = []frame{{}}
		case <-r.Context().Done():
			return
		}
	}
}
