// Package settings is what administrators set for everybody: how the platform
// looks, what it announces, what new apps begin with; and the audit log, in
// which every such change leaves a line.
package settings

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

const (
	productName      = "Slipway"
	logo             = "logo" // owner of the picture
	maxLogo          = 256 << 10
	maxAnnouncements = 50
	maxAnnouncement  = 1000
)

// Service is safe for use at once.
type Service struct {
	DB      *store.DB
	Now     func() time.Time // nil = time.Now
	Changed func()           // called after everybody's pages look different; may be nil
	// Brand is called with the branding that holds from now on; may be nil.
	Brand func(slipway.Branding)
}

func (s *Service) now() time.Time {
	if s.Now != nil {
		return s.Now().UTC()
	}
	return time.Now().UTC()
}

// BrandingPatch changes what is not nil.
type BrandingPatch struct {
	Name   *string
	Accent *string
}

// DefaultsPatch changes what is not nil.
type DefaultsPatch struct {
	Access          *slipway.Access
	InPortal        *bool
	Unauthenticated *bool
}

// NewAnnouncement is told to everybody.
type NewAnnouncement struct {
	Text        string
	Level       string // info, warning; empty = info
	From, Until *time.Time
}

func (s *Service) read(ctx context.Context, v access.Verb, fn func(tx *store.Tx) error) error {
	if v != "" {
		if err := access.Check(slipway.ActorFrom(ctx), v, access.Platform()); err != nil {
			return err
		}
	}
	return s.DB.View(ctx, fn)
}

func (s *Service) change(ctx context.Context, verb, detail string, fn func(tx *store.Tx) error) error {
	a := slipway.ActorFrom(ctx)
	if err := access.Check(a, access.WriteSettings, access.Platform()); err != nil {
		return err
	}
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return tx.AddAudit(store.Audit{At: s.now(), Actor: a.Name(), Addr: a.Addr, Verb: verb, Result: "ok", Detail: detail})
	})
	if err == nil && s.Changed != nil {
		s.Changed()
	}
	return err
}

// Branding is how the platform looks. It asks for no right: the sign-in page
// shows it.
func (s *Service) Branding(ctx context.Context) (slipway.Branding, error) {
	b := slipway.Branding{Name: productName}
	err := s.read(ctx, "", func(tx *store.Tx) error { return tx.ReadSetting(store.SettingBranding, &b) })
	return b, err
}

var colour = regexp.MustCompile(`^#[0-9a-f]{6}$`)

// UpdateBranding changes how the platform looks.
func (s *Service) UpdateBranding(ctx context.Context, p BrandingPatch) (slipway.Branding, error) {
	b := slipway.Branding{Name: productName}
	var wrong []errs.Field
	if p.Name != nil {
		*p.Name = strings.TrimSpace(*p.Name)
		if *p.Name == "" {
			*p.Name = productName
		}
		if !printable(*p.Name, 60) {
			wrong = append(wrong, errs.Field{Name: "name", Message: "may hold at most 60 printable characters"})
		}
	}
	if p.Accent != nil {
		*p.Accent = strings.ToLower(*p.Accent)
		if *p.Accent != "" && !colour.MatchString(*p.Accent) {
			wrong = append(wrong, errs.Field{Name: "accent", Message: "is a colour such as #0b5fff"})
		}
	}
	err := s.change(ctx, "settings.branding", "", func(tx *store.Tx) error {
		if err := errs.Fields("the platform cannot look like this", wrong...); err != nil {
			return err
		}
		if err := tx.ReadSetting(store.SettingBranding, &b); err != nil {
			return err
		}
		if p.Name != nil {
			b.Name = *p.Name
		}
		if p.Accent != nil {
			b.Accent = *p.Accent
		}
		return tx.WriteSetting(store.SettingBranding, b)
	})
	s.show(b, err)
	return b, err
}

// show passes a branding on that was written.
func (s *Service) show(b slipway.Branding, err error) {
	if err == nil && s.Brand != nil {
		s.Brand(b)
	}
}

func printable(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, unicode.IsControl)
}

// Logo returns the logo; NotFound without one.
func (s *Service) Logo(ctx context.Context) (store.Picture, error) {
	var p store.Picture
	err := s.read(ctx, "", func(tx *store.Tx) (err error) {
		p, err = tx.Picture(logo)
		return err
	})
	return p, err
}

// SetLogo sets the logo: PNG, JPEG or WebP; nil takes it away.
func (s *Service) SetLogo(ctx context.Context, data []byte) error {
	var b slipway.Branding
	err := s.change(ctx, "settings.logo", "", func(tx *store.Tx) error {
		b = slipway.Branding{Name: productName}
		if err := tx.ReadSetting(store.SettingBranding, &b); err != nil {
			return err
		}
		if data == nil {
			b.Logo = ""
			if err := tx.DeletePicture(logo); err != nil {
				return err
			}
			return tx.WriteSetting(store.SettingBranding, b)
		}
		mediaType, version, err := slipway.ParsePicture(data, maxLogo)
		if err != nil {
			return err
		}
		b.Logo = version
		if err := tx.SetPicture(logo, store.Picture{Type: mediaType, Version: version, Data: data}); err != nil {
			return err
		}
		return tx.WriteSetting(store.SettingBranding, b)
	})
	s.show(b, err)
	return err
}

// Announcements lists all of them, newest first.
func (s *Service) Announcements(ctx context.Context) ([]slipway.Announcement, error) {
	out := []slipway.Announcement{}
	err := s.read(ctx, access.ReadSettings, func(tx *store.Tx) error { return tx.ReadSetting(store.SettingAnnouncements, &out) })
	return out, err
}

// Current lists the announcements to show now. It asks for no right.
func (s *Service) Current(ctx context.Context) ([]slipway.Announcement, error) {
	all := []slipway.Announcement{}
	err := s.read(ctx, "", func(tx *store.Tx) error { return tx.ReadSetting(store.SettingAnnouncements, &all) })
	now := s.now()
	return slices.DeleteFunc(all, func(a slipway.Announcement) bool {
		return a.From != nil && now.Before(*a.From) || a.Until != nil && !now.Before(*a.Until)
	}), err
}

// Announce tells everybody something.
func (s *Service) Announce(ctx context.Context, in NewAnnouncement) (slipway.Announcement, error) {
	a := slipway.Announcement{
		ID: slipway.NewID("ann"), Text: strings.TrimSpace(in.Text), Level: in.Level, From: in.From, Until: in.Until,
		By: slipway.ActorFrom(ctx).Name(), Created: s.now(),
	}
	if a.Level == "" {
		a.Level = "info"
	}
	var wrong []errs.Field
	note := func(name, message string, bad bool) {
		if bad {
			wrong = append(wrong, errs.Field{Name: name, Message: message})
		}
	}
	note("text", "is needed", a.Text == "")
	note("text", "may hold at most "+strconv.Itoa(maxAnnouncement)+" characters", utf8.RuneCountInString(a.Text) > maxAnnouncement || strings.ContainsRune(a.Text, 0))
	note("level", "is info or warning", a.Level != "info" && a.Level != "warning")
	note("until", "must be after from", in.From != nil && in.Until != nil && !in.Until.After(*in.From))
	err := s.change(ctx, "announcement.create", a.ID, func(tx *store.Tx) error {
		if err := errs.Fields("this cannot be announced", wrong...); err != nil {
			return err
		}
		var all []slipway.Announcement
		if err := tx.ReadSetting(store.SettingAnnouncements, &all); err != nil {
			return err
		}
		if len(all) >= maxAnnouncements {
			return errs.Exhausted("there are %d announcements: take one back first", len(all))
		}
		return tx.WriteSetting(store.SettingAnnouncements, append([]slipway.Announcement{a}, all...))
	})
	return a, err
}

// Withdraw takes an announcement back.
func (s *Service) Withdraw(ctx context.Context, id string) error {
	return s.change(ctx, "announcement.delete", id, func(tx *store.Tx) error {
		var all []slipway.Announcement
		if err := tx.ReadSetting(store.SettingAnnouncements, &all); err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(all), func(a slipway.Announcement) bool { return a.ID == id })
		if len(left) == len(all) {
			return errs.NotFound("there is no such announcement")
		}
		return tx.WriteSetting(store.SettingAnnouncements, left)
	})
}

// Defaults are what new apps begin with.
func (s *Service) Defaults(ctx context.Context) (slipway.Defaults, error) {
	var d slipway.Defaults
	err := s.read(ctx, access.ReadSettings, func(tx *store.Tx) (err error) {
		d, err = tx.Defaults()
		return err
	})
	return d, err
}

// UpdateDefaults changes what new apps begin with. Apps that are there stay as
// they are.
func (s *Service) UpdateDefaults(ctx context.Context, p DefaultsPatch) (slipway.Defaults, error) {
	var d slipway.Defaults
	err := s.change(ctx, "settings.defaults", "", func(tx *store.Tx) (err error) {
		if d, err = tx.Defaults(); err != nil {
			return err
		}
		if p.Access != nil {
			if *p.Access != slipway.AccessRestricted && *p.Access != slipway.AccessAuthenticated {
				return errs.Fields("these cannot be the defaults", errs.Field{Name: "access", Message: "is restricted or authenticated"})
			}
			d.Access = *p.Access
		}
		if p.InPortal != nil {
			d.InPortal = *p.InPortal
		}
		if p.Unauthenticated != nil {
			d.Unauthenticated = *p.Unauthenticated
		}
		return tx.SetDefaults(d)
	})
	return d, err
}

// Audit lists lines of the audit log, newest first; next is the cursor of the
// part that follows.
func (s *Service) Audit(ctx context.Context, f store.AuditFilter, cursor string, limit int) (lines []slipway.AuditEntry, next string, err error) {
	before := int64(0)
	if cursor != "" {
		if before, err = strconv.ParseInt(cursor, 10, 64); err != nil || before <= 0 {
			return nil, "", errs.Invalid("the cursor %q is not one that a list returned", cursor)
		}
	}
	if limit <= 0 || limit > 500 {
		limit = 50
	}
	err = s.read(ctx, access.ReadAudit, func(tx *store.Tx) (err error) {
		lines, err = tx.AuditLines(f, before, limit+1)
		return err
	})
	if len(lines) > limit {
		lines = lines[:limit]
		next = strconv.FormatInt(lines[limit-1].Seq, 10)
	}
	return lines, next, err
}

// EachAudit calls fn with every line that the filter selects, oldest first.
func (s *Service) EachAudit(ctx context.Context, f store.AuditFilter, fn func(slipway.AuditEntry) error) error {
	for after := int64(0); ; {
		var lines []slipway.AuditEntry
		if err := s.read(ctx, access.ReadAudit, func(tx *store.Tx) (err error) {
			lines, err = tx.AuditLinesAfter(f, after, 1000)
			return err
		}); err != nil {
			return err
		}
		for _, l := range lines {
			if err := fn(l); err != nil {
				return err
			}
			after = l.Seq
		}
		if len(lines) < 1000 {
			return nil
		}
	}
}
