package store

import (
	"database/sql"
	"encoding/json"
	"time"

	"slipway.dev/slipway"
)

// Session is a browser in which a person is signed in.
type Session struct {
	ID      slipway.SessionID
	User    slipway.UserID
	Created time.Time
	Seen    time.Time
	Expires time.Time
	Ended   time.Time // zero while it lives
	Agent   string
	Addr    string
}

const sessionColumns = `s.id, s.user, s.created, s.seen, s.expires, coalesce(s.ended, 0), s.agent, s.addr`

func scanSession(scan func(...any) error) (Session, error) {
	var s Session
	var created, seen, expires, ended int64
	err := scan(&s.ID, &s.User, &created, &seen, &expires, &ended, &s.Agent, &s.Addr)
	s.Created, s.Seen, s.Expires = timeOf(created), timeOf(seen), timeOf(expires)
	if ended != 0 {
		s.Ended = timeOf(ended)
	}
	return s, err
}

func (tx *Tx) sessions(where string, args ...any) ([]Session, error) {
	var out []Session
	err := tx.rows(func(r *sql.Rows) error {
		s, err := scanSession(r.Scan)
		out = append(out, s)
		return err
	}, `SELECT `+sessionColumns+` FROM sessions s WHERE `+where, args...)
	return out, err
}

// AddSession stores a new session.
func (tx *Tx) AddSession(s Session) error {
	_, err := tx.exec(`INSERT INTO sessions(id, user, created, seen, expires, agent, addr) VALUES (?,?,?,?,?,?,?)`,
		s.ID, s.User, micros(s.Created), micros(s.Seen), micros(s.Expires), s.Agent, s.Addr)
	return err
}

// Session returns a session, ended or not; NotFound without one.
func (tx *Tx) Session(id slipway.SessionID) (Session, error) {
	s, err := scanSession(tx.row(`SELECT `+sessionColumns+` FROM sessions s WHERE id = ?`, id).Scan)
	return s, found(err, "no such session")
}

// SessionByCookie returns the session of which a host's browser holds the
// secret with this hash; NotFound without one.
func (tx *Tx) SessionByCookie(hash, host string) (Session, error) {
	s, err := scanSession(tx.row(`SELECT `+sessionColumns+` FROM session_cookies c JOIN sessions s ON s.id = c.session
		WHERE c.hash = ? AND c.host = ?`, hash, host).Scan)
	return s, found(err, "no such session")
}

// AddSessionCookie gives a host's browser a secret for a session.
func (tx *Tx) AddSessionCookie(hash string, id slipway.SessionID, host string) error {
	_, err := tx.exec(`INSERT INTO session_cookies(hash, session, host) VALUES (?,?,?)`, hash, id, host)
	return err
}

// SessionsOf lists a person's sessions that have not ended, newest first.
func (tx *Tx) SessionsOf(user slipway.UserID, now time.Time) ([]Session, error) {
	return tx.sessions(`user = ? AND ended IS NULL AND expires > ? ORDER BY seen DESC, id DESC`, user, micros(now))
}

// EndedSessions lists those that were ended before they expired.
func (tx *Tx) EndedSessions(now time.Time) ([]Session, error) {
	return tx.sessions(`ended IS NOT NULL AND expires > ?`, micros(now))
}

// TouchSession notes that a session was used.
func (tx *Tx) TouchSession(id slipway.SessionID, now time.Time) error {
	_, err := tx.exec(`UPDATE sessions SET seen = ? WHERE id = ? AND seen < ?`, micros(now), id, micros(now))
	return err
}

// EndSession ends a session and takes its secrets away.
func (tx *Tx) EndSession(id slipway.SessionID, now time.Time) error {
	if _, err := tx.exec(`UPDATE sessions SET ended = ? WHERE id = ? AND ended IS NULL`, micros(now), id); err != nil {
		return err
	}
	if _, err := tx.exec(`DELETE FROM handoffs WHERE session = ?`, id); err != nil {
		return err
	}
	_, err := tx.exec(`DELETE FROM session_cookies WHERE session = ?`, id)
	return err
}

// AddHandoff stores a one-time code by its hash.
func (tx *Tx) AddHandoff(hash string, id slipway.SessionID, host string, expires time.Time) error {
	_, err := tx.exec(`INSERT INTO handoffs(hash, session, host, expires) VALUES (?,?,?,?)`, hash, id, host, micros(expires))
	return err
}

// TakeHandoff removes a one-time code and returns what it was for; NotFound
// when there is none.
func (tx *Tx) TakeHandoff(hash string) (id slipway.SessionID, host string, expires time.Time, err error) {
	var us int64
	err = tx.row(`DELETE FROM handoffs WHERE hash = ? RETURNING session, host, expires`, hash).Scan(&id, &host, &us)
	return id, host, timeOf(us), found(err, "no such code")
}

// ForgetOldPeopleRows removes what has served its time: expired sessions and
// codes, tokens that expired a month ago, failures and changes of yesterday.
func (tx *Tx) ForgetOldPeopleRows(now time.Time) error {
	for _, q := range []struct {
		sql   string
		until time.Time
	}{
		{`DELETE FROM handoffs WHERE expires < ?`, now},
		{`DELETE FROM sessions WHERE expires < ?`, now},
		{`DELETE FROM login_failures WHERE last < ?`, now.Add(-24 * time.Hour)},
		{`DELETE FROM tokens WHERE expires < ?`, now.Add(-30 * 24 * time.Hour)},
		{`DELETE FROM signing_keys WHERE retire_at < ?`, now},
		{`DELETE FROM outbox WHERE at < ?`, now.Add(-24 * time.Hour)},
	} {
		if _, err := tx.exec(q.sql, micros(q.until)); err != nil {
			return err
		}
	}
	return nil
}

// Token is an API token.
type Token struct {
	ID      slipway.TokenID
	User    slipway.UserID
	Name    string
	Hash    string
	Scopes  []slipway.Scope
	Created time.Time
	Expires time.Time // zero = never
	Used    time.Time // zero = never
}

const tokenColumns = `id, user, name, hash, scopes, created, coalesce(expires, 0), coalesce(used, 0)`

func scanToken(scan func(...any) error) (Token, error) {
	var t Token
	var scopes string
	var created, expires, used int64
	if err := scan(&t.ID, &t.User, &t.Name, &t.Hash, &scopes, &created, &expires, &used); err != nil {
		return t, err
	}
	t.Created = timeOf(created)
	if expires != 0 {
		t.Expires = timeOf(expires)
	}
	if used != 0 {
		t.Used = timeOf(used)
	}
	return t, json.Unmarshal([]byte(scopes), &t.Scopes)
}

// AddToken stores a new API token.
func (tx *Tx) AddToken(t Token) error {
	scopes, err := json.Marshal(t.Scopes)
	if err != nil {
		return err
	}
	var expires *int64
	if !t.Expires.IsZero() {
		us := micros(t.Expires)
		expires = &us
	}
	_, err = tx.exec(`INSERT INTO tokens(id, user, name, hash, scopes, created, expires) VALUES (?,?,?,?,?,?,?)`,
		t.ID, t.User, t.Name, t.Hash, string(scopes), micros(t.Created), expires)
	return err
}

// TokenByHash returns the token whose secret has this hash; NotFound without one.
func (tx *Tx) TokenByHash(hash string) (Token, error) {
	t, err := scanToken(tx.row(`SELECT `+tokenColumns+` FROM tokens WHERE hash = ?`, hash).Scan)
	return t, found(err, "no such token")
}

// TokensOf lists a person's tokens, newest first.
func (tx *Tx) TokensOf(user slipway.UserID) ([]Token, error) {
	var out []Token
	err := tx.rows(func(r *sql.Rows) error {
		t, err := scanToken(r.Scan)
		out = append(out, t)
		return err
	}, `SELECT `+tokenColumns+` FROM tokens WHERE user = ? ORDER BY id DESC`, user)
	return out, err
}

// TouchToken notes that a token was used.
func (tx *Tx) TouchToken(id slipway.TokenID, now time.Time) error {
	_, err := tx.exec(`UPDATE tokens SET used = ? WHERE id = ?`, micros(now), id)
	return err
}

// DeleteToken removes a person's token and reports whether it was there.
func (tx *Tx) DeleteToken(user slipway.UserID, id slipway.TokenID) (bool, error) {
	n, err := tx.exec(`DELETE FROM tokens WHERE id = ? AND user = ?`, id, user)
	return n > 0, err
}

// SigningKey is a private key, sealed.
type SigningKey struct {
	ID        string
	Use       string // session, oidc
	Sealed    []byte
	Created   time.Time
	NotBefore time.Time
	RetireAt  time.Time // zero while it has no successor
}

// SigningKeys lists the keys of a use, newest first.
func (tx *Tx) SigningKeys(use string) ([]SigningKey, error) {
	var out []SigningKey
	err := tx.rows(func(r *sql.Rows) error {
		k := SigningKey{Use: use}
		var created, notBefore, retire int64
		err := r.Scan(&k.ID, &k.Sealed, &created, &notBefore, &retire)
		k.Created, k.NotBefore = timeOf(created), timeOf(notBefore)
		if retire != 0 {
			k.RetireAt = timeOf(retire)
		}
		out = append(out, k)
		return err
	}, `SELECT id, sealed, created, not_before, coalesce(retire_at, 0) FROM signing_keys WHERE use = ? ORDER BY not_before DESC, id DESC`, use)
	return out, err
}

// AddSigningKey stores a new key and lets the older ones of its use retire.
func (tx *Tx) AddSigningKey(k SigningKey, retireOthers time.Time) error {
	_, err := tx.exec(`UPDATE signing_keys SET retire_at = ? WHERE use = ? AND retire_at IS NULL`, micros(retireOthers), k.Use)
	if err != nil {
		return err
	}
	_, err = tx.exec(`INSERT INTO signing_keys(id, use, sealed, created, not_before) VALUES (?,?,?,?,?)`,
		k.ID, k.Use, k.Sealed, micros(k.Created), micros(k.NotBefore))
	return err
}
