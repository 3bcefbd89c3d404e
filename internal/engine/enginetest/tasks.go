package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

func taskOnce(t *testing.T, h *Harness) {
	k := Task("app", "predeploy-d1", ProgramPass)
	h.apply(t, k)
	h.apply(t, k)
	r := h.ended(t, k.ID)
	if r.Phase != engine.PhaseExited || r.Exit == nil || r.Exit.Failed() || r.Exit.At.IsZero() {
		t.Fatalf("the task ended as %+v, %+v", r, r.Exit)
	}
	h.apply(t, k)
	if got := h.printed(t, k.ID); got != "ran" {
		t.Errorf("it printed %q, want once ran", got)
	}
	other := k
	other.Deadline++
	if err := h.Engine.Apply(t.Context(), other); !errs.Is(err, errs.KindConflict) {
		t.Errorf("a changed task: got %v, want a conflict", err)
	}
	f := Task("app", "fails", ProgramFail)
	h.apply(t, f)
	if r := h.ended(t, f.ID); r.Phase != engine.PhaseExited || r.Exit.Code != 3 || !r.Exit.Failed() || r.Restarts != 0 {
		t.Errorf("the task ended as %+v, %+v", r, r.Exit)
	}
}

func taskKeeps(t *testing.T, h *Harness) {
	if err := h.Engine.Layers().Put(t.Context(), "base", Tar(t, Entry{Name: "old", Body: "old"})); err != nil {
		t.Fatal(err)
	}
	k := Task("builds", "env-1", ProgramKeep)
	k.Layers = []engine.Layer{{Name: "base", At: "/kept"}}
	k.Keep = []engine.Layer{{Name: "made", At: "/kept"}}
	h.apply(t, k)
	if r := h.ended(t, k.ID); r.Exit == nil || r.Exit.Failed() {
		t.Fatalf("the task ended as %+v, %+v, printed %q", r, r.Exit, h.printed(t, k.ID))
	}
	b, err := h.Engine.Layers().Open(t.Context(), "made")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	files := Untar(t, b)
	if strings.TrimSpace(files["file"]) != "kept" || files["old"] != "old" {
		t.Errorf("the layer has %q", files)
	}
	n := Task("builds", "env-2", ProgramNoKeep)
	n.Keep = []engine.Layer{{Name: "unmade", At: "/kept"}}
	h.apply(t, n)
	h.ended(t, n.ID)
	if ok, err := h.Engine.Layers().Has(t.Context(), "unmade"); ok || err != nil {
		t.Errorf("a failed task kept a layer: %v %v", ok, err)
	}
}

func taskDeadline(t *testing.T, h *Harness) {
	k := Task("app", "slow", ProgramSleep)
	k.Deadline = 300 * time.Millisecond
	h.apply(t, k)
	r := h.ended(t, k.ID)
	if r.Exit == nil || !r.Exit.Failed() || r.Exit.Message == "" || r.Exit.OOM {
		t.Errorf("a late task ended as %+v", r.Exit)
	}
}

func seesTERM(t *testing.T, h *Harness) {
	k := Task("app", "polite", ProgramPolite)
	k.Deadline = time.Second
	k.Grace = 10 * time.Second
	h.apply(t, k)
	h.ended(t, k.ID)
	if got := h.printed(t, k.ID); !strings.Contains(got, "got TERM") {
		t.Errorf("it printed %q", got)
	}
}

func stubborn(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramForever)
	w.Grace = 300 * time.Millisecond
	h.apply(t, w)
	h.running(t, w.ID, 1)
	Await(t, "the program is ready", func() bool { return h.printed(t, w.ID) != "" })
	start := time.Now()
	h.remove(t, w.ID)
	if d := time.Since(start); d < 250*time.Millisecond || d > 30*time.Second {
		t.Errorf("it was removed after %v", d)
	}
}

func logs(t *testing.T, h *Harness) {
	if _, err := h.Engine.Logs(t.Context(), engine.LogQuery{Ref: engine.Ref{Kind: engine.KindWorkload, Scope: "a", Name: "b"}}); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("logs of nothing: got %v, want not found", err)
	}
	k := Task("app", "fails", ProgramFail)
	h.apply(t, k)
	h.ended(t, k.ID)
	streams := map[string]bool{}
	for _, l := range h.logs(t, engine.LogQuery{Ref: k.ID, Index: -1, Follow: true}) {
		streams[l.Text] = l.Stderr
		if time.Since(l.Time) > time.Minute {
			t.Errorf("the line %q is from %v", l.Text, l.Time)
		}
	}
	if stderr, ok := streams["err"]; !ok || !stderr || streams["out"] || len(streams) != 2 {
		t.Errorf("a dead task's lines by stream: %v", streams)
	}
	w := Workload("app", "web-v1", ProgramCount)
	h.apply(t, w)
	Await(t, "500 lines are there", func() bool {
		return len(h.logs(t, engine.LogQuery{Ref: w.ID, Index: -1})) == 500
	})
	for i, l := range h.logs(t, engine.LogQuery{Ref: w.ID}) {
		if l.Text != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, l.Text)
		}
	}
	tail := h.logs(t, engine.LogQuery{Ref: w.ID, Index: 0, Tail: 3})
	if len(tail) != 3 || tail[0].Text != "498" {
		t.Errorf("the last three lines are %+v", tail)
	}
	if got := h.logs(t, engine.LogQuery{Ref: w.ID, Since: time.Now().Add(time.Hour)}); len(got) != 0 {
		t.Errorf("%d lines are from the future", len(got))
	}
	follow(t, h, w.ID)
}

func follow(t *testing.T, h *Harness, ref engine.Ref) {
	t.Helper()
	l, err := h.Engine.Logs(t.Context(), engine.LogQuery{Ref: ref, Tail: 1, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if line, err := l.Next(t.Context()); err != nil || line.Text != "500" {
		t.Errorf("followed to %+v, %v", line, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if line, err := l.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v, %v, want to wait", line, err)
	}
}

func execs(t *testing.T, h *Harness) {
	w := Workload("app", "web-v1", ProgramSleep)
	h.apply(t, w)
	r := h.running(t, w.ID, 1)[0]
	var out, stderr bytes.Buffer
	exit, err := h.Engine.Exec(t.Context(), r.ID, engine.Command{Args: []string{"/bin/sh", "-c", "cat; echo $PORT; id -u >&2; exit 7"}},
		engine.Streams{In: strings.NewReader("in\n"), Out: &out, Err: &stderr})
	if err != nil || exit.Code != 7 {
		t.Errorf("exec ended as %+v, %v", exit, err)
	}
	port, user := strings.TrimPrefix(out.String(), "in\n"), strings.TrimSpace(stderr.String())
	if _, err := strconv.Atoi(strings.TrimSpace(port)); err != nil || !h.Plain && (port != "8050\n" || user == "0") {
		t.Errorf("exec printed %q and %q", out.String(), stderr.String())
	}
	out.Reset()
	exit, err = h.Engine.Exec(t.Context(), r.ID, engine.Command{Args: []string{"/bin/sh", "-c", "test -t 1 && echo tty"}, TTY: true}, engine.Streams{Out: &out})
	if err != nil || exit.Code != 0 || !strings.Contains(out.String(), "tty") {
		t.Errorf("exec with a terminal: %+v, %v, %q", exit, err, out.String())
	}
	r.ID.Index = 5
	if _, err := h.Engine.Exec(t.Context(), r.ID, engine.Command{Args: []string{"true"}}, engine.Streams{}); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("exec in nothing: got %v, want not found", err)
	}
}

func outOfMemory(t *testing.T, h *Harness) {
	i, err := h.Engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !i.MemoryEnforced {
		t.Skip("no memory limits here: " + i.Why)
	}
	k := Task("app", "hungry", ProgramHungry)
	h.apply(t, k)
	if r := h.ended(t, k.ID); r.Exit == nil || !r.Exit.OOM || !r.Exit.Failed() {
		t.Errorf("it ended as %+v", r.Exit)
	}
	w := Workload("app", "web-v1", ProgramHungry)
	h.apply(t, w)
	Await(t, "the replica's end is told as out of memory", func() bool {
		s, _ := h.workload(t, w.ID)
		return len(s.Replicas) == 1 && s.Replicas[0].Exit != nil && s.Replicas[0].Exit.OOM
	})
}

func volumes(t *testing.T, h *Harness) {
	v := engine.Volume{ID: engine.Ref{Kind: engine.KindVolume, Scope: "app", Name: "data"}}
	h.apply(t, v)
	h.apply(t, v)
	for n, name := range []string{"first", "second"} {
		k := Task("app", name, ProgramVolume)
		k.Mounts = []engine.Mount{{Volume: v.ID, Path: "/home/app/mount"}}
		h.apply(t, k)
		h.ended(t, k.ID)
		if got := strings.TrimSpace(h.printed(t, k.ID)); got != strconv.Itoa(n+1) {
			t.Errorf("run %d printed %q", n+1, got)
		}
		if err := h.Engine.Remove(t.Context(), v.ID); !errs.Is(err, errs.KindConflict) {
			t.Errorf("removed a volume in use: %v", err)
		}
		h.remove(t, k.ID)
	}
	h.remove(t, v.ID)
	k := Task("app", "third", ProgramVolume)
	k.Mounts = []engine.Mount{{Volume: v.ID, Path: "/home/app/mount"}}
	if err := h.Engine.Apply(t.Context(), k); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("mounted a volume that is gone: %v", err)
	}
}

func layers(t *testing.T, h *Harness) {
	ls := h.Engine.Layers()
	good := []Entry{{Name: "a.txt", Body: "a"}, {Name: "d/b.txt", Body: "b"}, {Name: "d/l", Link: "../a.txt", Type: tar.TypeSymlink}, {Name: "h", Link: "a.txt", Type: tar.TypeLink}}
	for range 2 {
		if err := ls.Put(t.Context(), "src-1", Tar(t, good...)); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []Entry{
		{Name: "../x", Body: "x"},
		{Name: "/../../x", Body: "x"},
		{Name: "l", Link: "../../etc/passwd", Type: tar.TypeSymlink},
		{Name: "l", Link: "../x", Type: tar.TypeLink},
		{Name: "dev", Type: tar.TypeChar},
	} {
		if err := ls.Put(t.Context(), "bad", Tar(t, bad)); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("entry %+v: got %v, want invalid", bad, err)
		}
	}
	if ok, err := ls.Has(t.Context(), "bad"); ok || err != nil {
		t.Errorf("a bad layer is there: %v, %v", ok, err)
	}
	all, err := ls.List(t.Context())
	if err != nil || len(all) != 1 || all[0].Name != "src-1" || all[0].Bytes == 0 || all[0].Created.IsZero() {
		t.Errorf("layers are %+v, %v", all, err)
	}
	r, err := ls.Open(t.Context(), "src-1")
	if err != nil {
		t.Fatal(err)
	}
	files := Untar(t, r)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if files["a.txt"] != "a" || files["d/b.txt"] != "b" {
		t.Errorf("the layer has %q", files)
	}
	if _, err := ls.Open(t.Context(), "none"); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("opened a layer that is not there: %v", err)
	}
	w := Workload("app", "web-v1", ProgramSleep)
	w.Layers = []engine.Layer{{Name: "src-1", At: "/app"}}
	h.apply(t, w)
	if err := ls.Remove(t.Context(), "src-1"); !errs.Is(err, errs.KindConflict) {
		t.Errorf("removed a layer in use: %v", err)
	}
	h.remove(t, w.ID)
	for range 2 {
		if err := ls.Remove(t.Context(), "src-1"); err != nil {
			t.Error(err)
		}
	}
	if ok, err := ls.Has(t.Context(), "src-1"); ok || err != nil {
		t.Errorf("a removed layer is there: %v, %v", ok, err)
	}
}

func links(t *testing.T, h *Harness) {
	// The socket is made anew, as when the platform restarts, and only after it
	// was asked for.
	w := Task("app", "link", ProgramLink)
	w.Links = []engine.Link{{Port: 7500, Target: "platform"}}
	for _, name := range []string{"one", "two"} {
		w.ID.Name = name
		h.apply(t, w)
		Await(t, name+" asks", func() bool { return h.printed(t, w.ID) == "asks" })
		var lc net.ListenConfig
		network, addr := "unix", h.Link
		if tcp, ok := strings.CutPrefix(h.Link, "tcp://"); ok {
			network, addr = "tcp", tcp
		}
		l, err := lc.Listen(t.Context(), network, addr)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "platform "+name)
		})}
		err = loop.Run(t.Context(), func(context.Context) error {
			_ = srv.Serve(l)
			return nil
		}, func(context.Context) error {
			defer srv.Close() //nolint:errcheck // ends Serve
			h.ended(t, w.ID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := h.printed(t, w.ID); got != "asks\nplatform "+name {
			t.Errorf("it printed %q", got)
		}
	}
	w.ID.Name, w.Links[0].Target = "other", "nothing"
	if err := h.Engine.Apply(t.Context(), w); !errs.Is(err, errs.KindNotFound) {
		t.Errorf("an unknown endpoint: got %v, want not found", err)
	}
}
