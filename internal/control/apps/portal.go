package apps

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
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
	maxTags      = 20
	maxTag       = 40
	maxThumbnail = 1 << 20
)

// PortalFilter selects cards; zero fields select all.
type PortalFilter struct {
	Query      string
	Tags       []string // all of them
	Favourites bool
	Recent     bool // only what the actor has opened, the last opened first
	Cursor     string
	Limit      int
}

// Card is an app as one of its viewers sees it.
type Card struct {
	slipway.App
	Favourite bool
	Opened    time.Time // by this viewer, last; zero = never
	uses      int64
}

// TagCount is a tag and how many apps have it.
type TagCount struct {
	Tag   string
	Count int
}

// checkPortal checks what is for the Portal, and returns the tags in lower
// case, each once.
func checkPortal(p AppPatch) ([]string, error) {
	var wrong []errs.Field
	tags := []string{}
	if p.Tags != nil {
		for _, t := range *p.Tags {
			t = strings.ToLower(strings.Join(strings.Fields(t), " "))
			if t == "" || utf8.RuneCountInString(t) > maxTag || strings.ContainsFunc(t, unicode.IsControl) || !utf8.ValidString(t) {
				wrong = append(wrong, errs.Field{Name: "tags", Message: fmt.Sprintf("a tag has 1 to %d printable characters", maxTag)})
				continue
			}
			if !slices.Contains(tags, t) {
				tags = append(tags, t)
			}
		}
		if len(tags) > maxTags {
			wrong = append(wrong, errs.Field{Name: "tags", Message: fmt.Sprintf("at most %d", maxTags)})
		}
	}
	if p.Rank != nil && (*p.Rank < 0 || *p.Rank > 1_000_000) {
		wrong = append(wrong, errs.Field{Name: "rank", Message: "is a number from 0 (last) to 1000000"})
	}
	if p.Contact != nil && (utf8.RuneCountInString(*p.Contact) > 200 || strings.ContainsFunc(*p.Contact, unicode.IsControl)) {
		wrong = append(wrong, errs.Field{Name: "contact", Message: "may hold at most 200 printable characters"})
	}
	return tags, errs.Fields("the app cannot be like this", wrong...)
}

// Portal lists the apps that the actor may open and that are shown there: by
// rank, then the most used. It counts the tags of all that the query finds.
func (s *Service) Portal(ctx context.Context, f PortalFilter) (Page[Card], []TagCount, error) {
	actor := slipway.ActorFrom(ctx)
	if actor.User == nil {
		return Page[Card]{}, nil, errs.Unauthenticated("sign in first")
	}
	var cards []Card
	tags := map[string]int{}
	err := s.eachApp(ctx, access.OpenApp, func(tx *store.Tx) (func(app store.App), error) {
		stars, err := tx.Favourites(actor.User.ID)
		if err != nil {
			return nil, err
		}
		opened, err := tx.Opened(actor.User.ID)
		if err != nil {
			return nil, err
		}
		uses, err := tx.OpensByApp()
		return func(app store.App) {
			c := Card{App: app.App, Favourite: stars[app.ID], Opened: opened[app.ID], uses: uses[app.ID].Count}
			switch {
			case !app.InPortal, f.Favourites && !c.Favourite, f.Recent && c.Opened.IsZero(),
				!holds(f.Query, app.Name, app.Title, app.Description, app.OwnerName, app.Contact, strings.Join(app.Tags, " ")):
				return
			}
			for _, t := range app.Tags {
				tags[t]++
			}
			if hasAll(app.Tags, f.Tags) {
				cards = append(cards, c)
			}
		}, err
	})
	if err != nil {
		return Page[Card]{}, nil, err
	}
	page, err := paged(cards, f.key, false, f.Cursor, f.Limit)
	for i := range page.Items {
		page.Items[i].App = s.withState(store.App{App: page.Items[i].App})
	}
	counts := []TagCount{}
	for t, n := range tags {
		counts = append(counts, TagCount{t, n})
	}
	slices.SortFunc(counts, func(a, b TagCount) int { return cmp.Or(b.Count-a.Count, strings.Compare(a.Tag, b.Tag)) })
	return page, counts, err
}

func (f PortalFilter) key(c Card) (string, string) {
	if f.Recent {
		return fmt.Sprintf("%020d", math.MaxInt64-c.Opened.UnixMicro()), c.Name
	}
	rank := c.Rank
	if rank == 0 {
		rank = math.MaxInt32
	}
	return fmt.Sprintf("%010d %020d", rank, math.MaxInt64-c.uses), c.Name
}

// Star makes an app a favourite of the actor's, or one no more.
func (s *Service) Star(ctx context.Context, name string, on bool) error {
	actor := slipway.ActorFrom(ctx)
	if actor.User == nil {
		return errs.Unauthenticated("sign in first")
	}
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		app, err := s.find(tx, actor, access.MarkApp, name)
		if err != nil {
			return err
		}
		return tx.SetFavourite(actor.User.ID, app.ID, on)
	})
}

// SetThumbnail gives an app a picture: PNG, JPEG or WebP; nil takes it away.
func (s *Service) SetThumbnail(ctx context.Context, name string, data []byte) error {
	var p store.Picture
	if data != nil {
		if err := s.view(ctx, access.ManageApp, name, nil); err != nil {
			return err
		}
		var err error
		if p.Type, p.Version, err = slipway.ParsePicture(data, maxThumbnail); err != nil {
			return err
		}
		p.Data = data
	}
	_, err := s.change(ctx, access.ManageApp, name, "app.thumbnail", "", func(tx *store.Tx, app *store.App) error {
		app.Thumbnail, app.Updated = p.Version, s.now()
		if err := tx.SaveApp(*app, app.Updated); err != nil {
			return err
		}
		if data == nil {
			return tx.DeletePicture(string(app.ID))
		}
		return tx.SetPicture(string(app.ID), p)
	})
	return err
}

// Thumbnail returns an app's picture; NotFound when it has none.
func (s *Service) Thumbnail(ctx context.Context, name string) (store.Picture, error) {
	var p store.Picture
	err := s.view(ctx, access.SeeApp, name, func(tx *store.Tx, app store.App) (err error) {
		p, err = tx.Picture(string(app.ID))
		return err
	})
	return p, err
}
