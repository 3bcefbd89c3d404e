package kube

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/logfile"
)

// Logs implements engine.Engine. It reads the collector's files.
func (e *Engine) Logs(_ context.Context, q engine.LogQuery) (engine.LogReader, error) {
	name := e.name(q.Ref)
	if e.cache.gone(name) {
		return nil, errs.NotFound("there is no %s", q.Ref)
	}
	return logfile.Open(q, func() ([]logfile.File, bool, error) {
		// Asked before reading: what is written until then is read.
		k, ok := e.knownOf(name)
		done := !ok && e.cache.gone(name) || ok && k.result != nil
		found, err := filepath.Glob(filepath.Join(e.logs.folder(name), "*.log"))
		var files []logfile.File
		for _, path := range found {
			index, err := strconv.Atoi(strings.SplitN(filepath.Base(path), "-", 2)[0])
			if err == nil && (q.Index < 0 || q.Index == index) {
				files = append(files, logfile.File{Replica: index, Path: path, Older: path + ".1"})
			}
		}
		return files, done, err
	})
}
