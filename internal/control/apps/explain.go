package apps

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// Opener is a person who may open an app for a reason of their own.
type Opener struct {
	User slipway.User
	Why  []string // owner, co-owner, viewer, administrator
}

// AccessReport says who may open an app, and why.
type AccessReport struct {
	Level  slipway.Access
	People []Opener
	Others string // nobody, signed-in, everyone
}

// Answer says whether a person may open an app.
type Answer struct {
	User string
	May  bool
	Why  []string // sentences
	Do   []string // what would change it
}

// FoundPerson is a person as those see who share an app.
type FoundPerson struct {
	User  slipway.User
	Role  slipway.GrantRole
	Owner bool
}

// WhoMayOpen lists who may open an app, and why.
func (s *Service) WhoMayOpen(ctx context.Context, name string) (AccessReport, error) {
	var out AccessReport
	err := s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) error {
		out = AccessReport{Level: app.Access, People: []Opener{}, Others: "nobody"}
		switch app.Access {
		case slipway.AccessAuthenticated:
			out.Others = "signed-in"
		case slipway.AccessUnauthenticated:
			out.Others = "everyone"
		default:
		}
		grants, err := tx.GrantsOn(app.ID)
		if err != nil {
			return err
		}
		why := map[slipway.UserID][]string{app.Owner: {"owner"}}
		for _, g := range grants {
			why[g.User] = append(why[g.User], string(g.Level))
		}
		admins, err := tx.WithRole(slipway.RoleAdmin)
		if err != nil {
			return err
		}
		for _, p := range admins {
			why[p] = append(why[p], "administrator")
		}
		for id, reasons := range why {
			p, err := tx.Person(id)
			if err != nil {
				return err
			}
			out.People = append(out.People, Opener{p.User, reasons})
		}
		return nil
	})
	order := []string{"owner", string(slipway.GrantCoOwner), string(slipway.GrantViewer), "administrator"}
	slices.SortFunc(out.People, func(a, b Opener) int {
		return cmp.Or(slices.Index(order, a.Why[0])-slices.Index(order, b.Why[0]), strings.Compare(a.User.Name, b.User.Name))
	})
	return out, err
}

// Explain says why a person may open an app, or may not. The answer is that of
// the rules by which the gateways decide.
func (s *Service) Explain(ctx context.Context, name, user string) (Answer, error) {
	var out Answer
	err := s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) error {
		out = Answer{User: strings.ToLower(user), Why: []string{}}
		p, err := tx.PersonByName(out.User)
		if errs.Is(err, errs.KindNotFound) {
			out.May = app.Access == slipway.AccessUnauthenticated
			out.Why = append(out.Why, "Nobody who may sign in is called "+out.User+".")
			if out.May {
				out.Why = append(out.Why, "The app is open to everyone, also without signing in.")
			} else {
				out.Do = append(out.Do, "Check the spelling, or ask an administrator to make the person.")
			}
			return nil
		}
		if err != nil {
			return err
		}
		grant, err := tx.GrantOf(app.ID, p.ID)
		if err != nil {
			return err
		}
		facts := access.AppFacts{Owner: app.Owner, Access: app.Access, Grant: grant}
		out.May = access.Check(slipway.Actor{User: &p.User}, access.OpenApp, access.App(&facts)) == nil
		out.explain(p.User, app, grant)
		if app.Current == 0 || app.Paused {
			out.Why = append(out.Why, "At the moment nobody gets to see it: it "+map[bool]string{true: "is paused.", false: "has no release yet."}[app.Paused])
		}
		return nil
	})
	return out, err
}

func (o *Answer) explain(p slipway.User, app store.App, grant slipway.GrantRole) {
	say := func(cond bool, text string) {
		if cond {
			o.Why = append(o.Why, text)
		}
	}
	if p.Disabled {
		say(true, p.Name+" is disabled, so cannot sign in.")
		say(o.May, "The app is open to everyone, also without signing in.")
		o.Do = append(o.Do, "An administrator can enable "+p.Name+".")
		return
	}
	say(p.ID == app.Owner, p.Name+" owns the app.")
	say(grant == slipway.GrantCoOwner, p.Name+" is a co-owner.")
	say(grant == slipway.GrantViewer, p.Name+" is a listed viewer.")
	say(p.Has(slipway.RoleAdmin), p.Name+" is an administrator, who may open every app.")
	say(app.Access == slipway.AccessAuthenticated, "The access level is “authenticated”: everyone who is signed in may open the app.")
	say(app.Access == slipway.AccessUnauthenticated, "The access level is “unauthenticated”: everyone may open the app.")
	if !o.May {
		say(true, "The access level is “restricted”: only the owner, co-owners, listed viewers and administrators may open the app, and "+p.Name+" is none of them.")
		o.Do = append(o.Do, "Add "+p.Name+" as a viewer.", "Or set the access level to “authenticated”, which lets in everyone who signs in.")
	}
}

// FindPeople finds people by part of a name, for whoever may share the app.
func (s *Service) FindPeople(ctx context.Context, name, query string, limit int) ([]FoundPerson, error) {
	var out []FoundPerson
	err := s.view(ctx, access.ManageApp, name, func(tx *store.Tx, app store.App) error {
		out = []FoundPerson{}
		people, err := tx.People(query, "", min(limitOf(limit), 50)+1)
		if err != nil {
			return err
		}
		grants, err := tx.GrantsOn(app.ID)
		if err != nil {
			return err
		}
		roles := map[slipway.UserID]slipway.GrantRole{}
		for _, g := range grants {
			roles[g.User] = g.Level
		}
		for _, p := range people {
			if !p.Disabled && len(out) < limit {
				out = append(out, FoundPerson{p.User, roles[p.ID], p.ID == app.Owner})
			}
		}
		return nil
	})
	return out, err
}
