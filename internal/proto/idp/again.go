package idp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A client may ask that its person signs in anew: prompt=login, or max_age and
// a sign-in longer ago. While the sign-in page has the browser, the request
// carries a mark of when it was asked for; a sign-in after that is what it
// waits for. The mark is sealed, so that no older sign-in can pass for it.

const (
	askedParam = "slipway_asked"
	askedLife  = time.Hour
)

// mustSignIn reports whether a sign-in at since is not what the client wants.
func (p *provider) mustSignIn(q url.Values, since time.Time) bool {
	now := p.Now()
	if at, ok := p.askedAt(q.Get(askedParam)); ok && now.Sub(at) < askedLife && !since.Before(at) {
		return false
	}
	if has(q.Get("prompt"), "login") {
		return true
	}
	age, err := strconv.Atoi(q.Get("max_age"))
	return err == nil && now.Sub(since) > time.Duration(age)*time.Second
}

func (p *provider) asked() string { return p.seal(strconv.FormatInt(p.Now().UnixMicro(), 10)) }

func (p *provider) seal(text string) string {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (p *provider) askedAt(mark string) (time.Time, bool) {
	text, _, _ := strings.Cut(mark, ".")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || !hmac.Equal([]byte(p.seal(text)), []byte(mark)) {
		return time.Time{}, false
	}
	return time.UnixMicro(n), true
}
