package gateway

import (
	"bytes"
	"strconv"
	"strings"
)

// framing is how the body after a head is delimited.
type framing struct {
	length  int64
	chunked bool
	upgrade bool // a WebSocket: if it is accepted, what follows is not HTTP
}

type verdict uint8

const (
	headMore verdict = iota // not complete
	headDone
	headBad
)

// headScanner finds the end of a head in a growing buffer and judges it.
type headScanner struct {
	seen, line int // bytes looked at, and where the current line begins
}

// next looks at the bytes that are new in buf, which begins with the head. At
// the end it returns the framing and the head's length.
func (s *headScanner) next(buf []byte) (f framing, n int, v verdict) {
	for {
		i := bytes.IndexByte(buf[s.seen:], '\n')
		if i < 0 {
			if bytes.IndexByte(buf[s.seen:], 0) >= 0 {
				return f, 0, headBad
			}
			s.seen = len(buf)
			return f, 0, headMore
		}
		end := s.seen + i // of the line, at its line feed
		if end == s.line || buf[end-1] != '\r' || bytes.IndexByte(buf[s.seen:end], 0) >= 0 {
			return f, 0, headBad
		}
		s.seen = end + 1
		if end-1 == s.line { // an empty line
			if f, ok := judgeHead(buf[:s.line]); ok {
				return f, s.seen, headDone
			}
			return f, 0, headBad
		}
		s.line = s.seen
	}
}

// judgeHead reads a head without its empty last line, strictly: what any
// server behind us could read in another way than net/http is refused.
func judgeHead(head []byte) (f framing, ok bool) {
	line, rest, ok := bytes.Cut(head, []byte("\r\n"))
	if !ok {
		return f, false
	}
	method, old, authority, ok := judgeRequestLine(string(line))
	if !ok {
		return f, false
	}
	var h headFields
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if !h.add(line) {
			return f, false
		}
	}
	switch {
	case h.hosts != 1 || !validHost(h.host):
		return f, false
	case authority != "" && !strings.EqualFold(authority, h.host):
		return f, false
	case h.chunked && (h.lengths > 0 || old):
		return f, false
	}
	f.length, f.chunked = h.length, h.chunked
	f.upgrade = h.websocket && h.upgrades
	if f.upgrade && (old || method != "GET" || f.chunked || f.length > 0) {
		return f, false
	}
	return f, true
}

// judgeRequestLine returns the method, whether the version is 1.0, and the
// authority of an absolute target.
func judgeRequestLine(line string) (method string, old bool, authority string, ok bool) {
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || !isToken(method) || forbiddenMethod(method) || target == "" {
		return "", false, "", false
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c == 0x7f || c == '#' {
			return "", false, "", false
		}
	}
	switch version {
	case "HTTP/1.1":
	case "HTTP/1.0":
		old = true
	default:
		return "", false, "", false
	}
	if target[0] == '/' {
		return method, old, "", true
	}
	for _, scheme := range []string{"http://", "https://"} {
		if len(target) > len(scheme) && strings.EqualFold(target[:len(scheme)], scheme) {
			authority, _, _ = strings.Cut(target[len(scheme):], "/")
			authority, _, _ = strings.Cut(authority, "?")
			return method, old, authority, authority != ""
		}
	}
	return "", false, "", false
}

// forbiddenMethod: tunnels are not our trade, and TRACE reads cookies back.
func forbiddenMethod(m string) bool {
	switch m {
	case "CONNECT", "TRACE", "TRACK", "PRI":
		return true
	}
	return false
}

// headFields collects what the lines of a head say about framing and host.
type headFields struct {
	host                string
	hosts, lengths      int
	length              int64
	chunked             bool
	upgrades, websocket bool
}

// add reads one line; false when the head is to be refused.
func (h *headFields) add(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return false
	}
	name := line[:i]
	for _, c := range name {
		if !tokenChar[c] {
			return false // among them a space before the colon, and a folded line
		}
	}
	for _, c := range line[i+1:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	switch len(name) {
	case len("Host"), len("Upgrade"), len("Connection"), len("Content-Length"), len("Transfer-Encoding"):
	default:
		return true
	}
	value := string(bytes.Trim(line[i+1:], " \t"))
	switch strings.ToLower(string(name)) {
	case "host":
		h.hosts++
		h.host = value
	case "content-length":
		n, ok := parseLength(value)
		h.lengths++
		h.length = n
		return ok && h.lengths == 1
	case "transfer-encoding":
		if h.chunked || value != "chunked" {
			return false
		}
		h.chunked = true
	case "connection":
		h.upgrades = h.upgrades || hasToken(value, "upgrade")
	case "upgrade":
		h.websocket = h.websocket || strings.EqualFold(value, "websocket")
	}
	return true
}

func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// hasToken reports whether a comma-separated list has the token.
func hasToken(list, token string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if strings.EqualFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// validHost: a name or an address with an optional port, nothing else.
func validHost(host string) bool {
	if host == "" || len(host) > 260 {
		return false
	}
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '-', c == ':', c == '[', c == ']', c == '_':
		default:
			return false
		}
	}
	return host[0] != ':'
}

func isToken(s string) bool {
	for i := range len(s) {
		if !tokenChar[s[i]] {
			return false
		}
	}
	return s != ""
}

// tokenChar has the characters of RFC 9110's tokens.
var tokenChar = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()
