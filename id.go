package slipway

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// Identifiers are sortable by time of creation and carry the kind of thing
// they name as a prefix: app_…, user_…, dep_….
type (
	// AppID names an app.
	AppID string
	// UserID names a person.
	UserID string
	// DeployID names a deploy.
	DeployID string
	// SessionID names a session of a browser.
	SessionID string
	// TokenID names an API token.
	TokenID string
	// SSHKeyID names a person's SSH key.
	SSHKeyID string
)

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns prefix, an underscore and 26 characters: 48 bits of
// milliseconds, then 80 random bits.
func NewID(prefix string) string {
	var b [16]byte
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(b[:6], ms[2:])
	rand.Read(b[6:])
	return prefix + "_" + strings.ToLower(idEncoding.EncodeToString(b[:]))
}
