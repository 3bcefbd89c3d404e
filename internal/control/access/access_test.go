package access_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
)

var update = flag.Bool("update", false, "write the golden matrix anew")

// persona is somebody who asks, with the grant on the app if that is what
// makes the persona.
type persona struct {
	name  string
	actor slipway.Actor
	grant slipway.GrantRole
}

func user(id string, roles ...slipway.Role) *slipway.User {
	return &slipway.User{ID: slipway.UserID(id), Name: id, Roles: roles}
}

func personas() []persona {
	token := func(u *slipway.User, s slipway.Scope) slipway.Actor {
		return slipway.Actor{User: u, Token: "tok_1", Scopes: []slipway.Scope{s}}
	}
	owner := user("owner", slipway.RoleLicensed)
	gone := user("owner", slipway.RoleLicensed, slipway.RoleAdmin)
	gone.Disabled = true
	return []persona{
		{"admin with seat", slipway.Actor{User: user("admin", slipway.RoleAdmin, slipway.RoleLicensed)}, ""},
		{"admin no seat", slipway.Actor{User: user("admin", slipway.RoleAdmin)}, ""},
		{"owner", slipway.Actor{User: owner}, ""},
		{"owner no seat", slipway.Actor{User: user("owner")}, ""},
		{"co-owner", slipway.Actor{User: user("co", slipway.RoleLicensed)}, slipway.GrantCoOwner},
		{"listed viewer", slipway.Actor{User: user("listed")}, slipway.GrantViewer},
		{"other licensed", slipway.Actor{User: user("other", slipway.RoleLicensed)}, ""},
		{"viewer", slipway.Actor{User: user("viewer")}, ""},
		{"anonymous", slipway.Actor{}, ""},
		{"owner token read", token(owner, slipway.ScopeRead), ""},
		{"owner token deploy", token(owner, slipway.ScopeDeploy), ""},
		{"owner token all", token(owner, slipway.ScopeAll), ""},
		{"owner token none", slipway.Actor{User: owner, Token: "tok_1"}, ""},
		{"other token all", token(user("other", slipway.RoleLicensed), slipway.ScopeAll), ""},
		{"disabled", slipway.Actor{User: gone}, ""},
		{"our own loop", slipway.Actor{System: "deploys"}, ""},
	}
}

type object struct {
	name string
	of   func(p persona) access.Object
}

func objects() []object {
	app := func(a slipway.Access) func(persona) access.Object {
		return func(p persona) access.Object {
			return access.App(&access.AppFacts{Owner: "owner", Access: a, Grant: p.grant})
		}
	}
	return []object{
		{"restricted app", app(slipway.AccessRestricted)},
		{"authenticated app", app(slipway.AccessAuthenticated)},
		{"unauthenticated app", app(slipway.AccessUnauthenticated)},
		{"no such app", func(persona) access.Object { return access.App(nil) }},
		{"platform", func(persona) access.Object { return access.Platform() }},
		{"own account", func(p persona) access.Object {
			if p.actor.User == nil {
				return access.Account("nobody")
			}
			return access.Account(p.actor.User.ID)
		}},
		{"other's account", func(persona) access.Object { return access.Account("someone-else") }},
	}
}

func word(err error) string {
	if err == nil {
		return "yes"
	}
	return strings.ReplaceAll(errs.KindOf(err).String(), "_", " ")
}

// TestMatrix holds every persona, verb and object to the golden file. A change
// there is a change of who may do what: read it as such.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	for _, o := range objects() {
		fmt.Fprintf(&b, "# %s\n%-20s", o.name, "")
		var verbs []access.Verb
		for _, v := range access.Verbs() {
			if access.KindOf(v) == o.of(persona{}).Kind {
				verbs = append(verbs, v)
				fmt.Fprintf(&b, " %-17s", v)
			}
		}
		b.WriteString("\n")
		for _, p := range personas() {
			fmt.Fprintf(&b, "%-20s", p.name)
			for _, v := range verbs {
				fmt.Fprintf(&b, " %-17s", word(access.Check(p.actor, v, o.of(p))))
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	got := strings.ReplaceAll(b.String(), " \n", "\n")
	for strings.Contains(got, " \n") {
		got = strings.ReplaceAll(got, " \n", "\n")
	}
	file := filepath.Join("testdata", "matrix.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the matrix differs from %s (go test ./internal/control/access -update writes it anew):\n%s", file, got)
	}
}

// An app that may not be seen and an app that is not there give one answer.
func TestHidden(t *testing.T) {
	hidden := access.AppFacts{Owner: "owner", Access: slipway.AccessRestricted}
	for _, p := range personas() {
		for _, v := range access.Verbs() {
			if access.KindOf(v) != access.KindApp {
				continue
			}
			facts := hidden
			facts.Grant = p.grant
			if access.Check(p.actor, access.SeeApp, access.App(&facts)) == nil || p.actor.User != nil && len(p.actor.Scopes) == 0 && p.actor.Token != "" {
				continue
			}
			there, not := access.Check(p.actor, v, access.App(&facts)), access.Check(p.actor, v, access.App(nil))
			if there == nil || not == nil || there.Error() != not.Error() {
				t.Errorf("%s, %s: there %v, not there %v", p.name, v, there, not)
			}
		}
	}
}

// A token never may what its person may not.
func TestTokensOnlyNarrow(t *testing.T) {
	for _, p := range personas() {
		if p.actor.Token == "" {
			continue
		}
		full := p.actor
		full.Token, full.Scopes = "", nil
		for _, o := range objects() {
			for _, v := range access.Verbs() {
				if access.Check(p.actor, v, o.of(p)) == nil && access.Check(full, v, o.of(p)) != nil {
					t.Errorf("%s may %s on %s by token only", p.name, v, o.name)
				}
			}
		}
	}
}

func TestUnknownIsDenied(t *testing.T) {
	boss := slipway.Actor{User: user("a", slipway.RoleAdmin, slipway.RoleLicensed)}
	for _, err := range []error{
		access.Check(boss, "app.explode", access.App(&access.AppFacts{Owner: "a"})),
		access.Check(boss, access.OwnApp, access.Platform()),
		access.Check(slipway.Actor{System: "x"}, access.ListUsers, access.Account("a")),
	} {
		if !errs.Is(err, errs.KindDenied) {
			t.Errorf("got %v", err)
		}
	}
}
