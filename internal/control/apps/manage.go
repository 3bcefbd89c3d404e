package apps

import (
	"context"
	"slices"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// CreateApp makes an app.
type CreateApp struct {
	Name, Title, Description string
}

// AppPatch changes what is not nil.
type AppPatch struct {
	Title       *string
	Description *string
	Access      *slipway.Access
	Isolated    *bool
	InPortal    *bool
	Tags        *[]string
	Rank        *int
	Contact     *string
	HealthPath  *string
}

func secretPurpose(id slipway.AppID) string { return "app:" + string(id) }

// Create makes an app that the actor owns. Conflict when the name is taken.
func (s *Service) Create(ctx context.Context, in CreateApp) (slipway.App, error) {
	actor := slipway.ActorFrom(ctx)
	if err := access.Check(actor, access.CreateApp, access.Platform()); err != nil {
		return slipway.App{}, err
	}
	if actor.User == nil {
		return slipway.App{}, errs.Invalid("an app needs a person as its owner")
	}
	name, err := slipway.ParseAppName(in.Name)
	if err != nil {
		return slipway.App{}, err
	}
	if err := checkTexts(&in.Title, &in.Description); err != nil {
		return slipway.App{}, err
	}
	now := s.now()
	app := store.App{App: slipway.App{
		ID: slipway.AppID(slipway.NewID("app")), Name: name, Title: in.Title, Description: in.Description,
		Owner: actor.User.ID, OwnerName: actor.User.Name, Access: slipway.AccessRestricted, InPortal: true, Rev: 1,
		State: slipway.AppEmpty, Created: now, Updated: now,
	}}
	app.Sealed = s.Box.Seal([]byte(secret.Random(32).Reveal()), secretPurpose(app.ID))
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		if old, err := tx.AppByName(name); err == nil && old.Deleting {
			return errs.Conflict("the app that was called %s is still being removed: try again in a moment", name)
		}
		d, err := tx.Defaults()
		if err != nil {
			return err
		}
		app.Access, app.InPortal = d.Access, d.InPortal
		if err := tx.AddApp(app); err != nil {
			return err
		}
		return s.audit(tx, actor, "app.create", name, "")
	})
	if err != nil {
		return slipway.App{}, err
	}
	s.index.changed()
	s.changed(app.ID, "", nil)
	s.wake(app.ID)
	return app.App, nil
}

func checkTexts(title, description *string) error {
	var fields []errs.Field
	for _, f := range []struct {
		name string
		text *string
		most int
	}{{"title", title, 200}, {"description", description, 4000}} {
		if f.text != nil && len(*f.text) > f.most {
			fields = append(fields, errs.Field{Name: f.name, Message: "is too long"})
		}
		if f.text != nil && strings.ContainsRune(*f.text, 0) {
			fields = append(fields, errs.Field{Name: f.name, Message: "has a NUL byte"})
		}
	}
	return errs.Fields("the app cannot be like this", fields...)
}

// Get returns an app that the actor may see.
func (s *Service) Get(ctx context.Context, name string) (slipway.App, error) {
	var out slipway.App
	err := s.view(ctx, access.SeeApp, name, func(tx *store.Tx, app store.App) error {
		out = s.withState(app)
		if s.check(tx, slipway.ActorFrom(ctx), access.DeployApp, app) != nil {
			return nil // the upstream is not theirs to see
		}
		u, err := tx.Upstream(app.ID)
		if u != nil {
			out.Upstream = &u.Upstream
		}
		return err
	})
	return out, err
}

// Update changes an app's settings.
func (s *Service) Update(ctx context.Context, name string, p AppPatch) (slipway.App, error) {
	if err := checkTexts(p.Title, p.Description); err != nil {
		return slipway.App{}, err
	}
	tags, err := checkPortal(p)
	if err != nil {
		return slipway.App{}, err
	}
	if p.Access != nil && !slices.Contains([]slipway.Access{slipway.AccessRestricted, slipway.AccessAuthenticated, slipway.AccessUnauthenticated}, *p.Access) {
		return slipway.App{}, errs.Invalid("the access %q is none of restricted, authenticated and unauthenticated", *p.Access)
	}
	if h := p.HealthPath; h != nil && *h != "" && (!strings.HasPrefix(*h, "/") || strings.ContainsAny(*h, " \t\r\n#") || len(*h) > 1000) {
		return slipway.App{}, errs.Invalid("the health path %q must start with / and have no spaces", *h)
	}
	app, err := s.change(ctx, access.ManageApp, name, "app.update", "", func(tx *store.Tx, app *store.App) error {
		if p.Access != nil && *p.Access == slipway.AccessUnauthenticated && app.Access != *p.Access {
			if d, err := tx.Defaults(); err != nil || !d.Unauthenticated {
				return or(err, errs.Denied("apps may not be open to people who are not signed in: an administrator has switched that off"))
			}
		}
		set(&app.Title, p.Title)
		set(&app.Description, p.Description)
		set(&app.Access, p.Access)
		set(&app.Isolated, p.Isolated)
		set(&app.InPortal, p.InPortal)
		set(&app.Rank, p.Rank)
		set(&app.Contact, p.Contact)
		if p.Tags != nil {
			app.Tags = tags
		}
		set(&app.HealthPath, p.HealthPath)
		app.Updated = s.now()
		app.Rev++
		return tx.SaveApp(*app, app.Updated)
	})
	if err != nil {
		return slipway.App{}, err
	}
	s.settle(ctx, app.ID) // who was locked out is out when this returns
	return s.withState(app), nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// Transfer gives an app to another person, who needs a seat.
func (s *Service) Transfer(ctx context.Context, name, user string) (slipway.App, error) {
	app, err := s.change(ctx, access.OwnApp, name, "app.transfer", user, func(tx *store.Tx, app *store.App) error {
		p, err := tx.PersonByName(strings.ToLower(user))
		if err != nil {
			return err
		}
		if !p.Has(slipway.RoleLicensed) {
			return errs.Invalid("%s has no seat, so cannot own an app: an administrator can give the role %q", p.Name, slipway.RoleLicensed)
		}
		if _, err := tx.DeleteGrant(app.ID, p.ID); err != nil {
			return err
		}
		app.Owner, app.OwnerName = p.ID, p.Name
		app.Updated = s.now()
		app.Rev++
		return tx.SaveApp(*app, app.Updated)
	})
	if err != nil {
		return slipway.App{}, err
	}
	s.settle(ctx, app.ID)
	return s.withState(app), nil
}

// Grants lists who has rights on an app beside its owner.
func (s *Service) Grants(ctx context.Context, name string) ([]slipway.Grant, error) {
	var out []slipway.Grant
	err := s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) (err error) {
		out, err = tx.GrantsOn(app.ID)
		return err
	})
	return out, err
}

// Share gives a person a right on an app, or changes it.
func (s *Service) Share(ctx context.Context, name, user string, role slipway.GrantRole) error {
	if role != slipway.GrantViewer && role != slipway.GrantCoOwner {
		return errs.Invalid("the role %q is neither viewer nor co-owner", role)
	}
	app, err := s.change(ctx, access.ManageApp, name, "app.share", user+" "+string(role), func(tx *store.Tx, app *store.App) error {
		p, err := tx.PersonByName(strings.ToLower(user))
		if err != nil {
			return err
		}
		if p.ID == app.Owner {
			return errs.Conflict("%s owns the app and may do everything already", p.Name)
		}
		return tx.SetGrant(app.ID, p.ID, role)
	})
	if err == nil {
		s.settle(ctx, app.ID)
	}
	return err
}

// Unshare takes a person's right on an app away.
func (s *Service) Unshare(ctx context.Context, name, user string) error {
	app, err := s.change(ctx, access.ManageApp, name, "app.unshare", user, func(tx *store.Tx, app *store.App) error {
		p, err := tx.PersonByName(strings.ToLower(user))
		if err != nil {
			return err
		}
		had, err := tx.DeleteGrant(app.ID, p.ID)
		if err == nil && !had {
			return errs.NotFound("%s has no right on this app of its own", p.Name)
		}
		return err
	})
	if err == nil {
		s.settle(ctx, app.ID)
	}
	return err
}

// Delete removes an app with its replicas, files, volumes, variables and
// releases; confirm repeats its name. From the start nobody sees the app any
// more. It returns when nothing is left, or after Limits.Delete, or with ctx: the
// removal then goes on, and its name is free at the end.
func (s *Service) Delete(ctx context.Context, name, confirm string) error {
	if err := s.view(ctx, access.OwnApp, name, nil); err != nil {
		return err
	}
	if confirm != name {
		return errs.Invalid("to delete the app, repeat its name %q: you gave %q", name, confirm)
	}
	now := s.now()
	app, err := s.change(ctx, access.OwnApp, name, "app.delete", "", func(tx *store.Tx, app *store.App) error {
		open, err := tx.OpenDeploysOf(app.ID)
		if err != nil {
			return err
		}
		for _, d := range open {
			d.Canceling = true
			if d.State == slipway.DeployQueued {
				d.State, d.Reason, d.Ended = slipway.DeployCanceled, "the app was deleted", &now
			}
			if err := tx.SaveDeploy(d); err != nil {
				return err
			}
		}
		app.Deleting = true
		return tx.SaveApp(*app, now)
	})
	if err != nil {
		return err
	}
	s.cancelRuns(app.ID)
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Delete)
	defer cancel()
	for {
		rung := s.bell.listen()
		err := s.DB.View(ctx, func(tx *store.Tx) error {
			_, err := tx.App(app.ID)
			return err
		})
		if errs.Is(err, errs.KindNotFound) {
			return nil
		}
		if err == nil {
			err = wait(ctx, rung, s.Limits.Resync)
		}
		if err != nil && ctx.Err() != nil {
			return caller.Err() // an app that does not end at TERM holds up nobody
		}
		if err != nil {
			return err
		}
	}
}
