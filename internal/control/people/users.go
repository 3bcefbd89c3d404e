package people

import (
	"context"
	"net/mail"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// CreateUser makes a person.
type CreateUser struct {
	Name     string
	Password secret.String
	Email    string
	FullName string
	Roles    []slipway.Role
}

// UserPatch changes what is not nil.
type UserPatch struct {
	Email    *string
	FullName *string
	Roles    *[]slipway.Role
	Disabled *bool
}

// SetPassword gives a person a new password. Old is needed for one's own,
// unless one is an administrator.
type SetPassword struct {
	Old, New secret.String
}

// UserFilter selects people. Cursor is Next of the page before.
type UserFilter struct {
	Query  string // part of a name or an email address
	Cursor string
	Limit  int // 0 = 50
}

// Page is a part of a list; Next is empty on the last one.
type Page[T any] struct {
	Items []T
	Next  string
}

// Create makes a person. Every problem of the input is reported at once.
func (s *Service) Create(ctx context.Context, in CreateUser) (slipway.User, error) {
	if err := access.Check(slipway.ActorFrom(ctx), access.CreateUser, access.Platform()); err != nil {
		return slipway.User{}, err
	}
	return s.create(ctx, in, nil)
}

// Bootstrap makes the first administrator, with a seat. It asks for no right:
// whoever reaches it owns the machine. With an administrator there it is a
// Conflict.
func (s *Service) Bootstrap(ctx context.Context, name string, password secret.String) (slipway.User, error) {
	ctx = slipway.WithActor(ctx, slipway.Actor{System: "bootstrap"})
	in := CreateUser{Name: name, Password: password, Roles: []slipway.Role{slipway.RoleAdmin, slipway.RoleLicensed}}
	return s.create(ctx, in, func(tx *store.Tx) error {
		n, err := tx.Admins()
		if err == nil && n > 0 {
			err = errs.Conflict("there is an administrator already: let that person make more with `slipway admin users create`")
		}
		return err
	})
}

func (s *Service) create(ctx context.Context, in CreateUser, first func(*store.Tx) error) (slipway.User, error) {
	name, err := slipway.ParseUserName(in.Name)
	var wrong []errs.Field
	if err != nil {
		wrong = append(wrong, errs.Field{Name: "name", Message: errs.Message(err)})
	}
	wrong = note(wrong, "password", checkPassword(name, in.Password.Reveal()))
	wrong = note(wrong, "email", checkEmail(in.Email))
	wrong = note(wrong, "full_name", checkFullName(in.FullName))
	wrong = note(wrong, "roles", checkRoles(in.Roles))
	if err := errs.Fields("this person cannot be made as asked", wrong...); err != nil {
		return slipway.User{}, err
	}
	hashed, err := s.newHash(ctx, in.Password.Reveal())
	if err != nil {
		return slipway.User{}, err
	}
	p := store.Person{
		User: slipway.User{
			ID: slipway.UserID(slipway.NewID("user")), Name: name, Email: in.Email, FullName: in.FullName,
			Roles: tidyRoles(in.Roles), Created: s.now(),
		},
		Password: hashed, Epoch: 1,
	}
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		if first != nil {
			if err := first(tx); err != nil {
				return err
			}
		}
		if err := tx.AddPerson(p); err != nil {
			return err
		}
		if err := seatsLeft(tx, p.Has(slipway.RoleLicensed)); err != nil {
			return err
		}
		return s.audit(ctx, tx, "user.create", p.Name, roleText(p.Roles))
	})
	if err != nil {
		return slipway.User{}, err
	}
	return p.User, s.push(ctx, p.ID)
}

// Get returns one person: oneself, or anybody for administrators.
func (s *Service) Get(ctx context.Context, name string) (slipway.User, error) {
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = s.find(ctx, tx, name, access.ReadAccount)
		return err
	})
	return p.User, err
}

// find returns a person on whose account the actor may do v. One that is not
// there and one that may not be seen give the same error.
func (s *Service) find(ctx context.Context, tx *store.Tx, name string, v access.Verb) (store.Person, error) {
	a := slipway.ActorFrom(ctx)
	p, err := tx.PersonByName(strings.ToLower(name))
	if err != nil && !errs.Is(err, errs.KindNotFound) {
		return p, err
	}
	if denied := access.Check(a, v, access.Account(p.ID)); denied != nil {
		return store.Person{}, denied
	}
	return p, err
}

// List lists people by name, for administrators.
func (s *Service) List(ctx context.Context, f UserFilter) (Page[slipway.User], error) {
	page := Page[slipway.User]{Items: []slipway.User{}}
	if err := access.Check(slipway.ActorFrom(ctx), access.ListUsers, access.Platform()); err != nil {
		return page, err
	}
	if f.Limit <= 0 || f.Limit > 500 {
		f.Limit = 50
	}
	var people []store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		people, err = tx.People(f.Query, f.Cursor, f.Limit+1)
		return err
	})
	if err != nil {
		return page, err
	}
	if len(people) > f.Limit {
		people = people[:f.Limit]
		page.Next = people[f.Limit-1].Name
	}
	for _, p := range people {
		page.Items = append(page.Items, p.User)
	}
	return page, nil
}

// Update changes a person. One may change one's own full name; the rest is for
// administrators: apps believe email addresses.
func (s *Service) Update(ctx context.Context, name string, patch UserPatch) (slipway.User, error) {
	var wrong []errs.Field
	verb := access.UpdateAccount
	if patch.Email != nil {
		wrong = note(wrong, "email", checkEmail(*patch.Email))
	}
	if patch.FullName != nil {
		wrong = note(wrong, "full_name", checkFullName(*patch.FullName))
	}
	if patch.Roles != nil {
		wrong = note(wrong, "roles", checkRoles(*patch.Roles))
	}
	if patch.Email != nil || patch.Roles != nil || patch.Disabled != nil {
		verb = access.AdminAccount
	}
	var p store.Person
	err := s.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if p, err = s.find(ctx, tx, name, verb); err != nil {
			return err
		}
		if err := errs.Fields("this person cannot be changed as asked", wrong...); err != nil {
			return err
		}
		return s.apply(ctx, tx, &p, patch)
	})
	if err != nil {
		return slipway.User{}, err
	}
	return p.User, s.push(ctx, p.ID)
}

// seatsLeft is asked in the transaction that took another seat.
func seatsLeft(tx *store.Tx, took bool) error {
	if !took {
		return nil
	}
	l, err := tx.Limits()
	if err != nil || l.Seats == 0 {
		return err
	}
	n, err := tx.Seats(slipway.RoleLicensed)
	if err == nil && int64(n) > l.Seats {
		return errs.Exhausted("all %d seats are taken: take the role %q from somebody, or raise the limit", l.Seats, slipway.RoleLicensed)
	}
	return err
}

func (s *Service) apply(ctx context.Context, tx *store.Tx, p *store.Person, patch UserPatch) error {
	var did []string
	had := p.Has(slipway.RoleLicensed)
	if patch.Email != nil {
		p.Email, did = *patch.Email, append(did, "email")
	}
	if patch.FullName != nil {
		p.FullName, did = *patch.FullName, append(did, "full name")
	}
	if patch.Roles != nil {
		p.Roles = tidyRoles(*patch.Roles)
		did = append(did, roleText(p.Roles))
	}
	if patch.Disabled != nil && *patch.Disabled != p.Disabled {
		p.Disabled = *patch.Disabled
		if p.Disabled {
			p.Epoch++ // voids every session token at once
			if err := s.endAll(tx, p.ID, ""); err != nil {
				return err
			}
			did = append(did, "disabled")
		} else {
			did = append(did, "enabled")
		}
	}
	if err := tx.SavePerson(*p, s.now()); err != nil {
		return err
	}
	if err := seatsLeft(tx, !had && p.Has(slipway.RoleLicensed)); err != nil {
		return err
	}
	if patch.Roles != nil || patch.Disabled != nil {
		n, err := tx.Admins()
		if err != nil {
			return err
		}
		if n == 0 {
			return errs.Conflict("%q is the last administrator: make another one first", p.Name)
		}
	}
	return s.audit(ctx, tx, "user.update", p.Name, strings.Join(did, ", "))
}

// SetPassword gives a person a new password and ends the person's other
// sessions.
func (s *Service) SetPassword(ctx context.Context, name string, in SetPassword) error {
	a := slipway.ActorFrom(ctx)
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = s.find(ctx, tx, name, access.UpdateAccount)
		return err
	})
	if err != nil {
		return err
	}
	if msg := checkPassword(p.Name, in.New.Reveal()); msg != "" {
		return errs.Fields("this password cannot be taken", errs.Field{Name: "password", Message: msg})
	}
	own := a.User != nil && a.User.ID == p.ID
	// A browser that was left open must not be enough, not even an administrator's.
	if own && (!in.Old.Empty() || a.Session != "" || !a.User.Has(slipway.RoleAdmin)) {
		if _, err := s.authenticate(ctx, p.Name, in.Old.Reveal(), a.Addr); err != nil {
			if errs.Is(err, errs.KindUnauthenticated) {
				return errs.Fields("the present password is needed", errs.Field{Name: "old_password", Message: "is not right"})
			}
			return err
		}
	}
	hashed, err := s.newHash(ctx, in.New.Reveal())
	if err != nil {
		return err
	}
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		now, err := tx.Person(p.ID)
		if err != nil {
			return err
		}
		now.Password = hashed
		now.Epoch++
		if err := tx.SavePerson(now, s.now()); err != nil {
			return err
		}
		keep := slipway.SessionID("")
		if own {
			keep = a.Session
		}
		if err := s.endAll(tx, p.ID, keep); err != nil {
			return err
		}
		return s.audit(ctx, tx, "user.password", p.Name, "")
	})
	if err != nil {
		return err
	}
	return s.push(ctx, p.ID)
}

// Subject returns a person who may sign in, for the providers that vouch for
// people. It asks for no right.
func (s *Service) Subject(ctx context.Context, id slipway.UserID) (slipway.User, error) {
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		p, err = tx.Person(id)
		return err
	})
	if err == nil && p.Disabled {
		err = errs.NotFound("no such person")
	}
	return p.User, err
}

func note(list []errs.Field, name, message string) []errs.Field {
	if message == "" {
		return list
	}
	return append(list, errs.Field{Name: name, Message: message})
}

func checkEmail(s string) string {
	if s == "" {
		return ""
	}
	a, err := mail.ParseAddress(s)
	if err != nil || a.Address != s || len(s) > 254 {
		return "is not an email address such as ada@example.com"
	}
	return ""
}

func checkFullName(s string) string {
	if utf8.RuneCountInString(s) > 200 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "may hold at most 200 printable characters"
	}
	return ""
}

func checkRoles(roles []slipway.Role) string {
	for _, r := range roles {
		switch r {
		case slipway.RoleViewer, slipway.RoleLicensed, slipway.RoleAdmin:
		default:
			return "may be viewer, licensed_user and admin; " + string(r) + " is none of them"
		}
	}
	return ""
}

// tidyRoles sorts and leaves out viewer, which everybody is.
func tidyRoles(roles []slipway.Role) []slipway.Role {
	out := slices.DeleteFunc(slices.Clone(roles), func(r slipway.Role) bool { return r == slipway.RoleViewer })
	slices.Sort(out)
	return append([]slipway.Role{}, slices.Compact(out)...)
}

func roleText(roles []slipway.Role) string {
	text := "roles: viewer"
	for _, r := range roles {
		text += " " + string(r)
	}
	return text
}
