package gateway

import (
	"net/url"
	"strings"
)

// requestPath returns the path of a request target as it was sent, without
// the query.
func requestPath(uri string) string {
	if i := strings.IndexByte(uri, '?'); i >= 0 {
		uri = uri[:i]
	}
	if !strings.HasPrefix(uri, "/") { // absolute form; its authority was judged
		_, rest, _ := strings.Cut(uri, "://")
		i := strings.IndexByte(rest, '/')
		if i < 0 {
			return "/"
		}
		uri = rest[i:]
	}
	return uri
}

// plainPath reports whether all servers agree on what the path means: no dot
// segments in any spelling, no empty segments, no encoded or backward slashes.
// What does not pass is refused before routing, for an app must not be
// reached through another's name.
func plainPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	if !strings.ContainsAny(path, "%\\;.") && !strings.Contains(path, "//") {
		return true
	}
	decoded, err := url.PathUnescape(path)
	if err != nil || strings.ContainsAny(decoded, "\\\x00") || strings.Count(decoded, "/") != strings.Count(path, "/") {
		return false
	}
	for i, segment := range strings.Split(decoded[1:], "/") {
		name, _, _ := strings.Cut(segment, ";") // some servers cut parameters off first
		if name == "." || name == ".." || segment == "" && i < strings.Count(decoded, "/")-1 {
			return false
		}
	}
	return true
}

// firstSegment splits "/app/rest" into "app" and "/rest"; slash tells whether
// there was one after the first segment.
func firstSegment(path string) (first, rest string, slash bool) {
	first, rest, slash = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first, "/" + rest, slash
}

// stripSegment takes the first segment off a URL's path.
func stripSegment(u *url.URL) {
	_, u.Path, _ = firstSegment(u.Path)
	if u.RawPath != "" {
		_, u.RawPath, _ = firstSegment(u.RawPath)
	}
}

// localPath returns a path of this host that a browser may be sent to, or "/".
func localPath(to string) string {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t\x00") {
		return "/"
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return "/"
	}
	return u.RequestURI()
}
