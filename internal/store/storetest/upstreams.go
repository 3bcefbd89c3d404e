package storetest

import (
	"bytes"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/store"
)

func (s *suite) upstreams() {
	a, other := s.add("iris"), s.add("other")
	is := func(want *store.Upstream) {
		s.Helper()
		s.view(func(tx *store.Tx) error {
			got, err := tx.Upstream(a.ID)
			if (got == nil) != (want == nil) || got != nil && (got.Upstream != want.Upstream || !bytes.Equal(got.Sealed, want.Sealed)) {
				s.Errorf("%+v, want %+v", got, want)
			}
			return err
		})
	}
	is(nil)
	one := store.Upstream{Upstream: slipway.Upstream{URL: "https://git.example.com/a", Ref: "main", User: "me", Token: true}, Sealed: []byte{0, 1}}
	two := store.Upstream{Upstream: slipway.Upstream{URL: "https://git.example.com/b"}}
	for _, u := range []*store.Upstream{&one, &two, &one, nil} {
		s.update(func(tx *store.Tx) error { return tx.SetUpstream(a.ID, u) })
		is(u)
	}
	s.update(func(tx *store.Tx) error { return tx.SetUpstream(other.ID, &one) })
	is(nil)
}
