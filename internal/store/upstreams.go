package store

import (
	"database/sql"
	"errors"

	"slipway.dev/slipway"
)

// Upstream is the repository that an app is fetched from, as stored.
type Upstream struct {
	slipway.Upstream
	Sealed []byte // the token; empty = none
}

// Upstream returns an app's; nil when it has none.
func (tx *Tx) Upstream(app slipway.AppID) (*Upstream, error) {
	var u Upstream
	err := tx.row(`SELECT url, ref, person, sealed FROM upstreams WHERE app = ?`, app).Scan(&u.URL, &u.Ref, &u.User, &u.Sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // most apps have none
	}
	u.Token = len(u.Sealed) > 0
	return &u, err
}

// SetUpstream sets an app's, or with nil takes it away.
func (tx *Tx) SetUpstream(app slipway.AppID, u *Upstream) error {
	if u == nil {
		_, err := tx.exec(`DELETE FROM upstreams WHERE app = ?`, app)
		return err
	}
	sealed := u.Sealed
	if sealed == nil {
		sealed = []byte{}
	}
	_, err := tx.exec(`INSERT INTO upstreams(app, url, ref, person, sealed) VALUES (?,?,?,?,?)
		ON CONFLICT (app) DO UPDATE SET url = excluded.url, ref = excluded.ref, person = excluded.person, sealed = excluded.sealed`,
		app, u.URL, u.Ref, u.User, sealed)
	return err
}
