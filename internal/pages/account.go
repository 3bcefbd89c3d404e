package pages

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/control/people"
)

type accountData struct {
	Sessions []people.Session
	Tokens   []people.Token
	Secret   string // of the token that was just made
	Form     string // which form the problem is about
	Input    url.Values
}

// notices are what the account page says after a redirect.
var notices = map[string]string{
	"profile":  "Your profile is saved.",
	"password": "Your password is changed. You are signed out everywhere else.",
	"session":  "That browser is signed out.",
	"token":    "The token is revoked.",
}

func (h *handler) accountPage(w http.ResponseWriter, r *http.Request) error {
	return h.account(w, r, http.StatusOK, view{Notice: notices[r.URL.Query().Get("done")]}, accountData{})
}

// account shows the page, or sends to sign in first.
func (h *handler) account(w http.ResponseWriter, r *http.Request, status int, v view, d accountData) error {
	a := slipway.ActorFrom(r.Context())
	if a.User == nil {
		return h.go303(w, r, "/login?to="+url.QueryEscape(h.Hosts.Auth()+"/account"))
	}
	var err error
	if d.Sessions, err = h.People.Sessions(r.Context()); err != nil {
		return err
	}
	if d.Tokens, err = h.People.Tokens(r.Context()); err != nil {
		return err
	}
	v.Title, v.Data = "Your account", d
	return h.show(w, r, status, "account", v)
}

// write runs a change of the account and comes back to the page: with a notice
// when it went well, with the form and what is wrong with it when not.
func (h *handler) write(w http.ResponseWriter, r *http.Request, form string, do func() error) error {
	if err := r.ParseForm(); err != nil {
		return errs.Wrap(err, errs.KindInvalid, "the form cannot be read")
	}
	if slipway.ActorFrom(r.Context()).User == nil {
		return h.account(w, r, http.StatusOK, view{}, accountData{})
	}
	err := do()
	switch {
	case err == nil:
		return h.go303(w, r, "/account?done="+form)
	case mendable(err):
		var v view
		v.problem(err)
		return h.account(w, r, statusOf(errs.KindOf(err)), v, accountData{Form: form, Input: r.PostForm})
	}
	return err
}

func (h *handler) saveProfile(w http.ResponseWriter, r *http.Request) error {
	return h.write(w, r, "profile", func() error {
		full := strings.TrimSpace(r.PostForm.Get("full_name"))
		_, err := h.People.Update(r.Context(), slipway.ActorFrom(r.Context()).User.Name, people.UserPatch{FullName: &full})
		return err
	})
}

func (h *handler) savePassword(w http.ResponseWriter, r *http.Request) error {
	return h.write(w, r, "password", func() error {
		before, after := r.PostForm.Get("old_password"), r.PostForm.Get("password")
		if before == "" { // a browser that was left open must not be enough
			return errs.Fields("The present password is needed", errs.Field{Name: "old_password", Message: "is needed"})
		}
		return h.People.SetPassword(r.Context(), slipway.ActorFrom(r.Context()).User.Name,
			people.SetPassword{Old: secret.New(before), New: secret.New(after)})
	})
}

func (h *handler) endSession(w http.ResponseWriter, r *http.Request) error {
	return h.write(w, r, "session", func() error {
		return h.People.EndSession(r.Context(), slipway.SessionID(r.PostForm.Get("id")))
	})
}

func (h *handler) revokeToken(w http.ResponseWriter, r *http.Request) error {
	return h.write(w, r, "token", func() error {
		return h.People.RevokeToken(r.Context(), slipway.TokenID(r.PostForm.Get("id")))
	})
}

// createToken answers with the page itself: the secret is in no address and in
// no cookie.
func (h *handler) createToken(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return errs.Wrap(err, errs.KindInvalid, "the form cannot be read")
	}
	in := people.CreateToken{Name: r.PostForm.Get("name")}
	if s := r.PostForm.Get("scope"); s != "" {
		in.Scopes = []slipway.Scope{slipway.Scope(s)}
	}
	if days, err := strconv.Atoi(r.PostForm.Get("days")); err == nil && days > 0 && days <= 3650 {
		at := time.Now().Add(time.Duration(days) * 24 * time.Hour)
		in.Expires = &at
	}
	t, err := h.People.CreateToken(r.Context(), in)
	switch {
	case err == nil:
		return h.account(w, r, http.StatusOK, view{}, accountData{Secret: t.Secret.Reveal()})
	case mendable(err):
		var v view
		v.problem(err)
		return h.account(w, r, statusOf(errs.KindOf(err)), v, accountData{Form: "token", Input: r.PostForm})
	}
	return err
}

// device puts a browser's name for itself into words.
func device(agent string) string {
	find := func(pairs [][2]string, other string) string {
		for _, p := range pairs {
			if strings.Contains(agent, p[0]) {
				return p[1]
			}
		}
		return other
	}
	browser := find([][2]string{
		{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	}, "A browser")
	system := find([][2]string{
		{"Android", "Android"}, {"iPhone", "iOS"}, {"iPad", "iPadOS"}, {"Windows", "Windows"}, {"Mac OS X", "macOS"}, {"Linux", "Linux"},
	}, "")
	if system == "" {
		return browser
	}
	return browser + " on " + system
}
