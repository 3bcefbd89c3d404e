package errs_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
)

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err     error
		kind    errs.Kind
		message string
	}{
		{errs.NotFound("no app named %q", "x"), errs.KindNotFound, `no app named "x"`},
		{fmt.Errorf("deploy: %w", errs.Conflict("taken")), errs.KindConflict, "taken"},
		{errors.New("dial tcp 10.0.0.1: password=x"), errs.KindInternal, "something went wrong on our side"},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), errs.KindUnavailable, "it took too long, or was canceled: try again"},
		{errs.Wrap(errors.New("secret cause"), errs.KindInvalid, "bad input"), errs.KindInvalid, "bad input"},
	} {
		if got := errs.KindOf(tt.err); got != tt.kind {
			t.Errorf("%v is %s", tt.err, got)
		}
		if got := errs.Message(tt.err); got != tt.message {
			t.Errorf("%v says %q", tt.err, got)
		}
		if got := errs.ParseKind(tt.kind.String()); got != tt.kind {
			t.Errorf("%s parses as %s", tt.kind, got)
		}
	}
	if errs.Fields("nothing wrong") != nil {
		t.Error("no fields are an error")
	}
	if errs.Is(nil, errs.KindInternal) {
		t.Error("nil is internal")
	}
}
