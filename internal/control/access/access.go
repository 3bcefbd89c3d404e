// Package access decides who may do what. Check is the only decider, it is
// pure, and what its table does not allow is denied. Whoever may not see a
// thing gets the same answer as for a thing that is not there.
package access

import (
	"slices"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// Verb is something that people do.
type Verb string

// The verbs.
const (
	SeeApp    Verb = "app.see"    // know that it is there; its title, state, owner
	OpenApp   Verb = "app.open"   // use it
	MarkApp   Verb = "app.mark"   // make it a favourite of one's own
	ReadApp   Verb = "app.read"   // its deploys, logs, variables, processes, grants
	DeployApp Verb = "app.deploy" // push, deploy, roll back, apply, restart, cancel
	ManageApp Verb = "app.manage" // settings, variables, scale, pause, share
	OwnApp    Verb = "app.own"    // delete, transfer
	CreateApp Verb = "app.create"

	ReadSettings  Verb = "settings.read" // of the platform
	WriteSettings Verb = "settings.write"
	ReadGlobal    Verb = "global_env.read" // variables of every app
	WriteGlobal   Verb = "global_env.write"

	ReadAudit Verb = "audit.read"

	LookUpUsers Verb = "users.look_up" // find a person by the exact name, to share with
	ListUsers   Verb = "users.list"
	CreateUser  Verb = "users.create"

	ReadAccount   Verb = "account.read"   // profile, sessions, tokens
	UpdateAccount Verb = "account.update" // profile, password, end sessions
	MakeTokens    Verb = "account.tokens" // make and revoke API tokens
	AddKeys       Verb = "account.keys"   // add and remove SSH keys
	AdminAccount  Verb = "account.admin"  // roles, disable, another's password
)

// Kind is a kind of object.
type Kind string

// The kinds.
const (
	KindApp      Kind = "app"
	KindPlatform Kind = "platform" // settings, global environment, the list of people; and the place where apps are made
	KindAccount  Kind = "account"
)

// AppFacts is what a decision about an app needs to know.
type AppFacts struct {
	Owner  slipway.UserID
	Access slipway.Access
	Grant  slipway.GrantRole // of the actor on this app; empty = none
}

// Object is what a verb is done to.
type Object struct {
	Kind Kind
	App  *AppFacts      // of KindApp; nil = there is no such app
	User slipway.UserID // of KindAccount
}

// App is an app, or with nil the app that is not there.
func App(f *AppFacts) Object { return Object{Kind: KindApp, App: f} }

// Platform is the platform as a whole.
func Platform() Object { return Object{Kind: KindPlatform} }

// Account is a person's account.
func Account(id slipway.UserID) Object { return Object{Kind: KindAccount, User: id} }

// relation is how an actor stands to an object; a bit set.
type relation uint8

const (
	public    relation = 1 << iota // it is open to everyone
	viewer                         // may open it
	coOwner                        // is a co-owner
	owner                          // owns it
	self                           // is it
	signedIn                       // any person
	admin                          // administrator
	developer = coOwner | owner | admin
)

// rule is a row of the table.
type rule struct {
	kind  Kind
	who   relation      // any of these
	seat  bool          // and a seat
	scope slipway.Scope // the least that a token needs
	role  string        // what is missing, in words
}

var rules = map[Verb]rule{
	SeeApp:    {KindApp, public | viewer | developer, false, slipway.ScopeRead, "be allowed to open it"},
	OpenApp:   {KindApp, public | viewer | developer, false, slipway.ScopeRead, "be allowed to open it"},
	MarkApp:   {KindApp, public | viewer | developer, false, slipway.ScopeAll, "be allowed to open it"},
	ReadApp:   {KindApp, developer, false, slipway.ScopeRead, "be its owner or a co-owner"},
	DeployApp: {KindApp, developer, true, slipway.ScopeDeploy, "be its owner or a co-owner"},
	ManageApp: {KindApp, developer, false, slipway.ScopeAll, "be its owner or a co-owner"},
	OwnApp:    {KindApp, owner | admin, false, slipway.ScopeAll, "be its owner"},
	CreateApp: {KindPlatform, signedIn, true, slipway.ScopeDeploy, "sign in"},

	ReadSettings:  {KindPlatform, admin, false, slipway.ScopeRead, "be an administrator"},
	WriteSettings: {KindPlatform, admin, false, slipway.ScopeAll, "be an administrator"},
	ReadGlobal:    {KindPlatform, admin, false, slipway.ScopeRead, "be an administrator"},
	WriteGlobal:   {KindPlatform, admin, false, slipway.ScopeAll, "be an administrator"},

	ReadAudit: {KindPlatform, admin, false, slipway.ScopeRead, "be an administrator"},

	LookUpUsers: {KindPlatform, signedIn, false, slipway.ScopeRead, "sign in"},
	ListUsers:   {KindPlatform, admin, false, slipway.ScopeRead, "be an administrator"},
	CreateUser:  {KindPlatform, admin, false, slipway.ScopeAll, "be an administrator"},

	ReadAccount:   {KindAccount, self | admin, false, slipway.ScopeRead, "be an administrator"},
	UpdateAccount: {KindAccount, self | admin, false, slipway.ScopeAll, "be an administrator"},
	MakeTokens:    {KindAccount, self, false, slipway.ScopeAll, "be that person"},
	AddKeys:       {KindAccount, self, false, slipway.ScopeAll, "be that person"},
	AdminAccount:  {KindAccount, admin, false, slipway.ScopeAll, "be an administrator"},
}

// Verbs lists every verb.
func Verbs() []Verb {
	out := make([]Verb, 0, len(rules))
	for v := range rules {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// KindOf tells what kind of object a verb is done to.
func KindOf(v Verb) Kind { return rules[v].kind }

// Check returns nil when a may do v to o. Otherwise its error says what is
// missing: Unauthenticated when a sign-in may help, NotFound when a may not
// see o, Denied when a sees o but may not do v.
func Check(a slipway.Actor, v Verb, o Object) error {
	r, ok := rules[v]
	if !ok || r.kind != o.Kind {
		return errs.Denied("nobody may do this")
	}
	if a.User == nil && a.System != "" {
		if o.Kind == KindApp && o.App == nil {
			return hidden(o.Kind)
		}
		return nil // our own loops
	}
	user := a.User
	if user != nil && user.Disabled {
		user = nil
	}
	rel := relate(user, o)
	if rel&r.who == 0 {
		switch {
		case user == nil:
			return errs.Unauthenticated("sign in first")
		case !sees(rel, o):
			return hidden(o.Kind)
		}
		return errs.Denied("you must %s to do this", r.role)
	}
	if user == nil { // public, and this verb is open to everyone
		return nil
	}
	if !covers(a, r.scope) {
		return errs.Denied("this token may not do that: it needs the scope %q", r.scope)
	}
	if r.seat && !user.Has(slipway.RoleLicensed) {
		return errs.Denied("this needs a seat: ask an administrator for the role %q", slipway.RoleLicensed)
	}
	return nil
}

// relate finds out how the person stands to the object.
func relate(u *slipway.User, o Object) relation {
	var rel relation
	if o.Kind == KindApp && o.App != nil && o.App.Access == slipway.AccessUnauthenticated {
		rel |= public
	}
	if u == nil {
		return rel
	}
	rel |= signedIn
	if o.Kind == KindApp && o.App == nil {
		return rel // nobody stands to what is not there
	}
	if u.Has(slipway.RoleAdmin) {
		rel |= admin
	}
	switch o.Kind {
	case KindAccount:
		if o.User == u.ID {
			rel |= self
		}
	case KindApp:
		if o.App.Owner == u.ID {
			rel |= owner
		}
		switch o.App.Grant {
		case slipway.GrantCoOwner:
			rel |= coOwner
		case slipway.GrantViewer:
			rel |= viewer
		}
		if o.App.Access == slipway.AccessAuthenticated {
			rel |= viewer
		}
	case KindPlatform:
	}
	return rel
}

// sees reports whether the object exists for whoever stands to it so.
func sees(rel relation, o Object) bool {
	switch o.Kind {
	case KindApp:
		return rel&(public|viewer|developer) != 0
	case KindAccount:
		return rel&(self|admin) != 0
	default:
		return true
	}
}

func hidden(k Kind) error {
	if k == KindAccount {
		return errs.NotFound("no such person, or not one that you may see")
	}
	return errs.NotFound("no such app, or not one that you may see")
}

// covers reports whether the actor's token, if that is what speaks, has the
// scope or a wider one.
func covers(a slipway.Actor, need slipway.Scope) bool {
	if a.Token == "" {
		return true
	}
	has := func(s slipway.Scope) bool { return slices.Contains(a.Scopes, s) }
	switch need {
	case slipway.ScopeRead:
		return has(slipway.ScopeRead) || has(slipway.ScopeDeploy) || has(slipway.ScopeAll)
	case slipway.ScopeDeploy:
		return has(slipway.ScopeDeploy) || has(slipway.ScopeAll)
	default:
		return has(slipway.ScopeAll)
	}
}
