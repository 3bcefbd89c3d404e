package link

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/internal/base/secret"
)

const (
	keepHanded = 4096             // tokens that either end keeps
	handedLeft = 10 * time.Minute // tokens that end sooner are asked for anew
)

// handed is what one gateway was told of a session's person. The hub gives it
// to all of them: a viewer may come to another one next, while the core is
// away. It is in memory only, at both ends.
type handed struct {
	askTokensMessage
	tokensMessage

	n uint64 // the hub's count, by which each stream knows where it is
}

func (h *Hub) version() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.policy.Version
}

// hand keeps m for every gateway, unless the table has changed since it was
// made: it may tell what was true before.
func (h *Hub) hand(m handed, version uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.policy.Version != version {
		return
	}
	now := time.Now()
	h.handed = slices.DeleteFunc(h.handed, func(o handed) bool {
		return o.askTokensMessage == m.askTokensMessage || o.Expires.Before(now)
	})
	if len(h.handed) >= keepHanded {
		h.handed = slices.Delete(h.handed, 0, keepHanded/4)
	}
	h.hands++
	m.n = h.hands
	h.handed = append(h.handed, m)
	h.wake()
}

// shelf has what a gateway was handed.
type shelf struct {
	mu sync.Mutex
	m  map[askTokensMessage]handed
}

func (s *shelf) put(m handed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.m, func(_ askTokensMessage, o handed) bool { return o.Expires.Before(now) })
	if s.m == nil || len(s.m) >= keepHanded {
		s.m = map[askTokensMessage]handed{}
	}
	s.m[m.askTokensMessage] = m
}

func (s *shelf) get(q askTokensMessage) (Tokens, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.m[q]
	if !ok || time.Until(m.Expires) < handedLeft {
		return Tokens{}, false
	}
	return m.tokens(), true
}

// follow forgets what was said of people who are others in the next table.
func (s *shelf) follow(old, next *Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.m, func(_ askTokensMessage, o handed) bool {
		before, was := old.People[o.User]
		after, is := next.People[o.User]
		return !was || !is || !reflect.DeepEqual(before, after)
	})
}

func (m tokensMessage) tokens() Tokens {
	return Tokens{User: m.User, IDToken: secret.New(m.ID), AccessToken: secret.New(m.Access), Expires: m.Expires}
}
