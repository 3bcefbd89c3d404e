package store

import (
	"database/sql"
	"encoding/json"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// Deploy is a deploy as stored; its Steps are rows of their own.
type Deploy struct {
	slipway.Deploy
	Origin       int              // release whose artifacts are used again; 0 = they are built
	Plan         string           // JSON: what detection found
	Previous     int              // release that it took over from
	SupersededBy slipway.DeployID // the newer one
	Deadline     time.Time        // of the state; zero = none
	Owner        slipway.UserID   // of the app, for fairness
}

const deployColumns = `d.id, d.app, a.name, a.owner, d.seq, d.cause, d.commit_id, d.message, d.source, d.origin, d.plan,
	d.release, d.previous, d.state, d.reason, d.by, d.canceling, d.superseded_by, d.deadline, d.started, d.ended
	FROM deploys d JOIN apps a ON a.id = d.app`

func scanDeploy(scan func(...any) error) (Deploy, error) {
	var d Deploy
	var deadline, started int64
	var ended *int64
	err := scan(&d.ID, &d.App, &d.AppName, &d.Owner, &d.Seq, &d.Cause, &d.Commit, &d.Message, &d.Source, &d.Origin, &d.Plan,
		&d.Release, &d.Previous, &d.State, &d.Reason, &d.By, &d.Canceling, &d.SupersededBy, &deadline, &started, &ended)
	d.Started, d.Ended = timeOf(started), timePointer(ended)
	if deadline != 0 {
		d.Deadline = timeOf(deadline)
	}
	return d, err
}

func timePointer(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := timeOf(*us)
	return &t
}

func microsPointer(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	us := micros(*t)
	return &us
}

// AddDeploy inserts a deploy with the app's next number, which it returns.
func (tx *Tx) AddDeploy(d Deploy) (seq int, err error) {
	err = tx.row(`INSERT INTO deploys(id, app, seq, cause, commit_id, message, source, origin, state, by, started)
		SELECT ?, ?, coalesce(max(seq), 0) + 1, ?, ?, ?, ?, ?, ?, ?, ? FROM deploys WHERE app = ? RETURNING seq`,
		d.ID, d.App, d.Cause, d.Commit, d.Message, d.Source, d.Origin, d.State, d.By, micros(d.Started), d.App).Scan(&seq)
	return seq, err
}

// Deploy returns a deploy by id.
func (tx *Tx) Deploy(id slipway.DeployID) (Deploy, error) {
	d, err := scanDeploy(tx.row(`SELECT `+deployColumns+` WHERE d.id = ?`, id).Scan)
	return d, found(err, "no such deploy")
}

func (tx *Tx) deploys(where string, args ...any) ([]Deploy, error) {
	var out []Deploy
	err := tx.rows(func(r *sql.Rows) error {
		d, err := scanDeploy(r.Scan)
		out = append(out, d)
		return err
	}, `SELECT `+deployColumns+` WHERE `+where, args...)
	return out, err
}

// DeploysOf lists an app's deploys, newest first, older than the given number
// unless that is 0.
func (tx *Tx) DeploysOf(app slipway.AppID, before, limit int) ([]Deploy, error) {
	return tx.deploys(`d.app = ? AND (? = 0 OR d.seq < ?) ORDER BY d.seq DESC LIMIT ?`, app, before, before, limit)
}

// OpenDeploys lists the deploys that are not final, oldest first.
func (tx *Tx) OpenDeploys() ([]Deploy, error) {
	return tx.deploys(`d.ended IS NULL ORDER BY d.id`)
}

// OpenDeploysOf lists the deploys of an app that are not final, oldest first.
func (tx *Tx) OpenDeploysOf(app slipway.AppID) ([]Deploy, error) {
	return tx.deploys(`d.ended IS NULL AND d.app = ? ORDER BY d.seq`, app)
}

// SaveDeploy writes what may change of a deploy.
func (tx *Tx) SaveDeploy(d Deploy) error {
	var deadline int64
	if !d.Deadline.IsZero() {
		deadline = micros(d.Deadline)
	}
	n, err := tx.exec(`UPDATE deploys SET source = ?, plan = ?, release = ?, previous = ?, state = ?, reason = ?, canceling = ?,
		superseded_by = ?, deadline = ?, ended = ? WHERE id = ?`,
		d.Source, d.Plan, d.Release, d.Previous, d.State, d.Reason, d.Canceling, d.SupersededBy, deadline, microsPointer(d.Ended), d.ID)
	if err == nil && n == 0 {
		return errs.NotFound("no such deploy")
	}
	return err
}

// Steps lists a deploy's steps in order.
func (tx *Tx) Steps(id slipway.DeployID) ([]slipway.DeployStep, error) {
	var out []slipway.DeployStep
	err := tx.rows(func(r *sql.Rows) error {
		var s slipway.DeployStep
		var started int64
		var ended *int64
		err := r.Scan(&s.Name, &s.Detail, &s.State, &started, &ended)
		s.Started, s.Ended = timeOf(started), timePointer(ended)
		out = append(out, s)
		return err
	}, `SELECT name, detail, state, started, ended FROM deploy_steps WHERE deploy = ? ORDER BY n`, id)
	return out, err
}

// SetStep adds a step after the others, or changes the one of this name.
func (tx *Tx) SetStep(id slipway.DeployID, s slipway.DeployStep) error {
	_, err := tx.exec(`INSERT INTO deploy_steps(deploy, n, name, detail, state, started, ended)
		SELECT ?, coalesce(max(n), 0) + 1, ?, ?, ?, ?, ? FROM deploy_steps WHERE deploy = ?
		ON CONFLICT (deploy, name) DO UPDATE SET detail = excluded.detail, state = excluded.state, ended = excluded.ended`,
		id, s.Name, s.Detail, s.State, micros(s.Started), microsPointer(s.Ended), id)
	return err
}

// Release is a release as stored.
type Release struct {
	slipway.Release
	Deploy slipway.DeployID // that made it
	Plan   string           // JSON: what detection found
	Sealed []byte           // the environment of its processes, and their limits
}

// releasePlan is what the nouns need of a plan.
type releasePlan struct {
	Python   string            `json:"python"`
	Procfile map[string]string `json:"procfile"`
}

const releaseColumns = `app, n, deploy, commit_id, message, source, env, plan, sealed, created, created_by, cause FROM releases`

func scanRelease(scan func(...any) error) (Release, error) {
	var r Release
	var created int64
	err := scan(&r.App, &r.N, &r.Deploy, &r.Commit, &r.Message, &r.Source, &r.Env, &r.Plan, &r.Sealed, &created, &r.CreatedBy, &r.Cause)
	if err != nil {
		return r, err
	}
	var p releasePlan
	err = json.Unmarshal([]byte(r.Plan), &p)
	r.Created, r.Python, r.Procfile = timeOf(created), p.Python, p.Procfile
	return r, err
}

// NextRelease returns the number that an app's next release gets.
func (tx *Tx) NextRelease(app slipway.AppID) (int, error) {
	var n int
	err := tx.row(`SELECT coalesce(max(n), 0) + 1 FROM releases WHERE app = ?`, app).Scan(&n)
	return n, err
}

// AddRelease inserts a release; Conflict when its number is taken or its
// deploy has made one before.
func (tx *Tx) AddRelease(r Release) error {
	_, err := tx.exec(`INSERT INTO releases(app, n, deploy, commit_id, message, source, env, plan, sealed, created, created_by, cause)
		VALUES (?,?,?,?,?,?,?,?,?,?,?,?)`,
		r.App, r.N, r.Deploy, r.Commit, r.Message, r.Source, r.Env, r.Plan, r.Sealed, micros(r.Created), r.CreatedBy, r.Cause)
	if tx.db.unique(err) {
		return errs.Conflict("release %d exists", r.N)
	}
	return err
}

// Release returns one release of an app.
func (tx *Tx) Release(app slipway.AppID, n int) (Release, error) {
	r, err := scanRelease(tx.row(`SELECT `+releaseColumns+` WHERE app = ? AND n = ?`, app, n).Scan)
	return r, found(err, "the app has no release %d", n)
}

// ReleasesOf lists an app's releases, newest first, older than the given
// number unless that is 0.
func (tx *Tx) ReleasesOf(app slipway.AppID, before, limit int) ([]Release, error) {
	var out []Release
	err := tx.rows(func(rows *sql.Rows) error {
		r, err := scanRelease(rows.Scan)
		out = append(out, r)
		return err
	}, `SELECT `+releaseColumns+` WHERE app = ? AND (? = 0 OR n < ?) ORDER BY n DESC LIMIT ?`, app, before, before, limit)
	return out, err
}

// KeptLayers lists the layers of each app's newest releases, of its current
// one, and of deploys that are not final.
func (tx *Tx) KeptLayers(newest int) (map[string]bool, error) {
	out := map[string]bool{}
	err := tx.rows(func(r *sql.Rows) error {
		var source, env string
		err := r.Scan(&source, &env)
		out[source], out[env] = true, true
		return err
	}, `SELECT r.source, r.env FROM releases r JOIN apps a ON a.id = r.app
		WHERE r.n = a.current OR r.n > (SELECT max(n) FROM releases WHERE app = a.id) - ?`, newest)
	if err != nil {
		return nil, err
	}
	err = tx.rows(func(r *sql.Rows) error {
		var source, text string
		if err := r.Scan(&source, &text); err != nil {
			return err
		}
		var plan struct {
			Env    string `json:"env_key"`
			Source string `json:"source"`
		}
		if text != "" {
			if err := json.Unmarshal([]byte(text), &plan); err != nil {
				return err
			}
		}
		out[source], out[plan.Source], out[plan.Env] = true, true, true
		return nil
	}, `SELECT source, plan FROM deploys WHERE ended IS NULL`)
	delete(out, "")
	return out, err
}
