package people

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/store"
)

// Nobody can learn from how long a sign-in takes whether there is such a
// person: each try does the same work, once.
func TestUnknownTakesAsLong(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s := New(Options{DB: db, Log: slog.New(slog.DiscardHandler)})
	type work struct {
		passes, memory, length uint32
		threads                uint8
		salt, password         int
	}
	var done []work
	s.derive = func(password, salt []byte, passes, memory uint32, threads uint8, length uint32) []byte {
		done = append(done, work{passes, memory, length, threads, len(salt), len(password)})
		return argon2.IDKey(password, salt, passes, memory, threads, length)
	}
	if err := db.Update(t.Context(), func(tx *store.Tx) error {
		for name, p := range map[string]store.Person{
			"alice": {Password: hash("correct-horse-battery")}, "never": {},
			"gone": {User: slipway.User{Disabled: true}, Password: hash("correct-horse-battery")},
		} {
			p.ID, p.Name, p.Created, p.Epoch = slipway.UserID(slipway.NewID("user")), name, time.Now(), 1
			if err := tx.AddPerson(p); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := work{argonPasses, argonMemory, hashBytes, argonThreads, saltBytes, len("wrong-password")}
	for _, name := range []string{"alice", "gone", "never", "nobody", ""} {
		done = nil
		if _, err := s.SignIn(t.Context(), SignIn{Name: name, Password: "wrong-password", Addr: "192.0.2.1"}); !errs.Is(err, errs.KindUnauthenticated) {
			t.Errorf("%q: %v", name, err)
		}
		if len(done) != 1 || done[0] != want {
			t.Errorf("%q took %+v, wanted once %+v", name, done, want)
		}
	}
}
