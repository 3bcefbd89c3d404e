package store

import (
	"database/sql"
	"errors"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// Person is a user as stored.
type Person struct {
	slipway.User
	Password string // argon2id in PHC form
	Epoch    int64  // grows to void what was signed for the person
}

const userColumns = `u.id, u.name, u.email, u.full_name, u.password, u.disabled, u.epoch, u.created,
	(SELECT coalesce(string_agg(role, ',' ORDER BY role), '') FROM roles WHERE user = u.id)`

func scanPerson(scan func(...any) error) (Person, error) {
	var p Person
	var created int64
	var roles string
	err := scan(&p.ID, &p.Name, &p.Email, &p.FullName, &p.Password, &p.Disabled, &p.Epoch, &created, &roles)
	p.Created = timeOf(created)
	p.Roles = []slipway.Role{}
	for r := range strings.SplitSeq(roles, ",") {
		if r != "" {
			p.Roles = append(p.Roles, slipway.Role(r))
		}
	}
	return p, err
}

// Person returns a user by id; NotFound without one.
func (tx *Tx) Person(id slipway.UserID) (Person, error) {
	p, err := scanPerson(tx.row(`SELECT `+userColumns+` FROM users u WHERE id = ?`, id).Scan)
	return p, found(err, "no such person")
}

// PersonByName returns a user by name (lower case); NotFound without one.
func (tx *Tx) PersonByName(name string) (Person, error) {
	p, err := scanPerson(tx.row(`SELECT `+userColumns+` FROM users u WHERE name = ?`, name).Scan)
	return p, found(err, "no person named %q", name)
}

// People lists users whose name, full name or email holds query, by name,
// after the given name.
func (tx *Tx) People(query, after string, limit int) ([]Person, error) {
	var out []Person
	q := like(query)
	err := tx.rows(func(r *sql.Rows) error {
		p, err := scanPerson(r.Scan)
		out = append(out, p)
		return err
	}, `SELECT `+userColumns+` FROM users u
		WHERE name > ? AND (name LIKE ? ESCAPE '\' OR lower(full_name) LIKE ? ESCAPE '\' OR lower(email) LIKE ? ESCAPE '\')
		ORDER BY name LIMIT ?`, after, q, q, q, limit)
	return out, err
}

// like is a pattern that matches lower-case text that holds s. Only ASCII has
// its case folded: that is what lower does in every database.
func like(s string) string {
	s = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

// AddPerson stores a new user with its roles; Conflict when the name is taken.
func (tx *Tx) AddPerson(p Person) error {
	_, err := tx.exec(`INSERT INTO users(id, name, email, full_name, password, disabled, epoch, created) VALUES (?,?,?,?,?,?,?,?)`,
		p.ID, p.Name, p.Email, p.FullName, p.Password, p.Disabled, p.Epoch, micros(p.Created))
	if tx.db.unique(err) {
		return errs.Conflict("there is already a person named %q", p.Name)
	}
	if err != nil {
		return err
	}
	return tx.setRoles(p.ID, p.Roles, p.Created)
}

// SavePerson stores everything of a user but its id, name and creation.
func (tx *Tx) SavePerson(p Person, now time.Time) error {
	_, err := tx.exec(`UPDATE users SET email = ?, full_name = ?, password = ?, disabled = ?, epoch = ? WHERE id = ?`,
		p.Email, p.FullName, p.Password, p.Disabled, p.Epoch, p.ID)
	if err != nil {
		return err
	}
	return tx.setRoles(p.ID, p.Roles, now)
}

// setRoles keeps since of the roles that stay.
func (tx *Tx) setRoles(id slipway.UserID, roles []slipway.Role, now time.Time) error {
	keep := make([]any, 0, len(roles)+1)
	keep = append(keep, id)
	for _, r := range roles {
		keep = append(keep, r)
		if _, err := tx.exec(`INSERT INTO roles(user, role, source, since) VALUES (?,?,'local',?) ON CONFLICT DO NOTHING`,
			id, r, micros(now)); err != nil {
			return err
		}
	}
	_, err := tx.exec(`DELETE FROM roles WHERE user = ? AND role NOT IN (''`+strings.Repeat(",?", len(roles))+`)`, keep...)
	return err
}

// Admins counts the administrators who can sign in.
func (tx *Tx) Admins() (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM users u JOIN roles r ON r.user = u.id WHERE r.role = ? AND NOT u.disabled`, slipway.RoleAdmin).Scan(&n)
	return n, err
}

// Failures is what is known of failed sign-ins with one key.
type Failures struct {
	Count int
	Last  time.Time
	Until time.Time
}

// LoginFailures returns the failures of a key; none is the zero value.
func (tx *Tx) LoginFailures(key string) (Failures, error) {
	var f Failures
	var last, until int64
	err := tx.row(`SELECT count, last, until FROM login_failures WHERE key = ?`, key).Scan(&f.Count, &last, &until)
	if errors.Is(err, sql.ErrNoRows) {
		return Failures{}, nil
	}
	f.Last, f.Until = timeOf(last), timeOf(until)
	return f, err
}

// SetLoginFailures stores the failures of a key.
func (tx *Tx) SetLoginFailures(key string, f Failures) error {
	_, err := tx.exec(`INSERT INTO login_failures(key, count, last, until) VALUES (?,?,?,?)
		ON CONFLICT (key) DO UPDATE SET count = excluded.count, last = excluded.last, until = excluded.until`,
		key, f.Count, micros(f.Last), micros(f.Until))
	return err
}

// ClearLoginFailures forgets the failures of a key.
func (tx *Tx) ClearLoginFailures(key string) error {
	_, err := tx.exec(`DELETE FROM login_failures WHERE key = ?`, key)
	return err
}

// Audit is a line of the audit trail.
type Audit struct {
	At     time.Time
	Actor  string
	Addr   string
	Verb   string
	Object string
	Result string // ok, or the kind of the error
	Detail string
}

// AddAudit adds a line to the audit trail.
func (tx *Tx) AddAudit(a Audit) error {
	_, err := tx.exec(`INSERT INTO audit(at, actor, addr, verb, object, result, detail) VALUES (?,?,?,?,?,?,?)`,
		micros(a.At), a.Actor, a.Addr, a.Verb, a.Object, a.Result, a.Detail)
	return err
}

// AuditTrail lists the newest lines first.
func (tx *Tx) AuditTrail(limit int) ([]Audit, error) {
	var out []Audit
	err := tx.rows(func(r *sql.Rows) error {
		var a Audit
		var at int64
		err := r.Scan(&at, &a.Actor, &a.Addr, &a.Verb, &a.Object, &a.Result, &a.Detail)
		a.At = timeOf(at)
		out = append(out, a)
		return err
	}, `SELECT at, actor, addr, verb, object, result, detail FROM audit ORDER BY seq DESC LIMIT ?`, limit)
	return out, err
}

// Seats counts the people who have a role and are not disabled.
func (tx *Tx) Seats(role slipway.Role) (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM users u JOIN roles r ON r.user = u.id WHERE r.role = ? AND NOT u.disabled`, role).Scan(&n)
	return n, err
}

// CannotOwn lists the people who are disabled or have no seat.
func (tx *Tx) CannotOwn() (map[slipway.UserID]bool, error) {
	out := map[slipway.UserID]bool{}
	err := tx.rows(func(r *sql.Rows) error {
		var id slipway.UserID
		err := r.Scan(&id)
		out[id] = true
		return err
	}, `SELECT u.id FROM users u LEFT JOIN roles r ON r.user = u.id AND r.role = ? WHERE u.disabled OR r.role IS NULL`, slipway.RoleLicensed)
	return out, err
}

// PeopleCount counts everybody who may sign in.
func (tx *Tx) PeopleCount() (int, error) {
	var n int
	err := tx.row(`SELECT count(*) FROM users WHERE NOT disabled`).Scan(&n)
	return n, err
}

// WithRole lists the people who have a role.
func (tx *Tx) WithRole(role slipway.Role) ([]slipway.UserID, error) {
	var out []slipway.UserID
	err := tx.rows(func(r *sql.Rows) error {
		var id slipway.UserID
		err := r.Scan(&id)
		out = append(out, id)
		return err
	}, `SELECT user FROM roles WHERE role = ?`, role)
	return out, err
}
