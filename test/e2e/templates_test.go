package e2e_test

import (
	"testing"

	"slipway.dev/slipway/examples"
	"slipway.dev/slipway/test/rig"
)

// TestTemplates begins an app with each template, as people do, and opens it.
func TestTemplates(t *testing.T) {
	w := newWorld(t)
	page, err := rig.Browse(t.Context())
	ok(t, err)
	t.Cleanup(page.Close)
	ok(t, page.Goto(w.in.Hosts.API()+"/portal"))
	ok(t, page.SignIn("alice", password("alice")))
	ok(t, page.See("body", "alice"))
	see := map[string][2]string{
		"dash":      {"#plot .main-svg", ""},
		"iris":      {"#viewer", "alice"},
		"streamlit": {"body", "Waves to show"},
		"fastapi":   {"body", "Ask for /wave"},
	}
	for _, tpl := range examples.Templates() {
		t.Run(tpl.Name, func(t *testing.T) {
			name := "begin-" + tpl.Name
			w.run(t, "alice", "", "apps", "create", name, "--template", tpl.Name)
			ok(t, page.Goto(w.in.Hosts.App(name, false)))
			ok(t, page.See(see[tpl.Name][0], see[tpl.Name][1]))
		})
	}
}
