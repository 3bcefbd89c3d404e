package slipway

import (
	"regexp"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/base/errs"
)

// MaxAppName is the longest name of an app, in characters.
const MaxAppName = 30

var (
	appName  = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	userName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,63}$`)

	// reserved names are paths of the platform on the base host, or labels
	// of its other hosts.
	reserved = []string{
		"admin", "api", "apps", "auth", "docs", "git", "healthz", "login", "logout", "metrics", "packages",
		"portal", "readyz", "registry", "settings", "static", "workspace", "ws",
	}
)

// ParseAppName checks a name that a person gives to an app. The name is the
// app's path in URLs. Errors are Invalid and say what a name may be.
func ParseAppName(s string) (string, error) {
	switch {
	case s == "":
		return "", errs.Invalid("an app needs a name")
	case len(s) > MaxAppName:
		return "", errs.Invalid("the app name %q is too long: at most %d characters", s, MaxAppName)
	case !appName.MatchString(s):
		return "", errs.Invalid("the app name %q may hold lowercase letters, digits and -, and starts with a letter", s)
	case strings.HasSuffix(s, "-"):
		return "", errs.Invalid("the app name %q may not end with -", s)
	case slices.Contains(reserved, s):
		return "", errs.Invalid("the app name %q is reserved: choose another", s)
	}
	return s, nil
}

// ParseUserName checks and lowercases a user name.
func ParseUserName(s string) (string, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	if !userName.MatchString(s) {
		return "", errs.Invalid("the user name %q may hold letters, digits and . _ @ + -, starts with a letter or digit, at most 64", s)
	}
	return s, nil
}
