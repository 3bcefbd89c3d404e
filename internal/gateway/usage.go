package gateway

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/link"
)

const (
	reportEvery = 15 * time.Second
	reportSize  = 500    // apps and minutes in one report
	maxCells    = 50_000 // kept while the core is away; what is more is lost
)

// usage sums up what happens to each app in each minute, for the core.
type usage struct {
	mu    sync.Mutex
	cells map[cellKey]*cell
}

type cellKey struct {
	app slipway.AppID
	at  int64 // begin of the minute, Unix seconds
}

type cell struct {
	requests, errors, refused int64
	latency                   [len(slipway.LatencyBuckets) + 1]int64
	viewers                   map[slipway.UserID]int64 // pages that each went to
}

func newUsage() *usage { return &usage{cells: map[cellKey]*cell{}} }

// at returns the cell, with the lock held; nil when there are too many.
func (u *usage) at(k cellKey) *cell {
	c := u.cells[k]
	if c == nil && len(u.cells) < maxCells {
		c = &cell{viewers: map[slipway.UserID]int64{}}
		u.cells[k] = c
	}
	return c
}

// add counts one exchange with an app.
func (u *usage) add(r *http.Request, x *exchange, status int, took time.Duration) {
	if x.visitor.app == "" {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	c := u.at(cellKey{x.visitor.app, x.began.Truncate(time.Minute).Unix()})
	if c == nil {
		return
	}
	c.requests++
	switch {
	case status >= 500:
		c.errors++
	case status >= 400:
		c.refused++
	}
	if status != http.StatusSwitchingProtocols { // a socket's life is no answer's time
		i, _ := slices.BinarySearch(slipway.LatencyBuckets[:], float64(took)/float64(time.Millisecond))
		c.latency[i]++
	}
	if x.session == nil {
		return
	}
	n := c.viewers[x.session.User]
	if status < 400 && isPage(r) {
		n++
	}
	c.viewers[x.session.User] = n
}

// isPage reports whether a person went to a page, in contrast to what the page
// asks for by itself.
func isPage(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate" && r.Header.Get("Sec-Fetch-Dest") != "iframe"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// take removes what was counted, a report's worth at most.
func (u *usage) take() []link.Used {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []link.Used
	for k, c := range u.cells {
		if len(out) == reportSize {
			break
		}
		delete(u.cells, k)
		one := link.Used{
			App: k.app, At: time.Unix(k.at, 0).UTC(), Requests: c.requests, Errors: c.errors, Refused: c.refused,
			Latency: c.latency[:], Viewers: slices.Collect(maps.Keys(c.viewers)), Opens: map[slipway.UserID]int64{},
		}
		for id, n := range c.viewers {
			if n > 0 {
				one.Opens[id] = n
			}
		}
		out = append(out, one)
	}
	return out
}

// giveBack adds what could not be reported.
func (u *usage) giveBack(list []link.Used) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, o := range list {
		c := u.at(cellKey{o.App, o.At.Unix()})
		if c == nil {
			continue
		}
		c.requests += o.Requests
		c.errors += o.Errors
		c.refused += o.Refused
		for i, n := range o.Latency {
			c.latency[i] += n
		}
		for _, id := range o.Viewers {
			c.viewers[id] += o.Opens[id]
		}
	}
}

// report tells the core what was counted, again and again, and once more at
// the end.
func (s *Server) report(ctx context.Context) error {
	for {
		over := loop.Sleep(ctx, reportEvery) != nil
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		for list := s.usage.take(); len(list) > 0; list = s.usage.take() {
			if err := s.Report(call, list); err != nil {
				s.usage.giveBack(list) // the core is away
				break
			}
		}
		cancel()
		if over {
			return nil
		}
	}
}
