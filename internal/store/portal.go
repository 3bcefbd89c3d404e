package store

import (
	"database/sql"
	"encoding/json"
	"time"

	"slipway.dev/slipway"
)

// Picture is an uploaded picture.
type Picture struct {
	Type    string // image/png …
	Version string // of the content
	Data    []byte
}

// Picture returns the picture of an app, or of anything else that has one.
func (tx *Tx) Picture(owner string) (Picture, error) {
	var p Picture
	err := tx.row(`SELECT type, version, data FROM pictures WHERE owner = ?`, owner).Scan(&p.Type, &p.Version, &p.Data)
	return p, found(err, "there is no picture")
}

// SetPicture stores a picture in place of the one before.
func (tx *Tx) SetPicture(owner string, p Picture) error {
	_, err := tx.exec(`INSERT INTO pictures(owner, type, version, data) VALUES (?,?,?,?)
		ON CONFLICT (owner) DO UPDATE SET type = excluded.type, version = excluded.version, data = excluded.data`, owner, p.Type, p.Version, p.Data)
	return err
}

// DeletePicture removes a picture, if there is one.
func (tx *Tx) DeletePicture(owner string) error {
	_, err := tx.exec(`DELETE FROM pictures WHERE owner = ?`, owner)
	return err
}

// SetFavourite makes an app a person's favourite, or one no more.
func (tx *Tx) SetFavourite(person slipway.UserID, app slipway.AppID, on bool) error {
	q := `DELETE FROM favourites WHERE person = ? AND app = ?`
	if on {
		q = `INSERT INTO favourites(person, app) VALUES (?,?) ON CONFLICT DO NOTHING`
	}
	_, err := tx.exec(q, person, app)
	return err
}

// Favourites returns a person's favourites.
func (tx *Tx) Favourites(person slipway.UserID) (map[slipway.AppID]bool, error) {
	out := map[slipway.AppID]bool{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		err := r.Scan(&app)
		out[app] = true
		return err
	}, `SELECT app FROM favourites WHERE person = ?`, person)
	return out, err
}

// Opened returns what a person has opened, and when last.
func (tx *Tx) Opened(person slipway.UserID) (map[slipway.AppID]time.Time, error) {
	out := map[slipway.AppID]time.Time{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var last int64
		err := r.Scan(&app, &last)
		out[app] = timeOf(last)
		return err
	}, `SELECT app, last FROM opens WHERE person = ?`, person)
	return out, err
}

// Opens is how often an app was opened, and when last.
type Opens struct {
	Count int64
	Last  time.Time
}

// OpensByApp returns how often each app was opened.
func (tx *Tx) OpensByApp() (map[slipway.AppID]Opens, error) {
	out := map[slipway.AppID]Opens{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var o Opens
		var last int64
		err := r.Scan(&app, &last, &o.Count)
		o.Last = timeOf(last)
		out[app] = o
		return err
	}, `SELECT app, last, count FROM app_opens`)
	return out, err
}

// AddOpens notes that a person opened an app so often, last at the given time.
// An app or a person that is gone is no error.
func (tx *Tx) AddOpens(person slipway.UserID, app slipway.AppID, n int64, last time.Time) error {
	us := micros(last)
	if _, err := tx.exec(`INSERT INTO app_opens(app, last, count) SELECT id, ?, ? FROM apps WHERE id = ?
		ON CONFLICT (app) DO UPDATE SET count = app_opens.count + excluded.count,
			last = CASE WHEN excluded.last > app_opens.last THEN excluded.last ELSE app_opens.last END`, us, n, app); err != nil {
		return err
	}
	_, err := tx.exec(`INSERT INTO opens(person, app, last) SELECT u.id, a.id, ? FROM users u JOIN apps a ON a.id = ? WHERE u.id = ?
		ON CONFLICT (person, app) DO UPDATE SET last = CASE WHEN excluded.last > opens.last THEN excluded.last ELSE opens.last END`, us, app, person)
	return err
}

// Setting returns a setting's JSON; empty when it was never set.
func (tx *Tx) Setting(name string) (string, error) {
	var v string
	err := tx.row(`SELECT coalesce(max(value), '') FROM settings WHERE name = ?`, name).Scan(&v)
	return v, err
}

// SetSetting stores a setting's JSON.
func (tx *Tx) SetSetting(name, value string) error {
	_, err := tx.exec(`INSERT INTO settings(name, value) VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// The names of settings.
const (
	SettingBranding      = "branding"
	SettingAnnouncements = "announcements"
	settingDefaults      = "defaults"
	settingLimits        = "limits"
)

// ReadSetting decodes a setting into to, which keeps what it has when the
// setting was never made.
func (tx *Tx) ReadSetting(name string, to any) error {
	text, err := tx.Setting(name)
	if err != nil || text == "" {
		return err
	}
	return json.Unmarshal([]byte(text), to)
}

// WriteSetting stores a setting.
func (tx *Tx) WriteSetting(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.SetSetting(name, string(text))
}

// Defaults returns what new apps begin with.
func (tx *Tx) Defaults() (slipway.Defaults, error) {
	d := slipway.Defaults{Access: slipway.AccessRestricted, InPortal: true, Unauthenticated: true}
	return d, tx.ReadSetting(settingDefaults, &d)
}

// SetDefaults stores what new apps begin with.
func (tx *Tx) SetDefaults(d slipway.Defaults) error { return tx.WriteSetting(settingDefaults, d) }

// Limits are what administrators have set; 0 = the default.
type Limits struct {
	Replicas        int64 `json:"replicas,omitempty"`
	Volumes         int64 `json:"volumes,omitempty"`
	MemoryMB        int64 `json:"memory_mb,omitempty"`
	Seats           int64 `json:"seats,omitempty"`
	ProcessReplicas int64 `json:"process_replicas,omitempty"`
	ReplicaMemoryMB int64 `json:"replica_memory_mb,omitempty"`
}

// Limits returns what administrators have set.
func (tx *Tx) Limits() (Limits, error) {
	var l Limits
	return l, tx.ReadSetting(settingLimits, &l)
}

// SetLimits stores what an administrator has set.
func (tx *Tx) SetLimits(l Limits) error { return tx.WriteSetting(settingLimits, l) }

// AppProcesses is what an app wants to run.
type AppProcesses struct {
	App      slipway.AppID
	Procfile map[string]string
	Replicas map[string]int // of those that were ever scaled
}

// RunningProcesses lists what every app wants to run that has a release and is
// not paused.
func (tx *Tx) RunningProcesses() ([]AppProcesses, error) {
	var out []AppProcesses
	at := map[slipway.AppID]int{}
	err := tx.rows(func(r *sql.Rows) error {
		a := AppProcesses{Replicas: map[string]int{}}
		var text string
		if err := r.Scan(&a.App, &text); err != nil {
			return err
		}
		var p releasePlan
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return err
		}
		a.Procfile = p.Procfile
		at[a.App] = len(out)
		out = append(out, a)
		return nil
	}, `SELECT a.id, r.plan FROM apps a JOIN releases r ON r.app = a.id AND r.n = a.current WHERE NOT a.paused AND NOT a.deleting ORDER BY a.name`)
	if err != nil {
		return nil, err
	}
	err = tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var name string
		var n int
		if err := r.Scan(&app, &name, &n); err != nil {
			return err
		}
		if i, ok := at[app]; ok {
			out[i].Replicas[name] = n
		}
		return nil
	}, `SELECT app, name, replicas FROM processes`)
	return out, err
}
