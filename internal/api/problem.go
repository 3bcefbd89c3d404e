package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/logs"
)

// statuses are by error kind.
var statuses = map[errs.Kind]int{
	errs.KindInternal:        http.StatusInternalServerError,
	errs.KindInvalid:         http.StatusUnprocessableEntity,
	errs.KindUnauthenticated: http.StatusUnauthorized,
	errs.KindDenied:          http.StatusForbidden,
	errs.KindNotFound:        http.StatusNotFound,
	errs.KindConflict:        http.StatusConflict,
	errs.KindExhausted:       http.StatusTooManyRequests,
	errs.KindUnavailable:     http.StatusServiceUnavailable,
	errs.KindUnsupported:     http.StatusNotImplemented,
}

const problemType = "application/problem+json"

// problem is an error as it is answered. It is the one renderer of this
// protocol.
type problem client.Problem

func (p *problem) Error() string             { return p.Detail }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) ContentType(string) string { return problemType }

func (p *problem) GetHeaders() http.Header {
	if p.Status == http.StatusUnauthorized {
		return http.Header{"WWW-Authenticate": {`Bearer realm="slipway"`}}
	}
	return nil
}

// problem makes an answer of err. This is the edge: what is our own fault is
// logged here with its cause, and only an id of it is shown.
func (s *server) problem(ctx context.Context, err error) *problem {
	kind := errs.KindOf(err)
	p := &problem{
		Title: http.StatusText(statuses[kind]), Status: statuses[kind], Kind: kind.String(),
		Detail: errs.Message(err), Fields: errs.FieldsOf(err), Request: logs.Request(ctx),
	}
	if kind == errs.KindInternal {
		s.Log.ErrorContext(ctx, "request failed", "error", err)
		p.Fields = nil
	} else {
		s.Log.DebugContext(ctx, "request refused", "kind", kind.String(), "error", err)
	}
	return p
}

// refuse answers outside of huma.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := s.problem(r.Context(), err)
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that is gone hears nothing
}

// ours turns huma's own errors, which are about the shape of the input, into
// problems.
func ours(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := &problem{
		Title: http.StatusText(m.Status), Status: m.Status, Kind: errs.KindInvalid.String(),
		Detail: "the input cannot be right", Request: logs.Request(ctx.Context()),
	}
	switch {
	case m.Status >= 500:
		p.Kind, p.Detail = errs.KindInternal.String(), errs.Message(nil)
	case len(m.Errors) == 0:
		p.Detail = m.Detail
	default:
		for _, d := range m.Errors {
			if d != nil {
				p.Fields = append(p.Fields, errs.Field{Name: strings.TrimPrefix(d.Location, "body."), Message: d.Message})
			}
		}
	}
	return p, nil
}
