package oci

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
)

// quiet makes distribution's own log, which it writes for every request, ours:
// only what went wrong on this side is passed on.
var quiet = sync.OnceFunc(func() {
	logrus.SetOutput(io.Discard)
	logrus.SetLevel(logrus.ErrorLevel)
	logrus.AddHook(hook{})
})

type hook struct{}

func (hook) Levels() []logrus.Level { return []logrus.Level{logrus.ErrorLevel} }

func (hook) Fire(e *logrus.Entry) error {
	// All others are the client's own mistakes, or what it noticed in passing.
	if code, _ := e.Data["err.code"].(fmt.Stringer); code == nil || !strings.EqualFold(code.String(), "unknown") {
		return nil
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	slog.WarnContext(ctx, "registry: "+e.Message, "detail", e.Data["err.detail"], "repository", e.Data["vars.name"])
	return nil
}
