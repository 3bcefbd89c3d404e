package people_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/session"
	"slipway.dev/slipway/internal/store"
)

const good = "correct-horse-battery"

var hosts = slipway.Hosts{Scheme: "https", Base: "slipway.localhost", Port: "8443"}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type world struct {
	*people.Service
	db    *store.DB
	hub   *link.Hub
	clock *clock
	box   *secret.Box
	admin context.Context //nolint:containedctx // in which the administrator acts
	root  slipway.User
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "slipway.db"))
	ok(t, err)
	t.Cleanup(func() { ok(t, db.Close()) })
	box, err := secret.OpenBox(filepath.Join(dir, "key"))
	ok(t, err)
	w := &world{db: db, box: box, clock: &clock{now: time.Now().Truncate(time.Second)}}
	w.restart(t)
	w.root, err = w.Bootstrap(t.Context(), "Admin", secret.New(good))
	ok(t, err)
	w.admin = slipway.WithActor(t.Context(), slipway.Actor{User: &w.root, Addr: "192.0.2.1"})
	return w
}

// restart makes a new service and hub on the same data.
func (w *world) restart(t *testing.T) {
	t.Helper()
	w.hub = link.NewHub(hosts, slog.New(slog.DiscardHandler))
	w.Service = people.New(people.Options{
		DB: w.db, Box: w.box, Hub: w.hub, Hosts: hosts, Log: slog.New(slog.DiscardHandler), Now: w.clock.Now,
	})
	ok(t, w.Load(t.Context()))
}

func (w *world) create(t *testing.T, name string, roles ...slipway.Role) slipway.User {
	t.Helper()
	u, err := w.Create(w.admin, people.CreateUser{Name: name, Password: secret.New(good), Roles: roles})
	ok(t, err)
	return u
}

// signIn returns the context in which the new session acts, and its cookie.
func (w *world) signIn(t *testing.T, name string) (context.Context, people.SignedIn) {
	t.Helper()
	got, err := w.SignIn(t.Context(), people.SignIn{Name: name, Password: good, Addr: "192.0.2.7", Agent: "test"})
	ok(t, err)
	a, err := w.Session(t.Context(), got.Cookie.Reveal())
	ok(t, err)
	return slipway.WithActor(t.Context(), a), got
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err error, k errs.Kind) {
	t.Helper()
	if !errs.Is(err, k) {
		t.Fatalf("got %v, want an error of kind %s", err, k)
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if w.root.Name != "admin" || !w.root.Has(slipway.RoleAdmin) || !w.root.Has(slipway.RoleLicensed) {
		t.Errorf("the first administrator is %+v", w.root)
	}
	_, err := w.Bootstrap(t.Context(), "second", secret.New(good))
	is(t, err, errs.KindConflict)

	_, err = w.Create(w.admin, people.CreateUser{Name: "no spaces", Password: secret.New("short"), Email: "x", Roles: []slipway.Role{"root"}})
	is(t, err, errs.KindInvalid)
	if f := errs.FieldsOf(err); len(f) != 4 {
		t.Errorf("not every problem is told: %v", f)
	}
	for _, pw := range []string{"carol-carol", "aaaaaaaaaaaaaa", strings.Repeat("ab", 600)} {
		_, err = w.Create(w.admin, people.CreateUser{Name: "carol-carol", Password: secret.New(pw)})
		is(t, err, errs.KindInvalid)
	}
	alice := w.create(t, "Alice", slipway.RoleLicensed, slipway.RoleViewer, slipway.RoleLicensed)
	if alice.Name != "alice" || len(alice.Roles) != 1 {
		t.Errorf("got %+v", alice)
	}
	_, err = w.Create(w.admin, people.CreateUser{Name: "ALICE", Password: secret.New(good)})
	is(t, err, errs.KindConflict)

	as := slipway.WithActor(t.Context(), slipway.Actor{User: &alice})
	_, err = w.Create(as, people.CreateUser{Name: "eve", Password: secret.New(good)})
	is(t, err, errs.KindDenied)
	_, err = w.Get(as, "admin")
	is(t, err, errs.KindNotFound)
	_, err2 := w.Get(as, "nobody")
	if err2 == nil || err.Error() != err2.Error() {
		t.Errorf("who is there can be told: %v, %v", err, err2)
	}
	_, err = w.List(as, people.UserFilter{})
	is(t, err, errs.KindDenied)
	name := "Alice Liddell"
	_, err = w.Update(as, "alice", people.UserPatch{FullName: &name})
	ok(t, err)
	mail := "root@example.com" // apps believe it
	_, err = w.Update(as, "alice", people.UserPatch{Email: &mail})
	is(t, err, errs.KindDenied)
	roles := []slipway.Role{slipway.RoleAdmin}
	_, err = w.Update(as, "alice", people.UserPatch{Roles: &roles})
	is(t, err, errs.KindDenied)

	none := []slipway.Role{}
	_, err = w.Update(w.admin, "admin", people.UserPatch{Roles: &none})
	is(t, err, errs.KindConflict)
	_, err = w.Update(w.admin, "nobody", people.UserPatch{Roles: &none})
	is(t, err, errs.KindNotFound)

	w.create(t, "al_x")
	page, err := w.List(w.admin, people.UserFilter{Limit: 2})
	ok(t, err)
	if len(page.Items) != 2 || page.Items[0].Name != "admin" || page.Next == "" {
		t.Errorf("first page: %+v", page)
	}
	page, err = w.List(w.admin, people.UserFilter{Limit: 2, Cursor: page.Next})
	ok(t, err)
	if len(page.Items) != 1 || page.Items[0].FullName != name || page.Next != "" {
		t.Errorf("last page: %+v", page)
	}
	page, err = w.List(w.admin, people.UserFilter{Query: "_"})
	ok(t, err)
	if len(page.Items) != 1 || page.Items[0].Name != "al_x" {
		t.Errorf("a query is no pattern: %+v", page)
	}
	if p := w.hub.Snapshot().People[alice.ID]; p.Name != "alice" || p.FullName != name {
		t.Errorf("gateways know %+v", p)
	}
}

func TestDisable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice")
	ctx, got := w.signIn(t, "alice")
	tok, err := w.CreateToken(ctx, people.CreateToken{Name: "ci", Scopes: []slipway.Scope{slipway.ScopeAll}})
	ok(t, err)
	before := w.hub.Snapshot().People[alice.ID].Epoch
	yes, no := true, false
	_, err = w.Update(w.admin, "alice", people.UserPatch{Disabled: &yes})
	ok(t, err)
	if _, there := w.hub.Snapshot().People[alice.ID]; there {
		t.Error("gateways still know a disabled person")
	}
	_, err = w.Session(t.Context(), got.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	_, err = w.Token(t.Context(), tok.Secret.Reveal())
	is(t, err, errs.KindUnauthenticated)
	_, err = w.AppTokens(t.Context(), got.Session.ID, "app_1")
	is(t, err, errs.KindUnauthenticated)
	_, err = w.Subject(t.Context(), alice.ID)
	is(t, err, errs.KindNotFound)
	_, err = w.SignIn(t.Context(), people.SignIn{Name: "alice", Password: good})
	is(t, err, errs.KindDenied)
	w.restart(t)
	if _, there := w.hub.Snapshot().People[alice.ID]; there {
		t.Error("after a restart gateways know a disabled person")
	}
	_, err = w.Update(w.admin, "alice", people.UserPatch{Disabled: &no})
	ok(t, err)
	if e := w.hub.Snapshot().People[alice.ID].Epoch; e <= before {
		t.Errorf("epoch %d is not above %d: old tokens are good again", e, before)
	}
	_, err = w.Session(t.Context(), got.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
}

func TestBackOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "alice")
	try := func(name, pw, addr string) error {
		_, err := w.SignIn(t.Context(), people.SignIn{Name: name, Password: pw, Addr: addr})
		return err
	}
	const addr = "198.51.100.4"
	for range 6 {
		is(t, try("alice", "wrong", addr), errs.KindUnauthenticated)
		w.clock.add(1100 * time.Millisecond)
	}
	err := try("alice", good, addr)
	is(t, err, errs.KindExhausted)
	if f := errs.FieldsOf(err); !strings.Contains(errs.Message(err), "try again in 1 seconds") || len(f) != 1 || f[0].Message != "1" {
		t.Errorf("the error does not say how long: %v", err)
	}
	ok(t, try("alice", good, "198.51.100.5")) // others are not locked out
	w.clock.add(2 * time.Second)
	ok(t, try("alice", good, addr)) // and a right password clears it
	is(t, try("alice", "wrong", addr), errs.KindUnauthenticated)
	ok(t, try("alice", good, addr))

	// One address that tries many names.
	for i := range 40 {
		err = try("user"+strings.Repeat("x", i), "wrong", "2001:db8::"+string(rune('a'+i%6)))
		if errs.Is(err, errs.KindExhausted) {
			break
		}
	}
	is(t, err, errs.KindExhausted)
	is(t, try("alice", good, "2001:db8::ffff"), errs.KindExhausted) // the same network
	ok(t, try("alice", good, "2001:db8:1::1"))
	w.clock.add(3 * time.Hour)
	ok(t, try("alice", good, "2001:db8::1"))

	var failures int
	ok(t, w.db.View(t.Context(), func(tx *store.Tx) error {
		trail, err := tx.AuditTrail(200)
		for _, a := range trail {
			if a.Verb == "session.sign_in" && a.Result == "unauthenticated" {
				failures++
			}
		}
		return err
	}))
	if failures < 30 {
		t.Errorf("the audit trail has %d failures", failures)
	}
}

// Who is there must not be told by the time that a wrong password takes.
func TestSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice")
	ctx, one := w.signIn(t, "alice")
	w.clock.add(time.Second)
	ctx2, two := w.signIn(t, "alice")
	list, err := w.Sessions(ctx)
	ok(t, err)
	if len(list) != 2 || list[0].ID != two.Session.ID || !list[1].Current || list[1].Agent != "test" {
		t.Errorf("got %+v", list)
	}
	for _, text := range []string{"", string(one.Session.ID), strings.Repeat("a", 200)} {
		_, err = w.Session(t.Context(), text)
		is(t, err, errs.KindUnauthenticated)
	}
	_, err = w.ActorFromAPICookie(t.Context(), one.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated) // a secret is good on its own host only

	// Signing in again in the same browser ends the session before.
	three, err := w.SignIn(t.Context(), people.SignIn{Name: "alice", Password: good, Cookie: two.Cookie.Reveal()})
	ok(t, err)
	_, err = w.Session(t.Context(), two.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	is(t, w.SignOut(slipway.WithActor(t.Context(), slipway.Actor{})), errs.KindUnauthenticated)
	if _, revoked := w.hub.Snapshot().Revoked[two.Session.ID]; !revoked {
		t.Error("gateways do not know of the end")
	}

	// Of others nothing can be ended.
	w.create(t, "bob")
	bob, _ := w.signIn(t, "bob")
	is(t, w.EndSession(bob, one.Session.ID), errs.KindNotFound)
	ok(t, w.EndSession(ctx, three.Session.ID))
	_, err = w.Session(t.Context(), three.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	ok(t, w.SignOut(ctx))
	_, err = w.Session(t.Context(), one.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	w.restart(t)
	if _, revoked := w.hub.Snapshot().Revoked[one.Session.ID]; !revoked {
		t.Error("after a restart gateways do not know of the end")
	}

	// A new password ends the others and voids what gateways hold.
	ctx, one = w.signIn(t, "alice")
	_, two = w.signIn(t, "alice")
	epoch := w.hub.Snapshot().People[alice.ID].Epoch
	is(t, w.SetPassword(ctx, "alice", people.SetPassword{New: secret.New("another-long-one")}), errs.KindInvalid)
	is(t, w.SetPassword(ctx, "alice", people.SetPassword{Old: secret.New("wrong"), New: secret.New("another-long-one")}), errs.KindInvalid)
	is(t, w.SetPassword(bob, "alice", people.SetPassword{New: secret.New("another-long-one")}), errs.KindNotFound)
	ok(t, w.SetPassword(ctx, "alice", people.SetPassword{Old: secret.New(good), New: secret.New("another-long-one")}))
	_, err = w.Session(t.Context(), one.Cookie.Reveal())
	ok(t, err)
	_, err = w.Session(t.Context(), two.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	if e := w.hub.Snapshot().People[alice.ID].Epoch; e != epoch+1 {
		t.Errorf("epoch %d after %d", e, epoch)
	}
	ok(t, w.SetPassword(w.admin, "alice", people.SetPassword{New: secret.New(good)}))
	_ = ctx2
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "alice")
	ctx, one := w.signIn(t, "alice")
	for range 7 { // used every day, it lasts a week
		_, err := w.Session(t.Context(), one.Cookie.Reveal())
		ok(t, err)
		w.clock.add(23 * time.Hour)
	}
	w.clock.add(8 * time.Hour)
	_, err := w.Session(t.Context(), one.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	_, idle := w.signIn(t, "alice")
	w.clock.add(25 * time.Hour)
	_, err = w.Session(t.Context(), idle.Cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	list, err := w.Sessions(ctx)
	ok(t, err)
	if len(list) != 0 {
		t.Errorf("sessions that are over are listed: %+v", list)
	}
}

func TestHandoff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice")
	ctx, one := w.signIn(t, "alice")
	const base = "slipway.localhost"
	code := func(host string) string {
		c, err := w.Handoff(t.Context(), one.Session.ID, host)
		ok(t, err)
		return c
	}
	token, expires, err := w.Exchange(t.Context(), code(base), base)
	ok(t, err)
	c, err := session.Verify(w.hub.Snapshot().Keys, token, w.clock.Now())
	ok(t, err)
	if c.User != alice.ID || c.Session != one.Session.ID || c.Host != base || !c.Expires.Equal(expires) ||
		c.Epoch != w.hub.Snapshot().People[alice.ID].Epoch {
		t.Errorf("the token says %+v", c)
	}
	bad := func(code, host string) {
		t.Helper()
		_, _, err := w.Exchange(t.Context(), code, host)
		is(t, err, errs.KindUnauthenticated)
	}
	used := code(base)
	_, _, err = w.Exchange(t.Context(), used, base)
	ok(t, err)
	bad(used, base)
	other := code("myapp-" + base)
	bad(other, base)
	bad(other, "myapp-"+base) // a wrong host has used it up
	late := code(base)
	w.clock.add(61 * time.Second)
	bad(late, base)
	bad("", base)
	for _, host := range []string{"evil.example", "auth-" + base, "git-" + base, "a.b-" + base, ""} {
		_, err := w.Handoff(t.Context(), one.Session.ID, host)
		is(t, err, errs.KindInvalid)
	}

	api := code("api-" + base)
	bad2 := func(code string) {
		t.Helper()
		_, _, err := w.ExchangeAPI(t.Context(), code, "api-"+base)
		is(t, err, errs.KindUnauthenticated)
	}
	bad2(code(base))
	cookie, _, err := w.ExchangeAPI(t.Context(), api, "api-"+base)
	ok(t, err)
	bad2(api)
	a, err := w.ActorFromAPICookie(t.Context(), cookie.Reveal())
	ok(t, err)
	if a.User.ID != alice.ID || a.Session != one.Session.ID {
		t.Errorf("got %+v", a)
	}
	_, err = w.Session(t.Context(), cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	pending := code(base)
	ok(t, w.SignOut(ctx))
	_, err = w.ActorFromAPICookie(t.Context(), cookie.Reveal())
	is(t, err, errs.KindUnauthenticated)
	bad(pending, base)
	_, err = w.Handoff(t.Context(), one.Session.ID, base)
	is(t, err, errs.KindUnauthenticated)
}
