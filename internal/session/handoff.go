package session

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/secret"
)

// A hand-off brings a session from the sign-in host to another of our hosts by
// a link with a one-time code. A link works in every browser, so whoever made
// one of a session of their own could sign somebody else in as themselves.
// That is why the host that wants a session first leaves a nonce in a cookie
// and sends the nonce's hash along as state: the code counts only in the
// browser that asked for it.

// handoffLife is how long a browser may take to sign in. One that takes longer
// is sent once more, which costs no password.
const handoffLife = 10 * time.Minute

// silentLife is how long a browser that has nobody signed in is not asked again.
const silentLife = 2 * time.Minute

// Silent is the parameter of a hand-off that shows no sign-in page: a browser
// without a session comes back without a code.
const Silent = "silent"

// secondTry marks the state of a hand-off that was started again.
const secondTry = ".2"

var (
	nonceForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	stateForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}(\.2)?$`)
)

func handoffCookie(h slipway.Hosts) string {
	if h.Scheme == "https" {
		return "__Host-slipway-handoff"
	}
	return "slipway-handoff"
}

// Handoff returns where to send the browser for a session, so that it comes
// back to the address to, and sets the cookie that the session is bound to. A
// browser with several tabs keeps the cookie that it has, so that each of them
// comes back. again is set when the browser has just been there in vain.
func Handoff(w http.ResponseWriter, r *http.Request, h slipway.Hosts, to string, again bool) string {
	state := bind(w, r, h, handoffLife)
	if again {
		state += secondTry
	}
	return HandoffURL(h, to, state)
}

// SilentHandoff is a Handoff for a page that is open to everybody, but shows
// more to those who have signed in. It returns "" when the browser was asked a
// moment ago.
func SilentHandoff(w http.ResponseWriter, r *http.Request, h slipway.Hosts, to string) string {
	if len(nonces(r, h)) > 0 {
		return ""
	}
	return HandoffURL(h, to, bind(w, r, h, silentLife)) + "&" + Silent + "=1"
}

// bind leaves the nonce in the browser and returns the state that belongs to it.
func bind(w http.ResponseWriter, r *http.Request, h slipway.Hosts, life time.Duration) string {
	nonce := secret.Random(32).Reveal()
	if had := nonces(r, h); len(had) > 0 {
		nonce = had[0]
	}
	http.SetCookie(w, &http.Cookie{
		Name: handoffCookie(h), Value: nonce, Path: "/", HttpOnly: true, Secure: h.Scheme == "https",
		SameSite: http.SameSiteLaxMode, MaxAge: int(life.Seconds()),
	})
	return stateOf(nonce)
}

// HandoffURL is the sign-in host's page that hands a session over.
func HandoffURL(h slipway.Hosts, to, state string) string {
	q := url.Values{"to": {to}}
	if state = ParseState(state); state != "" {
		q.Set("state", state)
	}
	return h.Auth() + "/login/handoff?" + q.Encode()
}

// ParseState returns a state as it came, or "" when it is none.
func ParseState(state string) string {
	if !stateForm.MatchString(state) {
		return ""
	}
	return state
}

// Bound reports whether this browser asked for the hand-off that a state
// belongs to. If not, again tells whether it was sent a second time already.
func Bound(r *http.Request, h slipway.Hosts, state string) (ok, again bool) {
	want, again := strings.CutSuffix(ParseState(state), secondTry)
	for _, n := range nonces(r, h) {
		if subtle.ConstantTimeCompare([]byte(stateOf(n)), []byte(want)) == 1 {
			return true, again
		}
	}
	return false, again
}

// nonces are the cookie's values. Over plain HTTP a neighbour's script can set
// one of the same name beside ours, so a few are looked at.
func nonces(r *http.Request, h slipway.Hosts) []string {
	var out []string
	for _, c := range r.CookiesNamed(handoffCookie(h)) {
		if len(out) < 4 && nonceForm.MatchString(c.Value) {
			out = append(out, c.Value)
		}
	}
	return out
}

func stateOf(nonce string) string {
	sum := sha256.Sum256([]byte(nonce))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
