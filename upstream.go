package slipway

import (
	"net/url"
	"strings"

	"slipway.dev/slipway/internal/base/errs"
)

// Upstream is the git repository elsewhere that an app's code is fetched from.
type Upstream struct {
	URL   string `json:"url"`             // https://host/path
	Ref   string `json:"ref,omitempty"`   // branch, tag or whole commit id; empty = the repository's default branch
	User  string `json:"user,omitempty"`  // that goes with the token; empty = any
	Token bool   `json:"token,omitempty"` // there is one: it is written, never read back
}

// ParseUpstream checks what a person gives, all of it in one error, and cleans
// it. The error repeats nothing of it: an address may hold a password.
func ParseUpstream(u Upstream) (Upstream, error) {
	var wrong []errs.Field
	bad := func(name, message string) { wrong = append(wrong, errs.Field{Name: name, Message: message}) }
	u.URL, u.Ref, u.User = strings.TrimSpace(u.URL), strings.TrimSpace(u.Ref), strings.TrimSpace(u.User)
	if why := checkUpstreamURL(u.URL); why != "" {
		bad("url", why)
	}
	u.URL = strings.TrimRight(u.URL, "/")
	if strings.HasPrefix(u.Ref, "-") || len(u.Ref) > 250 || strings.ContainsFunc(u.Ref, func(r rune) bool { return r <= ' ' || strings.ContainsRune("\x7f~^:?*[\\", r) }) {
		bad("ref", "it is the name of no branch or tag, and no commit")
	}
	if len(u.User) > 200 || strings.ContainsFunc(u.User, func(r rune) bool { return r < ' ' || r == ':' || r == 0x7f }) {
		bad("user", "it may hold at most 200 characters, and no colon")
	}
	return u, errs.Fields("this repository cannot be fetched from", wrong...)
}

func checkUpstreamURL(s string) string {
	u, err := url.Parse(s)
	scp := !strings.Contains(s, "://") && strings.Contains(s, "@") && strings.Contains(s, ":") // git@host:path
	switch {
	case s == "":
		return "is needed, such as https://github.com/me/app"
	case len(s) > 500:
		return "it is longer than 500 characters"
	case scp || err == nil && (u.Scheme == "ssh" || strings.HasSuffix(u.Scheme, "+ssh")):
		return "ssh is not used here: give the repository's https:// address, and an access token if it is private"
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return "it must be an https:// address, such as https://github.com/me/app"
	case u.User != nil:
		return "it holds a user name or password: take them out, and give an access token in its own field"
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.Contains(s, "#"):
		return "it must end with the path of the repository, without ? and #"
	case strings.Trim(u.Path, "/") == "":
		return "it names a server, not a repository on it"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) || strings.ContainsFunc(u.Host, func(r rune) bool { return r > 0x7f }):
		return "it has characters that an address does not have"
	}
	return ""
}

// Place is the repository without what is the same for all of them.
func (u Upstream) Place() string {
	return strings.TrimSuffix(strings.TrimPrefix(u.URL, "https://"), ".git")
}
