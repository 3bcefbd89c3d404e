package pages

import (
	"net/http"
	"net/url"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/session"
)

type portalData struct {
	Query  string
	Cards  []card
	Next   string // address of the next page
	Remote string // of a new app, as an example
	Seat   bool
}

type card struct {
	slipway.App
	URL   string
	Label string // the title, or the name
}

// Badge is the state in a word for people.
func (c card) Badge() string {
	switch c.State {
	case slipway.AppRunning:
		return "Running"
	case slipway.AppStarting:
		return "Starting"
	case slipway.AppCrashed:
		return "Crashed"
	case slipway.AppPaused:
		return "Paused"
	case slipway.AppEmpty:
		return "No release yet"
	default:
		return ""
	}
}

// portal shows the apps that this viewer may open.
func (h *handler) portal(w http.ResponseWriter, r *http.Request) error {
	a := slipway.ActorFrom(r.Context())
	if a.User == nil {
		return h.go303(w, r, session.Handoff(w, r, h.Hosts, h.Hosts.API()+r.URL.RequestURI(), false))
	}
	q := r.URL.Query()
	query := strings.TrimSpace(q.Get("q"))
	apps, next, err := h.Apps(r.Context(), query, q.Get("after"))
	if err != nil {
		return err
	}
	d := portalData{Query: query, Remote: h.Hosts.GitRemote("my-app"), Seat: a.User.Has(slipway.RoleLicensed)}
	for _, app := range apps {
		c := card{App: app, URL: h.Hosts.App(app.Name, app.Isolated), Label: app.Title}
		if c.Label == "" {
			c.Label = app.Name
		}
		d.Cards = append(d.Cards, c)
	}
	if next != "" {
		d.Next = "/portal?" + url.Values{"q": {query}, "after": {next}}.Encode()
	}
	return h.show(w, r, http.StatusOK, "portal", view{Title: "Apps", Wide: true, Data: d})
}

// badgeClass is the colour of a state.
func badgeClass(badge string) string {
	switch badge {
	case "Running":
		return "good"
	case "Starting":
		return "warn"
	case "Crashed":
		return "bad"
	default:
		return ""
	}
}
