package pages

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/session"
)

type loginData struct {
	To, State, Name, Where string
}

// setCookie sets a host's session cookie; an empty value takes it away.
func (h *handler) setCookie(w http.ResponseWriter, host, value string, expires time.Time) {
	c := &http.Cookie{
		Name: cookieName(h.Hosts, host), Value: value, Path: "/", HttpOnly: true,
		Secure: h.Hosts.Scheme == "https", SameSite: http.SameSiteLaxMode, MaxAge: -1,
	}
	if value != "" {
		c.MaxAge = max(1, int(time.Until(expires).Seconds()))
	}
	http.SetCookie(w, c)
}

// onward is where a browser goes after a sign-in.
func (h *handler) onward(to, state string) string {
	t, ok := h.parseTarget(to)
	if !ok {
		t, _ = h.parseTarget(h.Hosts.API() + "/portal")
	}
	if t.kind == slipway.HostAuth {
		return t.path
	}
	return strings.TrimPrefix(session.HandoffURL(h.Hosts, t.String(), state), h.Hosts.Auth())
}

// formAction names the origins to which a sign-in may lead: browsers hold the
// whole chain of redirects after a form to the page's policy.
func (h *handler) formAction(to string) string {
	t, ok := h.parseTarget(to)
	if !ok {
		return h.Hosts.API()
	}
	if t.kind != slipway.HostAuth {
		return t.origin
	}
	u, err := url.Parse(t.path) // an OpenID client waits behind it
	if err != nil {
		return ""
	}
	c, err := url.Parse(u.Query().Get("redirect_uri"))
	if err != nil || c.Scheme != "http" && c.Scheme != "https" || !plainHost.MatchString(c.Host) {
		return ""
	}
	return c.Scheme + "://" + c.Host
}

var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

func (h *handler) loginView(to, state, name string) view {
	d := loginData{To: to, State: session.ParseState(state), Name: name}
	if t, ok := h.parseTarget(to); ok {
		switch t.kind {
		case slipway.HostAPI:
			d.Where = "the Portal"
		case slipway.HostBase:
			d.Where, _, _ = strings.Cut(strings.TrimPrefix(t.path, "/"), "/")
		case "":
			_, d.Where = h.Hosts.Kind(t.host)
		}
	} else {
		d.To = ""
	}
	return view{Title: "Sign in", Data: d, formAction: h.formAction(to)}
}

func (h *handler) loginPage(w http.ResponseWriter, r *http.Request) error {
	to, state := r.URL.Query().Get("to"), r.URL.Query().Get("state")
	name := ""
	if u := slipway.ActorFrom(r.Context()).User; u != nil {
		if !r.URL.Query().Has("again") {
			return h.go303(w, r, h.onward(to, state))
		}
		name = u.Name
	}
	v := h.loginView(to, state, name)
	if name != "" {
		v.Notice = "The application asks you to sign in again."
	}
	if r.URL.Query().Has("signed-out") {
		v.Notice = "You are signed out."
	}
	return h.show(w, r, http.StatusOK, "login", v)
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return errs.Wrap(err, errs.KindInvalid, "the form cannot be read")
	}
	to, state, name := r.PostForm.Get("to"), r.PostForm.Get("state"), strings.TrimSpace(r.PostForm.Get("username"))
	in := people.SignIn{
		Name: name, Password: r.PostForm.Get("password"), Addr: clientAddr(r), Agent: r.UserAgent(),
	}
	if c, err := r.Cookie(cookieName(h.Hosts, "auth")); err == nil {
		in.Cookie = c.Value
	}
	got, err := h.People.SignIn(r.Context(), in)
	if err != nil {
		if !mendable(err) && !errs.Is(err, errs.KindDenied) {
			return err
		}
		v := h.loginView(to, state, name)
		v.problem(err)
		for _, f := range errs.FieldsOf(err) {
			if f.Name == "retry_after" {
				w.Header().Set("Retry-After", f.Message)
			}
		}
		return h.show(w, r, statusOf(errs.KindOf(err)), "login", v)
	}
	h.setCookie(w, "auth", got.Cookie.Reveal(), got.Session.Expires)
	return h.go303(w, r, h.onward(to, state))
}

// handoff hands the session to another host of ours by a one-time code. Only a
// host that can tell whether its browser asked gets one: without a state the
// host is told to ask first. A silent one shows nobody a sign-in page.
func (h *handler) handoff(w http.ResponseWriter, r *http.Request) error {
	to, state := r.URL.Query().Get("to"), session.ParseState(r.URL.Query().Get("state"))
	t, ok := h.parseTarget(to)
	if !ok {
		return errs.Invalid("this link leads to an address that is not one of this platform")
	}
	a := slipway.ActorFrom(r.Context())
	silent := r.URL.Query().Has(session.Silent) && state != "" && t.kind != slipway.HostAuth
	if a.User == nil && !silent {
		q := url.Values{"to": {to}}
		if state != "" {
			q.Set("state", state)
		}
		return h.go303(w, r, "/login?"+q.Encode())
	}
	if t.kind == slipway.HostAuth {
		return h.go303(w, r, t.path)
	}
	q := url.Values{"to": {t.path}}
	if silent {
		q.Set(session.Silent, "1")
	}
	switch {
	case a.User == nil:
		q.Set("state", state)
	case state != "":
		code, err := h.People.Handoff(r.Context(), a.Session, t.host)
		if err != nil {
			return err
		}
		q.Set("code", code)
		q.Set("state", state)
	}
	return h.go303(w, r, t.origin+"/_slipway/session?"+q.Encode())
}

// takeSession begins the session of the management host, in the browser that
// asked for it. Any other is sent to ask itself, once.
func (h *handler) takeSession(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	to := localPath(q.Get("to"))
	failed := func(title, problem string) error {
		return h.show(w, r, http.StatusBadRequest, "error", view{
			Title: title, Problem: problem, Data: session.HandoffURL(h.Hosts, h.Hosts.API()+to, ""),
		})
	}
	if bound, again := session.Bound(r, h.Hosts, q.Get("state")); !bound {
		if again {
			return failed("The sign-in was not completed",
				"The browser did not send back the cookie with which it asked. Allow cookies for this site and try again.")
		}
		return h.go303(w, r, session.Handoff(w, r, h.Hosts, h.Hosts.API()+to, true))
	}
	_, host, _ := strings.Cut(h.Hosts.API(), "://")
	host, _, _ = strings.Cut(host, ":")
	cookie, expires, err := h.People.ExchangeAPI(r.Context(), q.Get("code"), host)
	if errs.Is(err, errs.KindUnauthenticated) { // stale: start again, once signed in it is quick
		if slipway.ActorFrom(r.Context()).User != nil {
			return h.go303(w, r, to)
		}
		return failed("This sign-in link has expired", "It can be used once, within a minute.")
	}
	if err != nil {
		return err
	}
	h.setCookie(w, "api", cookie.Reveal(), expires)
	return h.go303(w, r, to)
}

func (h *handler) logoutPage(w http.ResponseWriter, r *http.Request) error {
	if slipway.ActorFrom(r.Context()).User == nil {
		return h.go303(w, r, "/login?signed-out")
	}
	return h.show(w, r, http.StatusOK, "logout", view{Title: "Sign out?"})
}

func (h *handler) logout(w http.ResponseWriter, r *http.Request) error {
	if slipway.ActorFrom(r.Context()).User != nil {
		if err := h.People.SignOut(r.Context()); err != nil {
			return err
		}
	}
	h.setCookie(w, "auth", "", time.Time{})
	return h.go303(w, r, "/login?signed-out")
}

// Viewer tells who has signed in on the sign-in host, for the OpenID provider
// there: the zero Actor is nobody.
func Viewer(o Options) func(r *http.Request) (slipway.Actor, error) {
	return func(r *http.Request) (slipway.Actor, error) {
		c, err := r.Cookie(cookieName(o.Hosts, "auth"))
		if err != nil {
			return slipway.Actor{}, nil //nolint:nilerr // no cookie, nobody
		}
		a, err := o.People.Session(r.Context(), c.Value)
		if errs.Is(err, errs.KindUnauthenticated) {
			return slipway.Actor{}, nil
		}
		return a, err
	}
}

// SignInPage returns the address of the sign-in page that comes back to one of
// our addresses. again makes it ask whoever has signed in too.
func SignInPage(h slipway.Hosts, to string, again bool) string {
	q := url.Values{"to": {to}}
	if again {
		q.Set("again", "1")
	}
	return h.Auth() + "/login?" + q.Encode()
}
