package enginetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/files"
)

// mounted reaches a volume's files by way of the init in each of two replicas.
func mounted(t *testing.T, h *Harness) {
	v := engine.Volume{ID: engine.Ref{Kind: engine.KindVolume, Scope: "app", Name: "data"}}
	h.apply(t, v)
	w := Workload("app", "web-v1", ProgramSleep)
	w.Replicas, w.Mounts = 2, []engine.Mount{{Volume: v.ID, Path: "/home/app/mount"}}
	h.apply(t, w)
	replicas := h.running(t, w.ID, 2)
	one, two := folder(h, replicas[0].ID), folder(h, replicas[1].ID)
	large := make([]byte, 5<<20+17)
	_, _ = rand.Read(large) // never fails
	if err := errors.Join(one.Mkdir(t.Context(), "data"), one.Write(t.Context(), "data/large", bytes.NewReader(large))); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	var size int64
	if err := two.Read(t.Context(), "data/large", func(e files.Entry) io.Writer {
		size = e.Size
		return &got
	}); err != nil || size != int64(len(large)) || !bytes.Equal(got.Bytes(), large) {
		t.Errorf("read %d of %d bytes: %v", got.Len(), size, err)
	}
	if err := one.Write(t.Context(), "data/torn", io.MultiReader(strings.NewReader("half"), broken{})); !errors.Is(err, errBroken) {
		t.Errorf("a torn file: %v", err)
	}
	p, err := two.List(t.Context(), "data", "", 10)
	if err != nil || p.Total != 1 || p.Items[0].Name != "large" {
		t.Errorf("the folder has %+v, %v", p, err)
	}
	if err := two.Read(t.Context(), "nothing", nil); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("read what is not there: %v", err)
	}
	if err := two.Remove(t.Context(), "data"); err != nil {
		t.Error(err)
	}
	if p, err := one.List(t.Context(), "", "", 10); err != nil || p.Total != 0 {
		t.Errorf("after the removal there is %+v, %v", p, err)
	}
}

func folder(h *Harness, id engine.ReplicaRef) files.Mount {
	return files.Mount{Dir: "/home/app/mount", Run: func(ctx context.Context, args []string, in io.Reader, out, err io.Writer) (int, error) {
		exit, e := h.Engine.Exec(ctx, id, engine.Command{Args: append([]string{engine.Init, files.Verb}, args...)}, engine.Streams{In: in, Out: out, Err: err})
		return exit.Code, e
	}}
}

var errBroken = errors.New("the line broke")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }
