package oci

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// tokenLife is how long a client may use a token before it asks for another.
// It bounds only how long the password holds: rights are asked for each time.
const tokenLife = 15 * time.Minute

const sealPurpose = "oci token"

// claims are in a token, sealed: a client can neither read nor change them.
type claims struct {
	Subject string    `json:"sub"`
	Expires time.Time `json:"exp"`
}

// serveToken gives whoever has a good password or API token a token for the
// registry, as the distribution specification wants it.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet) // clients then use GET
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	user, password, ok := r.BasicAuth()
	if !ok {
		s.fail(w, r, errs.Unauthenticated("sign in with your user name, and your password or an API token"))
		return
	}
	subject, err := s.Authenticate(r.Context(), user, secret.New(password))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	now := time.Now().UTC()
	sealed, err := json.Marshal(claims{subject.Reveal(), now.Add(tokenLife)})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	token := base64.RawURLEncoding.EncodeToString(s.Box.Seal(sealed, sealPurpose))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": int(tokenLife.Seconds()), "issued_at": now.Format(time.RFC3339),
	})
}

// subject returns whom the request's token speaks for.
func (s *Server) subject(r *http.Request) (secret.String, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return secret.String{}, errs.Unauthenticated("sign in first")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(token))
	if err != nil {
		return secret.String{}, errs.Unauthenticated("this token is none of ours")
	}
	text, err := s.Box.Open(sealed, sealPurpose)
	if err != nil {
		return secret.String{}, errs.Unauthenticated("this token is none of ours")
	}
	var c claims
	if err := json.Unmarshal(text, &c); err != nil || time.Now().After(c.Expires) {
		return secret.String{}, errs.Unauthenticated("this token has expired")
	}
	return secret.New(c.Subject), nil
}

// fail answers in the form that registry clients show to people.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := errcode.ErrorCodeUnknown
	switch errs.KindOf(err) {
	case errs.KindUnauthenticated:
		code = errcode.ErrorCodeUnauthorized
		if r.URL.Path == tokenPath {
			w.Header().Set("WWW-Authenticate", `Basic realm="Slipway", charset="UTF-8"`)
		} else {
			w.Header().Set("WWW-Authenticate", s.challenge(r))
		}
	case errs.KindDenied, errs.KindNotFound, errs.KindConflict, errs.KindInvalid:
		code = errcode.ErrorCodeDenied
	case errs.KindExhausted:
		code = errcode.ErrorCodeTooManyRequests
		if r.URL.Path != tokenPath {
			code = errcode.ErrorCodeDenied // trying again does not help
		}
	case errs.KindUnavailable:
		code = errcode.ErrorCodeUnavailable
	case errs.KindUnsupported:
		code = errcode.ErrorCodeUnsupported
	case errs.KindInternal:
		s.Log.ErrorContext(r.Context(), "registry request failed", "path", r.URL.Path, "error", err)
	}
	_ = errcode.ServeJSON(w, errcode.Error{Code: code, Message: errs.Message(err)})
}
