// Package people knows who may sign in: users and their roles, passwords,
// sessions, API tokens, and the keys that sign what others believe about them.
// What gateways must know is pushed to the link's hub after it is stored: a
// disabled person or an ended session is gone everywhere within two seconds.
package people

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

// Hub is where gateways learn about people; *link.Hub is one.
type Hub interface {
	SetKeys(sessions []link.SessionKey, apps json.RawMessage)
	SetPerson(id slipway.UserID, p *link.Person) uint64
	Revoke(sid slipway.SessionID, until time.Time) uint64
	Acked(ctx context.Context, version uint64) error
}

// Options of New.
type Options struct {
	DB    *store.DB
	Box   *secret.Box // seals signing keys
	Hub   Hub
	Hosts slipway.Hosts
	Log   *slog.Logger
	Now   func() time.Time // nil = time.Now
}

// Service is safe for use at once. It is a link.Backend.
type Service struct {
	Options
	slots chan struct{} // bounds the memory that hashing takes
	decoy string        // what a password of nobody is compared with
	// derive is argon2.IDKey, the work that a comparison takes.
	derive func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte

	pushing sync.Mutex // the hub gets a person's states in the order of the store
	keys    keyring
}

// New returns the service; Load fills the hub.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{
		Options: o, slots: make(chan struct{}, hashesAtOnce), decoy: hash(secret.Random(16).Reveal()), derive: argon2.IDKey,
		keys: keyring{opened: map[string]key{}},
	}
}

// now is whole microseconds, as the store keeps them.
func (s *Service) now() time.Time { return s.Now().UTC().Truncate(time.Microsecond) }

// Load makes missing keys and tells the hub everything. Call it before the hub
// is opened.
func (s *Service) Load(ctx context.Context) error {
	if err := s.rotate(ctx); err != nil {
		return err
	}
	var people []store.Person
	var ended []store.Session
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if people, err = tx.People("", "", 1<<31); err != nil {
			return err
		}
		ended, err = tx.EndedSessions(s.now())
		return err
	})
	if err != nil {
		return err
	}
	s.pushing.Lock()
	defer s.pushing.Unlock()
	for _, p := range people {
		s.Hub.SetPerson(p.ID, seenByGateways(p))
	}
	for _, e := range ended {
		s.Hub.Revoke(e.ID, e.Expires)
	}
	return nil
}

// Run rotates keys and removes what has served its time, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for loop.Sleep(ctx, 10*time.Minute) == nil {
		err := s.rotate(ctx)
		if err == nil {
			err = s.DB.Update(ctx, func(tx *store.Tx) error { return tx.ForgetOldPeopleRows(s.now()) })
		}
		if err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "housekeeping of people failed, and will be tried again", "error", err)
		}
	}
	return nil
}

// push tells the gateways how the person is now, and waits for them.
func (s *Service) push(ctx context.Context, id slipway.UserID) error {
	s.pushing.Lock()
	defer s.pushing.Unlock()
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = tx.Person(id)
		return err
	})
	if err != nil {
		return err
	}
	s.await(ctx, s.Hub.SetPerson(id, seenByGateways(p)))
	return nil
}

// await gives gateways the time to take a change. One that is slow gets it
// later: that is no failure of the change.
func (s *Service) await(ctx context.Context, version uint64) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := s.Hub.Acked(ctx, version); err != nil {
		s.Log.WarnContext(ctx, "a gateway is late in taking a change of people", "error", err)
	}
}

func seenByGateways(p store.Person) *link.Person {
	if p.Disabled {
		return nil
	}
	return &link.Person{Name: p.Name, Email: p.Email, FullName: p.FullName, Roles: p.Roles, Epoch: p.Epoch}
}

// me returns the person who asks after checking the verb on the own account.
func me(ctx context.Context, v access.Verb) (slipway.Actor, error) {
	a := slipway.ActorFrom(ctx)
	if a.User == nil {
		return a, errs.Unauthenticated("sign in first")
	}
	return a, access.Check(a, v, access.Account(a.User.ID))
}

// audit writes a line about what the actor in ctx has done.
func (s *Service) audit(ctx context.Context, tx *store.Tx, verb, object, detail string) error {
	a := slipway.ActorFrom(ctx)
	return tx.AddAudit(store.Audit{
		At: s.now(), Actor: a.Name(), Addr: a.Addr, Verb: verb, Object: object, Result: "ok", Detail: detail,
	})
}

// digest is how secrets that are long and random are kept.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// network is what back-off counts by: an address, or the part of an IPv6
// address that one customer has.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return "unknown"
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		p, err := ip.Prefix(64)
		if err == nil {
			return p.String()
		}
	}
	return ip.String()
}
