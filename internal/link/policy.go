// Package link is the protocol between the core and its gateways: the core
// hands out policy as a whole table and then deltas, each with a version that
// the gateway acknowledges and keeps on disk; the gateway asks for what only
// the core can do. While the core is away a gateway serves by its last table.
package link

import (
	"encoding/json"
	"time"

	"slipway.dev/slipway"
)

// Policy is everything by which a gateway decides.
type Policy struct {
	Version  uint64                          `json:"version"` // grows by one with each change; starts anew with Epoch
	Epoch    string                          `json:"epoch"`   // one life of the core: versions of two epochs do not compare
	Hosts    slipway.Hosts                   `json:"hosts"`
	Keys     []SessionKey                    `json:"keys"`           // newest first; session tokens name theirs
	JWKS     json.RawMessage                 `json:"jwks,omitempty"` // a key set, by which apps verify what they are told of viewers
	Routes   map[string]Route                `json:"routes"`         // by app name
	People   map[slipway.UserID]Person       `json:"people"`
	Revoked  map[slipway.SessionID]time.Time `json:"revoked"`  // ended sessions, until they would have expired
	Brand    slipway.Branding                `json:"brand"`    // of the gateway's own pages
	Platform map[string]string               `json:"platform"` // host kind -> endpoint (package dial) that serves it: api, auth, git
}

// SessionKey verifies session tokens (Ed25519 public key).
type SessionKey struct {
	ID     string `json:"id"`
	Public []byte `json:"public"`
}

// Person is what a gateway must know about somebody who may have a session.
type Person struct {
	Name     string         `json:"name"`
	Email    string         `json:"email,omitempty"`
	FullName string         `json:"full_name,omitempty"`
	Roles    []slipway.Role `json:"roles,omitempty"`
	Epoch    int64          `json:"epoch"` // session tokens of an older epoch are void
}

// Route is one app as the gateway serves it.
type Route struct {
	App      slipway.AppID    `json:"app"`
	Name     string           `json:"name"`
	Title    string           `json:"title,omitempty"`
	Isolated bool             `json:"isolated,omitempty"`
	Access   slipway.Access   `json:"access"`
	Viewers  []slipway.UserID `json:"viewers,omitempty"` // listed people
	Owners   []slipway.UserID `json:"owners,omitempty"`  // owner and co-owners: see why it crashed
	State    slipway.AppState `json:"state"`
	Release  int              `json:"release"`
	Targets  []Target         `json:"targets,omitempty"`  // replicas of the current release that passed their check
	Progress []string         `json:"progress,omitempty"` // steps of the first deploy, while there is no release
	LogTail  []string         `json:"log_tail,omitempty"` // of a crashed app, for its owners
}

// Target is a replica that takes requests.
type Target struct {
	ID       string `json:"id"`       // stable for the life of the replica: "web-v12.0"
	Endpoint string `json:"endpoint"` // opened by package dial
}

// Delta changes a Policy from version Version-1 to Version. Nil parts stay.
type Delta struct {
	Version uint64                          `json:"version"`
	Keys    []SessionKey                    `json:"keys,omitempty"`
	JWKS    json.RawMessage                 `json:"jwks,omitempty"`
	Routes  map[string]*Route               `json:"routes,omitempty"` // null = gone
	People  map[slipway.UserID]*Person      `json:"people,omitempty"` // null = gone
	Revoked map[slipway.SessionID]time.Time `json:"revoked,omitempty"`
}
