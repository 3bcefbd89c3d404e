package link

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// maxReport bounds what one report may hold.
const maxReport = 16 << 20

// Used is what a gateway measured of one app within a minute.
type Used struct {
	App      slipway.AppID            `json:"app"`
	At       time.Time                `json:"at"` // begin of the minute
	Requests int64                    `json:"requests"`
	Errors   int64                    `json:"errors,omitempty"`  // answers with a status of 500 and above
	Refused  int64                    `json:"refused,omitempty"` // from 400 to 499
	Latency  []int64                  `json:"latency,omitempty"` // answers by slipway.LatencyBuckets, and one more for longer ones
	Viewers  []slipway.UserID         `json:"viewers,omitempty"` // signed-in people who used it
	Opens    map[slipway.UserID]int64 `json:"opens,omitempty"`   // pages that each of them went to
}

// OnUsage says who takes what gateways measure. Call it before Handler.
func (h *Hub) OnUsage(take func(ctx context.Context, list []Used) error) { h.usage = take }

// takeUsage passes a gateway's report on.
func (h *Hub) takeUsage(w http.ResponseWriter, r *http.Request) {
	var list []Used
	err := json.NewDecoder(io.LimitReader(r.Body, maxReport)).Decode(&list)
	if err != nil {
		err = errs.Wrap(err, errs.KindInvalid, "the gateway's report cannot be read")
	} else if h.usage != nil {
		err = h.usage(r.Context(), list)
	}
	w.Header().Set("Content-Type", "application/json")
	if err == nil {
		_, _ = io.WriteString(w, "{}\n") // a gateway that has gone reports again
		return
	}
	kind := errs.KindOf(err)
	if kind == errs.KindInternal {
		h.log.ErrorContext(r.Context(), "a gateway's report could not be kept", "error", err)
	}
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(errorMessage{kind.String(), errs.Message(err)}) // as above
}

// Report tells the core what was measured.
func (c *Client) Report(ctx context.Context, list []Used) error {
	_, err := ask[struct{}](ctx, c, "/link/usage", list)
	return err
}

// Gateways counts those that are connected, and of them those that have not
// acknowledged the newest table for some time.
func (h *Hub) Gateways() (connected, late int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.peers {
		connected++
		if p.acked < h.policy.Version && time.Since(p.seen) > ackWait {
			late++
		}
	}
	return connected, late
}
