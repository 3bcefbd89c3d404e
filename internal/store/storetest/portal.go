package storetest

import (
	"bytes"
	"slices"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/store"
)

func (s *suite) portal() {
	a := app("iris")
	s.update(func(tx *store.Tx) error {
		if err := tx.AddApp(a); err != nil {
			return err
		}
		a.Tags, a.Rank, a.Contact, a.Thumbnail = []string{"sales", "ä"}, 3, "the team", "v1"
		return tx.SaveApp(a, now)
	})
	later := now.Add(time.Minute)
	s.update(func(tx *store.Tx) error {
		for range 2 { // again is the same
			if err := tx.SetFavourite(owner, a.ID, true); err != nil {
				return err
			}
			if err := tx.SetPicture(string(a.ID), store.Picture{Type: "image/png", Version: "v1", Data: []byte{0, 1}}); err != nil {
				return err
			}
		}
		for _, at := range []time.Time{later, now} { // a late report does not turn the time back
			if err := tx.AddOpens(owner, a.ID, 2, at); err != nil {
				return err
			}
		}
		if err := tx.AddOpens("user_gone", a.ID, 1, now); err != nil {
			return err
		}
		return tx.AddOpens(owner, "app_gone", 1, now)
	})
	s.update(func(tx *store.Tx) error {
		got, err := tx.App(a.ID)
		if err != nil || !slices.Equal(got.Tags, a.Tags) || got.Rank != 3 || got.Contact != "the team" || got.Thumbnail != "v1" {
			s.Errorf("%+v, %v", got.App, err)
		}
		p, err := tx.Picture(string(a.ID))
		if err != nil || p.Type != "image/png" || !bytes.Equal(p.Data, []byte{0, 1}) {
			s.Errorf("picture %+v, %v", p, err)
		}
		stars, err := tx.Favourites(owner)
		if err != nil || len(stars) != 1 || !stars[a.ID] {
			s.Errorf("favourites %v, %v", stars, err)
		}
		opened, err := tx.Opened(owner)
		if err != nil || len(opened) != 1 || !opened[a.ID].Equal(later) {
			s.Errorf("opened %v, %v", opened, err)
		}
		all, err := tx.OpensByApp()
		if err != nil || len(all) != 1 || all[a.ID].Count != 5 || !all[a.ID].Last.Equal(later) {
			s.Errorf("opens %v, %v", all, err)
		}
		if err := tx.SetFavourite(owner, a.ID, false); err != nil {
			return err
		}
		if stars, err = tx.Favourites(owner); err != nil || len(stars) != 0 {
			s.Errorf("favourites after taking it back: %v, %v", stars, err)
		}
		if err := tx.DeleteApp(a.ID); err != nil {
			return err
		}
		if _, err := tx.Picture(string(a.ID)); !errs.Is(err, errs.KindNotFound) {
			s.Errorf("the picture of a deleted app: %v", err)
		}
		opened, err = tx.Opened(owner)
		if len(opened) != 0 {
			s.Errorf("opens of a deleted app: %v", opened)
		}
		return err
	})
}

func (s *suite) measurements() {
	hour := now.Truncate(time.Hour)
	s.update(func(tx *store.Tx) error {
		for i := range 3 {
			at := hour.Add(time.Duration(i) * 40 * time.Minute)
			m := store.Measurement{Requests: 1, Latency: []int64{0, int64(i)}, Memory: int64(10 * i), CPU: 5}
			for range 2 { // two gateways
				if err := tx.AddMeasurement("app_1", at, m); err != nil {
					return err
				}
			}
			if err := tx.AddViewer("app_1", at, owner); err != nil {
				return err
			}
		}
		if err := tx.AddMeasurement("", hour, store.Measurement{Requests: 9}); err != nil {
			return err
		}
		return tx.AddViewer("app_1", hour, "user_bob")
	})
	s.update(func(tx *store.Tx) error {
		for step, want := range map[time.Duration][]int64{store.Minute: {2, 2, 2}, store.Hour: {4, 2}} {
			var got []int64
			var sum store.Measurement
			err := tx.Measurements("app_1", step, hour, hour.Add(2*time.Hour), func(_ time.Time, m store.Measurement) {
				got = append(got, m.Requests)
				sum.Merge(m)
			})
			if err != nil || !slices.Equal(got, want) || sum.Memory != 20 || sum.CPU != 30 || !slices.Equal(sum.Latency, []int64{0, 6}) {
				s.Errorf("steps of %s: %v, %+v, %v", step, got, sum, err)
			}
		}
		by, err := tx.MeasurementsByApp(store.Hour, hour, hour.Add(2*time.Hour))
		if err != nil || len(by) != 1 || by["app_1"].Requests != 6 {
			s.Errorf("by app: %v, %v", by, err)
		}
		all, byHour, err := tx.Viewers("app_1", hour, hour.Add(2*time.Hour))
		if err != nil || all != 2 || byHour[hour] != 2 || byHour[hour.Add(time.Hour)] != 1 {
			s.Errorf("viewers: %d, %v, %v", all, byHour, err)
		}
		if all, _, err = tx.Viewers("", hour, hour.Add(time.Hour)); err != nil || all != 2 {
			s.Errorf("viewers of the platform: %d, %v", all, err)
		}
		if err := tx.ForgetMeasurements(hour.Add(time.Hour), hour.Add(time.Hour), hour.Add(time.Hour)); err != nil {
			return err
		}
		n := 0
		err = tx.Measurements("app_1", store.Minute, hour, hour.Add(2*time.Hour), func(time.Time, store.Measurement) { n++ })
		if n != 1 {
			s.Errorf("%d minutes are left", n)
		}
		return err
	})
}

func (s *suite) auditLog() {
	s.update(func(tx *store.Tx) error {
		for i, l := range []store.Audit{
			{Actor: "ada", Verb: "app.create", Object: "iris"},
			{Actor: "bob", Verb: "app.share", Object: "iris", Detail: "Carol 100%"},
			{Actor: "ada", Verb: "apps", Object: "x"},
			{Actor: "ada", Verb: "user.update", Object: "bob"},
		} {
			l.At, l.Result = now.Add(time.Duration(i)*time.Hour), "ok"
			if err := tx.AddAudit(l); err != nil {
				return err
			}
		}
		return nil
	})
	for name, tt := range map[string]struct {
		f    store.AuditFilter
		want []string
	}{
		"all":            {store.AuditFilter{}, []string{"app.create", "app.share", "apps", "user.update"}},
		"actor":          {store.AuditFilter{Actor: "ada"}, []string{"app.create", "apps", "user.update"}},
		"kind of verb":   {store.AuditFilter{Verb: "app"}, []string{"app.create", "app.share"}},
		"object":         {store.AuditFilter{Object: "bob"}, []string{"user.update"}},
		"part, any case": {store.AuditFilter{Query: "CAROL 100%"}, []string{"app.share"}},
		"no pattern":     {store.AuditFilter{Query: "c%l"}, nil},
		"span":           {store.AuditFilter{Since: now.Add(time.Hour), Until: now.Add(3 * time.Hour)}, []string{"app.share", "apps"}},
	} {
		s.update(func(tx *store.Tx) error {
			var got, back []string
			lines, err := tx.AuditLinesAfter(tt.f, 0, 100)
			if err != nil {
				return err
			}
			for _, l := range lines {
				got = append(got, l.Verb)
			}
			for before := int64(0); ; { // in pages, newest first
				page, err := tx.AuditLines(tt.f, before, 1)
				if err != nil {
					return err
				}
				if len(page) == 0 {
					break
				}
				back, before = append(back, page[0].Verb), page[0].Seq
			}
			slices.Reverse(back)
			if !slices.Equal(got, tt.want) || !slices.Equal(back, tt.want) {
				s.Errorf("%s: %v and %v, want %v", name, got, back, tt.want)
			}
			return nil
		})
	}
}

func (s *suite) settings() {
	s.update(func(tx *store.Tx) error {
		d, err := tx.Defaults()
		if err != nil || d.Access != slipway.AccessRestricted || !d.InPortal {
			s.Errorf("defaults at first: %+v, %v", d, err)
		}
		if err := tx.SetLimits(store.Limits{Seats: 7}); err != nil {
			return err
		}
		if err := tx.SetLimits(store.Limits{Seats: 8}); err != nil {
			return err
		}
		l, err := tx.Limits()
		if l.Seats != 8 {
			s.Errorf("limits: %+v", l)
		}
		return err
	})
	s.update(func(tx *store.Tx) error {
		if err := tx.AddPerson(person("lia", slipway.RoleLicensed)); err != nil {
			return err
		}
		off := person("off", slipway.RoleLicensed)
		off.Disabled = true
		if err := tx.AddPerson(off); err != nil {
			return err
		}
		n, err := tx.Seats(slipway.RoleLicensed)
		if err != nil || n != 1 {
			s.Errorf("%d seats, %v", n, err)
		}
		cannot, err := tx.CannotOwn()
		if err != nil || len(cannot) != 2 || !cannot[owner] || !cannot[off.ID] {
			s.Errorf("cannot own: %v, %v", cannot, err)
		}
		n, err = tx.PeopleCount()
		if n != 2 {
			s.Errorf("%d people", n)
		}
		return err
	})
}
