package slipway

import (
	"context"
	"slices"
	"time"
)

// Role is what a person may do on the platform as a whole.
type Role string

// The roles. Every signed-in person is a viewer, whether or not it is listed.
const (
	RoleViewer   Role = "viewer"
	RoleLicensed Role = "licensed_user" // takes a seat; may create, own and deploy apps
	RoleAdmin    Role = "admin"         // administers every app; owning one needs RoleLicensed too
)

// User is a person who may sign in.
type User struct {
	ID       UserID    `json:"id"`
	Name     string    `json:"name"`
	Email    string    `json:"email,omitempty"`
	FullName string    `json:"full_name,omitempty"`
	Roles    []Role    `json:"roles"`
	Disabled bool      `json:"disabled,omitempty"`
	Created  time.Time `json:"created"`
}

// Has reports whether the person has the role.
func (u *User) Has(r Role) bool {
	return u != nil && !u.Disabled && (r == RoleViewer || slices.Contains(u.Roles, r))
}

// Scope narrows what an API token may be used for.
type Scope string

// The scopes of a token. A session has all of them.
const (
	ScopeRead   Scope = "read"   // see
	ScopeDeploy Scope = "deploy" // see, create apps, push, deploy, roll back
	ScopeAll    Scope = "all"    // everything that the person may do
)

// Actor is who asks. The zero Actor is anonymous and has no rights.
type Actor struct {
	User    *User     // nil when anonymous or the platform itself
	Session SessionID // set for a browser's session
	Token   TokenID   // set for an API token
	Scopes  []Scope   // of the token; ignored without one
	System  string    // name of the platform's own loop, such as "deploys"
	Addr    string    // client's address, for the audit trail
}

// Name is what the audit trail calls the actor.
func (a Actor) Name() string {
	switch {
	case a.User != nil:
		return a.User.Name
	case a.System != "":
		return "system:" + a.System
	}
	return "anonymous"
}

type actorKey struct{}

// WithActor returns a context in which a asks.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom returns who asks; without one, anonymous.
func ActorFrom(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}
