package fake

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/files"
)

// Exec implements engine.Engine: the fake prints the command. What engine.Init
// does with files is real, in a folder of each volume that programs of the fake
// do not see.
func (e *Engine) Exec(_ context.Context, id engine.ReplicaRef, c engine.Command, s engine.Streams) (engine.Exit, error) {
	args := slices.Clone(c.Args)
	e.mu.Lock()
	ob := e.objects[id.Ref]
	var err error
	switch {
	case len(args) == 0:
		err = errs.Invalid("there is no command to run")
	case ob == nil || ob.replicas[id.Index] == nil:
		err = errs.NotFound("there is no replica %d of %s", id.Index, id.Ref)
	case ob.replicas[id.Index].obs.Phase != engine.PhaseRunning:
		err = errs.Conflict("replica %d of %s does not run", id.Index, id.Ref)
	case args[0] == engine.Init:
		err = e.place(ob, args)
	}
	e.mu.Unlock()
	if err != nil {
		return engine.Exit{}, err
	}
	if s.In == nil {
		s.In = bytes.NewReader(nil)
	}
	if s.Out == nil {
		s.Out = io.Discard
	}
	if s.Err == nil {
		s.Err = io.Discard
	}
	exit := engine.Exit{}
	if args[0] == engine.Init && len(args) > 1 && args[1] == files.Verb {
		exit.Code = files.Serve(args[2:], s.In, s.Out, s.Err)
	} else {
		_, err = io.WriteString(s.Out, strings.Join(args, " ")+"\n")
	}
	exit.At = time.Now().UTC()
	return exit, err
}

// place replaces the paths of volumes by their folders. It needs Engine.mu.
func (e *Engine) place(ob *object, args []string) error {
	for _, m := range ob.workload.Mounts {
		v := e.volumes[m.Volume]
		if v.dir == "" {
			dir, err := os.MkdirTemp("", "slipway-fake-")
			if err != nil {
				return err
			}
			v.dir = dir
		}
		for i, a := range args {
			if a == m.Path {
				args[i] = v.dir
			}
		}
	}
	return nil
}

func (v *volume) drop() error {
	if v.dir == "" {
		return nil
	}
	return os.RemoveAll(v.dir)
}
