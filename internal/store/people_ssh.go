package store

import (
	"database/sql"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// SSHKey is a public key with which a person comes to git.
type SSHKey struct {
	ID          slipway.SSHKeyID
	User        slipway.UserID
	Name        string
	Type        string // ssh-ed25519 and so on
	Key         string // base64, as in authorized_keys
	Fingerprint string // SHA256:…
	Created     time.Time
	Used        time.Time // zero = never
}

const sshKeyColumns = `id, user, name, type, key, fingerprint, created, coalesce(used, 0)`

func scanSSHKey(scan func(...any) error) (SSHKey, error) {
	var k SSHKey
	var created, used int64
	err := scan(&k.ID, &k.User, &k.Name, &k.Type, &k.Key, &k.Fingerprint, &created, &used)
	k.Created = timeOf(created)
	if used != 0 {
		k.Used = timeOf(used)
	}
	return k, err
}

// AddSSHKey stores a new key; Conflict when anybody has it already.
func (tx *Tx) AddSSHKey(k SSHKey) error {
	_, err := tx.exec(`INSERT INTO ssh_keys(id, user, name, type, key, fingerprint, created) VALUES (?,?,?,?,?,?,?)`,
		k.ID, k.User, k.Name, k.Type, k.Key, k.Fingerprint, micros(k.Created))
	if tx.db.unique(err) {
		return errs.Conflict("this key is in use already")
	}
	return err
}

// SSHKeyByFingerprint returns the key with this fingerprint; NotFound without one.
func (tx *Tx) SSHKeyByFingerprint(fingerprint string) (SSHKey, error) {
	k, err := scanSSHKey(tx.row(`SELECT `+sshKeyColumns+` FROM ssh_keys WHERE fingerprint = ?`, fingerprint).Scan)
	return k, found(err, "no such key")
}

// SSHKeysOf lists a person's keys, newest first.
func (tx *Tx) SSHKeysOf(user slipway.UserID) ([]SSHKey, error) {
	var out []SSHKey
	err := tx.rows(func(r *sql.Rows) error {
		k, err := scanSSHKey(r.Scan)
		out = append(out, k)
		return err
	}, `SELECT `+sshKeyColumns+` FROM ssh_keys WHERE user = ? ORDER BY id DESC`, user)
	return out, err
}

// TouchSSHKey notes that a key was used.
func (tx *Tx) TouchSSHKey(id slipway.SSHKeyID, now time.Time) error {
	_, err := tx.exec(`UPDATE ssh_keys SET used = ? WHERE id = ?`, micros(now), id)
	return err
}

// DeleteSSHKey removes a person's key; NotFound without one.
func (tx *Tx) DeleteSSHKey(user slipway.UserID, id slipway.SSHKeyID) (SSHKey, error) {
	k, err := scanSSHKey(tx.row(`DELETE FROM ssh_keys WHERE id = ? AND user = ? RETURNING `+sshKeyColumns, id, user).Scan)
	return k, found(err, "you have no SSH key %q", id)
}
