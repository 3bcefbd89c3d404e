package storetest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/store"
)

func person(name string, roles ...slipway.Role) store.Person {
	return store.Person{Epoch: 1, User: slipway.User{ID: slipway.UserID("user_" + name), Name: name, FullName: "Full " + strings.ToUpper(name), Created: now, Roles: roles}}
}

// text comes back as it was, but for what is no text.
func (s *suite) text() {
	a := s.add("iris")
	for in, want := range map[string]string{
		"":               "",
		"Zoë's ✿ \\ % _": "Zoë's ✿ \\ % _",
		"? $1 user":      "? $1 user",
		"latin\xe9":      "latin\ufffd",
		"zero\x00":       "zero\ufffd",
	} {
		d := deploy(a, "dep_"+want)
		d.Message = in
		s.update(func(tx *store.Tx) error {
			_, err := tx.AddDeploy(d)
			return err
		})
		s.view(func(tx *store.Tx) error {
			got, err := tx.Deploy(d.ID)
			if got.Message != want {
				s.Errorf("%q came back as %q, not %q", in, got.Message, want)
			}
			return err
		})
	}
}

// sshKeys are one person's each, and gone with the row.
func (s *suite) sshKeys() {
	for _, n := range []string{"kim", "lee"} {
		s.update(func(tx *store.Tx) error { return tx.AddPerson(person(n)) })
	}
	k := store.SSHKey{ID: "sshkey_1", User: "user_kim", Name: "desk", Type: "ssh-ed25519", Key: "AAAA", Fingerprint: "SHA256:one", Created: now}
	s.update(func(tx *store.Tx) error { return tx.AddSSHKey(k) })
	again := k
	again.ID, again.User = "sshkey_2", "user_lee"
	s.kind(s.db.Update(s.Context(), func(tx *store.Tx) error { return tx.AddSSHKey(again) }), errs.KindConflict)
	k.Used = now.Add(time.Minute)
	s.update(func(tx *store.Tx) error { return tx.TouchSSHKey(k.ID, k.Used) })
	s.view(func(tx *store.Tx) error {
		got, err := tx.SSHKeyByFingerprint(k.Fingerprint)
		list, lerr := tx.SSHKeysOf(k.User)
		if got != k || len(list) != 1 || list[0] != k {
			s.Errorf("%+v and %+v, not %+v", got, list, k)
		}
		return errors.Join(err, lerr)
	})
	remove := func(by slipway.UserID) error {
		return s.db.Update(s.Context(), func(tx *store.Tx) error {
			_, err := tx.DeleteSSHKey(by, k.ID)
			return err
		})
	}
	s.kind(remove("user_lee"), errs.KindNotFound)
	s.update(func(tx *store.Tx) error {
		got, err := tx.DeleteSSHKey(k.User, k.ID)
		if got != k {
			s.Errorf("%+v was removed, not %+v", got, k)
		}
		return err
	})
	s.kind(remove(k.User), errs.KindNotFound)
}

// people are listed by the bytes of their names, page by page, and found by
// what their names hold, in any case.
func (s *suite) people() {
	names := []string{"alice", "a-b", "a.b", "ab", "b_c", "zoë", "0"}
	for _, n := range names[1:] {
		s.update(func(tx *store.Tx) error { return tx.AddPerson(person(n, slipway.RoleLicensed, slipway.RoleAdmin)) })
	}
	again := person("ab")
	again.ID = "user_other"
	s.kind(s.db.Update(s.Context(), func(tx *store.Tx) error { return tx.AddPerson(again) }), errs.KindConflict)
	slices.Sort(names)
	var listed []string
	for after := ""; ; after = listed[len(listed)-1] {
		var page []store.Person
		s.view(func(tx *store.Tx) (err error) {
			page, err = tx.People("", after, 2)
			return err
		})
		for _, p := range page {
			listed = append(listed, p.Name)
		}
		if len(page) < 2 {
			break
		}
	}
	if !slices.Equal(listed, names) {
		s.Errorf("listed %q, not %q", listed, names)
	}
	for query, want := range map[string][]string{
		"FULL Z": {"zoë"}, "full a": {"a-b", "a.b", "ab"}, "_": {"b_c"}, "%": nil, "Ë": {"zoë"}, "\\": nil,
	} {
		s.view(func(tx *store.Tx) error {
			found, err := tx.People(query, "", 10)
			var got []string
			for _, p := range found {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, want) {
				s.Errorf("%q finds %q, not %q", query, got, want)
			}
			return err
		})
	}
	s.view(func(tx *store.Tx) error {
		p, err := tx.PersonByName("ab")
		if want := []slipway.Role{slipway.RoleAdmin, slipway.RoleLicensed}; !slices.Equal(p.Roles, want) || p.Disabled || !p.Created.Equal(now) {
			s.Errorf("got %+v", p)
		}
		n, err2 := tx.Admins()
		if n != len(names)-1 {
			s.Errorf("%d administrators", n)
		}
		return errors.Join(err, err2)
	})
	s.update(func(tx *store.Tx) error {
		p, err := tx.PersonByName("ab")
		p.Disabled, p.Roles = true, []slipway.Role{slipway.RoleLicensed}
		return errors.Join(err, tx.SavePerson(p, now))
	})
	s.view(func(tx *store.Tx) error {
		p, err := tx.Person("user_ab")
		if len(p.Roles) != 1 || !p.Disabled {
			s.Errorf("got %+v", p)
		}
		return err
	})
}

func (s *suite) sessions() {
	one := store.Session{ID: "one", User: owner, Created: now, Seen: now, Expires: now.Add(time.Hour), Agent: "curl", Addr: "::1"}
	two := one
	two.ID = "two"
	s.update(func(tx *store.Tx) error {
		return errors.Join(tx.AddSession(one), tx.AddSession(two), tx.AddSessionCookie("hash", "one", "auth"), tx.AddHandoff("code", "one", "api", now),
			tx.TouchSession("one", now.Add(time.Minute)), tx.TouchSession("one", now))
	})
	s.view(func(tx *store.Tx) error {
		got, err := tx.SessionByCookie("hash", "auth")
		if want := one; got.Seen != now.Add(time.Minute) || got.ID != want.ID || got.User != owner || !got.Ended.IsZero() {
			s.Errorf("got %+v", got)
		}
		all, err2 := tx.SessionsOf(owner, now)
		if len(all) != 2 || all[0].ID != "one" {
			s.Errorf("sessions %+v", all)
		}
		return errors.Join(err, err2)
	})
	s.update(func(tx *store.Tx) error {
		id, host, _, err := tx.TakeHandoff("code")
		if id != "one" || host != "api" {
			s.Errorf("the code was for %q at %q", id, host)
		}
		_, _, _, gone := tx.TakeHandoff("code")
		s.kind(gone, errs.KindNotFound)
		return errors.Join(err, tx.EndSession("one", now), tx.ForgetOldPeopleRows(now))
	})
	s.view(func(tx *store.Tx) error {
		ended, err := tx.EndedSessions(now)
		if len(ended) != 1 || ended[0].ID != "one" || !ended[0].Ended.Equal(now) {
			s.Errorf("ended %+v", ended)
		}
		_, gone := tx.SessionByCookie("hash", "auth")
		s.kind(gone, errs.KindNotFound)
		return err
	})
}
