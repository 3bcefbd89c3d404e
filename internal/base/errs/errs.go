// Package errs is the error model: a closed set of kinds, a message that is
// safe and helpful to the person who asked, and the cause below it. Errors
// without a kind are Internal and their text is never shown.
package errs

import (
	"context"
	"errors"
	"fmt"
)

// Kind classes an error by what the one who asked can do about it.
type Kind uint8

// The kinds. Each protocol renders them in one place.
const (
	KindInternal Kind = iota
	KindInvalid
	KindUnauthenticated
	KindDenied
	KindNotFound
	KindConflict
	KindExhausted
	KindUnavailable
	KindUnsupported
)

var kindNames = [...]string{
	"internal", "invalid", "unauthenticated", "denied", "not_found", "conflict", "exhausted", "unavailable", "unsupported",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// ParseKind is the inverse of String; unknown names are KindInternal.
func ParseKind(s string) Kind {
	for i, n := range kindNames {
		if n == s {
			return Kind(i)
		}
	}
	return KindInternal
}

// Field is what is wrong with one field of an input.
type Field struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// Error is an error with a kind. Message is shown to people.
type Error struct {
	Kind    Kind
	Message string
	Fields  []Field
	Err     error
}

func (e *Error) Error() string {
	s := e.Message
	for _, f := range e.Fields {
		s += "; " + f.Name + ": " + f.Message
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Wrap gives err a kind and a message for people.
func Wrap(err error, k Kind, format string, args ...any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: err}
}

func newError(k Kind, format string, args []any) error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Invalid reports input that cannot be right.
func Invalid(format string, args ...any) error { return newError(KindInvalid, format, args) }

// Unauthenticated asks for a sign-in.
func Unauthenticated(format string, args ...any) error {
	return newError(KindUnauthenticated, format, args)
}

// Denied reports a missing right on something that the actor may see.
func Denied(format string, args ...any) error { return newError(KindDenied, format, args) }

// NotFound reports what is not there, or may not be seen.
func NotFound(format string, args ...any) error { return newError(KindNotFound, format, args) }

// Conflict reports that something stands in the way: it exists, or has changed.
func Conflict(format string, args ...any) error { return newError(KindConflict, format, args) }

// Exhausted reports that a limit is reached.
func Exhausted(format string, args ...any) error { return newError(KindExhausted, format, args) }

// Unavailable reports a passing trouble: trying again may help.
func Unavailable(format string, args ...any) error { return newError(KindUnavailable, format, args) }

// Unsupported reports what is not done here (yet).
func Unsupported(format string, args ...any) error { return newError(KindUnsupported, format, args) }

// Fields reports every wrong field of an input at once, or nil for none.
func Fields(message string, fields ...Field) error {
	if len(fields) == 0 {
		return nil
	}
	return &Error{Kind: KindInvalid, Message: message, Fields: fields}
}

// KindOf returns the kind of the first Error in err's chain. A cancelled or
// late context is Unavailable, everything else Internal.
func KindOf(err error) Kind {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Kind
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return KindUnavailable
	}
	return KindInternal
}

// Is reports whether err is of kind k. A nil error is of no kind.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Message returns what may be shown to people.
func Message(err error) string {
	var e *Error
	switch {
	case errors.As(err, &e) && e.Kind != KindInternal:
		return e.Message
	case KindOf(err) == KindUnavailable:
		return "it took too long, or was canceled: try again"
	}
	return "something went wrong on our side"
}

// FieldsOf returns the fields of the first Error in err's chain.
func FieldsOf(err error) []Field {
	var e *Error
	if errors.As(err, &e) {
		return e.Fields
	}
	return nil
}
