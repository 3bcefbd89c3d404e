package proc

import (
	"context"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
	"slipway.dev/slipway/internal/engine/logfile"
)

// Logs implements engine.Engine.
func (e *Engine) Logs(_ context.Context, q engine.LogQuery) (engine.LogReader, error) {
	if _, _, ok := e.logs(q); !ok {
		return nil, errs.NotFound("there is no %s", q.Ref)
	}
	return logfile.Open(q, func() ([]logfile.File, bool, error) {
		files, done, _ := e.logs(q)
		return files, done, nil
	})
}

// logs lists the files of those who may have written; ok is false when the ref
// is gone.
func (e *Engine) logs(q engine.LogQuery) (files []logfile.File, done, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ob := e.objects[q.Ref]
	if ob == nil {
		return nil, true, false
	}
	ended := q.Ref.Kind == engine.KindTask
	for i, r := range ob.replicas {
		if q.Index >= 0 && q.Index != i {
			continue
		}
		files = append(files, logfile.File{Replica: r.id.Index, Path: r.priv(inside.LogFile), Older: r.priv(inside.LogOld)})
		ended = ended && r.result != nil
	}
	return files, ended && len(files) > 0, true
}
