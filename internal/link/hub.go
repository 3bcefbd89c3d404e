package link

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

const (
	keepDeltas = 1024 // a gateway that missed more gets the whole table
	// ackWait is the longest wait for slow gateways: so long that one whose
	// machine died is found silent, and dropped, before the wait fails.
	ackWait = (patience + 2) * defaultBeat
)

// Hub holds the core's policy, hands it to gateways and knows what each has
// acknowledged. Its methods may be called at once from everywhere. What is
// passed in is kept: do not change it afterwards.
type Hub struct {
	log  *slog.Logger
	beat time.Duration

	usage func(ctx context.Context, list []Used) error // takes what gateways measure; nil = nobody

	mu      sync.Mutex
	policy  Policy
	deltas  []Delta // contiguous; the last one is policy.Version
	handed  []handed
	hands   uint64 // tokens handed out in this life
	open    bool
	closed  bool
	peers   map[*peer]struct{}
	changed chan struct{} // closed and replaced when anything here changes
}

// peer is one connected gateway.
type peer struct {
	id    string
	acked uint64
	seen  time.Time
}

// NewHub returns a hub with an empty table and a new epoch.
func NewHub(hosts slipway.Hosts, log *slog.Logger) *Hub {
	return &Hub{
		log:  log,
		beat: defaultBeat,
		policy: Policy{
			Epoch:    secret.Random(9).Reveal(),
			Hosts:    hosts,
			Routes:   map[string]Route{},
			People:   map[slipway.UserID]Person{},
			Revoked:  map[slipway.SessionID]time.Time{},
			Platform: map[string]string{},
		},
		peers:   map[*peer]struct{}{},
		changed: make(chan struct{}),
	}
}

// Open begins to hand out the table. A gateway takes a whole table as the
// truth, so a core that has just started fills the hub first: otherwise its
// gateways would forget every app until it is done.
func (h *Hub) Open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	h.wake()
}

// Close ends the gateways' streams, so that a core that stops need not wait for
// them. They serve on by what they have.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	h.wake()
}

// SetKeys replaces the keys that verify session tokens, newest first, and the
// key set (RFC 7517) by which apps verify what they are told of viewers.
func (h *Hub) SetKeys(sessions []SessionKey, apps json.RawMessage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if reflect.DeepEqual(h.policy.Keys, sessions) && bytes.Equal(h.policy.JWKS, apps) {
		return
	}
	h.policy.Keys, h.policy.JWKS = sessions, apps
	h.record(Delta{Keys: sessions, JWKS: apps})
}

// SetPlatform says which endpoints serve the platform's own hosts, by kind.
func (h *Hub) SetPlatform(endpoints map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if maps.Equal(h.policy.Platform, endpoints) {
		return
	}
	h.policy.Platform = maps.Clone(endpoints)
	h.record(Delta{})
	h.deltas = nil // deltas do not carry it: everybody gets the whole table
}

// SetBrand says how the gateways' own pages look.
func (h *Hub) SetBrand(b slipway.Branding) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.policy.Brand == b {
		return
	}
	h.policy.Brand = b
	h.record(Delta{})
	h.deltas = nil // as above
}

// SetRoute adds or replaces an app's route and returns the table's version
// that has it.
func (h *Hub) SetRoute(r Route) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.policy.Routes[r.Name]; ok && reflect.DeepEqual(old, r) {
		return h.policy.Version
	}
	h.policy.Routes[r.Name] = r
	return h.record(Delta{Routes: map[string]*Route{r.Name: &r}})
}

// RemoveRoute forgets an app.
func (h *Hub) RemoveRoute(name string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.policy.Routes[name]; !ok {
		return h.policy.Version
	}
	delete(h.policy.Routes, name)
	return h.record(Delta{Routes: map[string]*Route{name: nil}})
}

// SetPerson adds or replaces what gateways know of a person; nil ends all of
// the person's sessions.
func (h *Hub) SetPerson(id slipway.UserID, p *Person) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, ok := h.policy.People[id]
	if p == nil && !ok || p != nil && ok && reflect.DeepEqual(old, *p) {
		return h.policy.Version
	}
	if p == nil {
		delete(h.policy.People, id)
	} else {
		h.policy.People[id] = *p
	}
	h.handed = slices.DeleteFunc(h.handed, func(m handed) bool { return m.User == id })
	return h.record(Delta{People: map[slipway.UserID]*Person{id: p}})
}

// Revoke ends a session; until is when its tokens would have expired.
func (h *Hub) Revoke(sid slipway.SessionID, until time.Time) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.policy.Revoked[sid].Equal(until) {
		return h.policy.Version
	}
	forgetExpired(h.policy.Revoked)
	h.handed = slices.DeleteFunc(h.handed, func(m handed) bool { return m.Session == sid })
	h.policy.Revoked[sid] = until
	return h.record(Delta{Revoked: map[slipway.SessionID]time.Time{sid: until}})
}

func forgetExpired(m map[slipway.SessionID]time.Time) {
	now := time.Now()
	maps.DeleteFunc(m, func(_ slipway.SessionID, until time.Time) bool { return until.Before(now) })
}

// Snapshot returns the table as it is now. The caller may read it, not change
// what its entries point to.
func (h *Hub) Snapshot() *Policy {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.policy.clone()
}

// Acked waits until every connected gateway has acknowledged the version. A
// gateway that is not connected, or found dead, does not count: it gets the
// whole table when it comes. After ten seconds, or with ctx, it gives up.
func (h *Hub) Acked(ctx context.Context, version uint64) error {
	late := time.NewTimer(ackWait)
	defer late.Stop()
	for {
		h.mu.Lock()
		behind := 0
		for p := range h.peers {
			if p.acked < version {
				behind++
			}
		}
		changed := h.changed
		h.mu.Unlock()
		if behind == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return errs.Unavailable("%d of the gateways did not take the new table in time", behind)
		}
	}
}

// record gives d the next version, remembers it and wakes all who wait.
func (h *Hub) record(d Delta) uint64 {
	h.policy.Version++
	d.Version = h.policy.Version
	h.deltas = append(h.deltas, d)
	if len(h.deltas) > keepDeltas {
		h.deltas = append([]Delta(nil), h.deltas[keepDeltas/4:]...)
	}
	h.wake()
	return d.Version
}

func (h *Hub) wake() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// join adds a connection. An older one of the same gateway is dead even where
// nothing has told so yet: a machine that vanishes closes no connection.
func (h *Hub) join(p *peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.seen = time.Now()
	maps.DeleteFunc(h.peers, func(old *peer, _ struct{}) bool { return old.id == p.id })
	h.peers[p] = struct{}{}
	h.wake()
}

func (h *Hub) leave(p *peer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.peers, p)
	h.wake()
}

// ack notes what a gateway has taken; false when it is not connected.
func (h *Hub) ack(id, epoch string, version uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.peers {
		if p.id == id && epoch == h.policy.Epoch {
			p.acked, p.seen = max(p.acked, version), time.Now()
			h.wake()
			return true
		}
	}
	return false
}

// next returns what a gateway at a version of an epoch, with so many tokens
// handed, has not seen, and a channel that tells when there may be more: nil
// when the hub is closed.
func (h *Hub) next(epoch string, version, hands uint64) (frames []frame, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, nil
	case !h.open:
	case epoch == h.policy.Epoch && version == h.policy.Version:
	case epoch == h.policy.Epoch && version < h.policy.Version && h.policy.Version-version <= uint64(len(h.deltas)):
		missing := h.deltas[len(h.deltas)-int(h.policy.Version-version):]
		for i := range missing {
			frames = append(frames, frame{Delta: &missing[i]})
		}
	default:
		frames = []frame{{Policy: h.policy.clone()}}
	}
	for _, m := range h.handed {
		if h.open && m.n > hands {
			frames = append(frames, frame{Tokens: &m})
		}
	}
	return frames, h.changed
}

// silent tells for how long the gateway acknowledged nothing.
func (h *Hub) silent(p *peer) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(p.seen)
}
