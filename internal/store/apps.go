package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// App is an app as stored. Its State is not: it is derived.
type App struct {
	slipway.App
	Sealed   []byte // DASH_SECRET_KEY
	Deleting bool   // nobody sees it; the loop takes it apart
}

const appColumns = `a.id, a.name, a.title, a.description, a.owner, u.name, a.access, a.isolated, a.in_portal,
	a.health_path, a.paused, a.current, a.sealed, a.deleting, a.rev, a.created, a.updated, a.tags, a.rank, a.contact, a.thumbnail
	FROM apps a JOIN users u ON u.id = a.owner`

func scanApp(scan func(...any) error) (App, error) {
	var a App
	var created, updated int64
	var tags string
	err := scan(&a.ID, &a.Name, &a.Title, &a.Description, &a.Owner, &a.OwnerName, &a.Access, &a.Isolated, &a.InPortal,
		&a.HealthPath, &a.Paused, &a.Current, &a.Sealed, &a.Deleting, &a.Rev, &created, &updated, &tags, &a.Rank, &a.Contact, &a.Thumbnail)
	a.Created, a.Updated = timeOf(created), timeOf(updated)
	if err == nil && tags != "[]" {
		err = json.Unmarshal([]byte(tags), &a.Tags)
	}
	return a, err
}

// AddApp inserts an app; Conflict when its name is taken.
func (tx *Tx) AddApp(a App) error {
	_, err := tx.exec(`INSERT INTO apps(id, name, title, description, owner, access, sealed, in_portal, created, updated)
		VALUES (?,?,?,?,?,?,?,?,?,?)`,
		a.ID, a.Name, a.Title, a.Description, a.Owner, a.Access, a.Sealed, a.InPortal, micros(a.Created), micros(a.Created))
	if tx.db.unique(err) {
		return errs.Conflict("the name %q is taken: choose another", a.Name)
	}
	return err
}

// App returns an app by id, also one that is being deleted.
func (tx *Tx) App(id slipway.AppID) (App, error) {
	a, err := scanApp(tx.row(`SELECT `+appColumns+` WHERE a.id = ?`, id).Scan)
	return a, found(err, "no such app")
}

// AppByName returns an app by name, also one that is being deleted.
func (tx *Tx) AppByName(name string) (App, error) {
	a, err := scanApp(tx.row(`SELECT `+appColumns+` WHERE a.name = ?`, name).Scan)
	return a, found(err, "no such app")
}

// Apps lists all apps in the order of their names, after the given one.
func (tx *Tx) Apps(after string) ([]App, error) {
	var out []App
	err := tx.rows(func(r *sql.Rows) error {
		a, err := scanApp(r.Scan)
		out = append(out, a)
		return err
	}, `SELECT `+appColumns+` WHERE a.name > ? ORDER BY a.name`, after)
	return out, err
}

// SaveApp writes what may change of an app, and raises its revision.
func (tx *Tx) SaveApp(a App, now time.Time) error {
	tags, err := json.Marshal(a.Tags)
	if err != nil {
		return err
	}
	if len(a.Tags) == 0 {
		tags = []byte("[]")
	}
	n, err := tx.exec(`UPDATE apps SET title = ?, description = ?, owner = ?, access = ?, isolated = ?, in_portal = ?,
		health_path = ?, paused = ?, current = ?, deleting = ?, tags = ?, rank = ?, contact = ?, thumbnail = ?, rev = rev + 1, updated = ? WHERE id = ?`,
		a.Title, a.Description, a.Owner, a.Access, a.Isolated, a.InPortal, a.HealthPath, a.Paused, a.Current, a.Deleting,
		string(tags), a.Rank, a.Contact, a.Thumbnail, micros(now), a.ID)
	if err == nil && n == 0 {
		return errs.NotFound("no such app")
	}
	return err
}

// DeleteApp deletes an app's rows, all of them.
func (tx *Tx) DeleteApp(id slipway.AppID) error {
	for _, q := range []string{
		`DELETE FROM env_vars WHERE scope = ?`, `DELETE FROM pictures WHERE owner = ?`,
		`DELETE FROM measurements WHERE app = ?`, `DELETE FROM viewers WHERE app = ?`, `DELETE FROM apps WHERE id = ?`,
	} {
		if _, err := tx.exec(q, id); err != nil {
			return err
		}
	}
	return nil
}

// GrantsOn lists the grants on an app by the people's names.
func (tx *Tx) GrantsOn(id slipway.AppID) ([]slipway.Grant, error) {
	out := []slipway.Grant{}
	err := tx.rows(func(r *sql.Rows) error {
		var g slipway.Grant
		err := r.Scan(&g.User, &g.Name, &g.Level)
		out = append(out, g)
		return err
	}, `SELECT g.user, u.name, g.role FROM grants g JOIN users u ON u.id = g.user WHERE g.app = ? ORDER BY u.name`, id)
	return out, err
}

// GrantsOf returns a person's grants by app.
func (tx *Tx) GrantsOf(id slipway.UserID) (map[slipway.AppID]slipway.GrantRole, error) {
	out := map[slipway.AppID]slipway.GrantRole{}
	err := tx.rows(func(r *sql.Rows) error {
		var app slipway.AppID
		var role slipway.GrantRole
		err := r.Scan(&app, &role)
		out[app] = role
		return err
	}, `SELECT app, role FROM grants WHERE user = ?`, id)
	return out, err
}

// GrantOf returns a person's grant on an app; empty when there is none.
func (tx *Tx) GrantOf(app slipway.AppID, user slipway.UserID) (slipway.GrantRole, error) {
	var role slipway.GrantRole
	err := tx.row(`SELECT role FROM grants WHERE app = ? AND user = ?`, app, user).Scan(&role)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return role, err
}

// SetGrant gives a person a role on an app, or changes it.
func (tx *Tx) SetGrant(app slipway.AppID, user slipway.UserID, role slipway.GrantRole) error {
	_, err := tx.exec(`INSERT INTO grants(app, user, role) VALUES (?,?,?) ON CONFLICT (app, user) DO UPDATE SET role = excluded.role`, app, user, role)
	return err
}

// DeleteGrant takes a person's role on an app away; false when there was none.
func (tx *Tx) DeleteGrant(app slipway.AppID, user slipway.UserID) (bool, error) {
	n, err := tx.exec(`DELETE FROM grants WHERE app = ? AND user = ?`, app, user)
	return n > 0, err
}

// EnvVar is a variable as stored: every value is sealed.
type EnvVar struct {
	Key    string
	Sealed []byte
	Secret bool
}

// EnvVars lists the variables of a scope (an app's id, or empty for all apps) by key.
func (tx *Tx) EnvVars(scope string) ([]EnvVar, error) {
	var out []EnvVar
	err := tx.rows(func(r *sql.Rows) error {
		var v EnvVar
		err := r.Scan(&v.Key, &v.Sealed, &v.Secret)
		out = append(out, v)
		return err
	}, `SELECT key, sealed, secret FROM env_vars WHERE scope = ? ORDER BY key`, scope)
	return out, err
}

// SetEnvVar sets a variable of a scope.
func (tx *Tx) SetEnvVar(scope string, v EnvVar) error {
	_, err := tx.exec(`INSERT INTO env_vars(scope, key, sealed, secret) VALUES (?,?,?,?)
		ON CONFLICT (scope, key) DO UPDATE SET sealed = excluded.sealed, secret = excluded.secret`, scope, v.Key, v.Sealed, v.Secret)
	return err
}

// DeleteEnvVar forgets a variable; false when there was none.
func (tx *Tx) DeleteEnvVar(scope, key string) (bool, error) {
	n, err := tx.exec(`DELETE FROM env_vars WHERE scope = ? AND key = ?`, scope, key)
	return n > 0, err
}

// Replicas returns how many replicas are wanted of each process of an app
// that was ever scaled.
func (tx *Tx) Replicas(app slipway.AppID) (map[string]int, error) {
	out := map[string]int{}
	err := tx.rows(func(r *sql.Rows) error {
		var name string
		var n int
		err := r.Scan(&name, &n)
		out[name] = n
		return err
	}, `SELECT name, replicas FROM processes WHERE app = ?`, app)
	return out, err
}

// SetReplicas sets how many replicas are wanted of a process.
func (tx *Tx) SetReplicas(app slipway.AppID, process string, n int) error {
	_, err := tx.exec(`INSERT INTO processes(app, name, replicas) VALUES (?,?,?)
		ON CONFLICT (app, name) DO UPDATE SET replicas = excluded.replicas`, app, process, n)
	return err
}
