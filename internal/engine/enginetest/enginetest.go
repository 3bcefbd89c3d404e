// Package enginetest is the contract of package engine as a suite. Every
// engine passes Run; what only a real one can show is skipped for the fake.
package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
)

// Harness is one engine under test.
type Harness struct {
	Engine engine.Engine
	// Reopen ends the engine, as a crash would, and opens it on the same data.
	Reopen func() engine.Engine
	// Leftovers lists what of the engine is on the machine beside its own
	// folder: processes, mounts, interfaces, cgroups.
	Leftovers func() []string
	// Link is where the suite may listen: the socket of endpoint "platform", or
	// its address as tcp://host:port.
	Link string
	// Real says that programs run as processes in sandboxes.
	Real bool
	// Plain says that those are plain processes: they share the machine's ports
	// and user.
	Plain bool
	// Many is how many workloads are observed in less than a second; 0 = 200.
	Many int
}

// LabelProgram names the program that a workload of the suite runs, for
// engines that have no processes: they play it.
const LabelProgram = "program"

// The programs.
const (
	ProgramServe   = "serve"   // HTTP 200 "hello" on the port; prints "ready"
	ProgramSleep   = "sleep"   // does nothing until TERM
	ProgramFail    = "fail"    // prints "out" and, to stderr, "err"; exits with 3
	ProgramPass    = "pass"    // prints "ran"; exits with 0
	ProgramKeep    = "keep"    // writes "kept" to /kept/file and exits with 0
	ProgramNoKeep  = "nokeep"  // writes /kept/file and exits with 1
	ProgramPolite  = "polite"  // prints "got TERM" at TERM, then exits with 0
	ProgramHungry  = "hungry"  // wants more memory than it may have
	ProgramCount   = "count"   // prints 1 to 500, then sleeps
	ProgramLink    = "link"    // prints "asks", then what HTTP says on loopback port 7500
	ProgramVolume  = "volume"  // appends a line to ~/mount/file and prints how many there are
	ProgramForever = "forever" // ignores TERM
)

var scripts = map[string]string{
	ProgramServe: `exec /usr/bin/python3 -c "
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(s):
        s.send_response(200); s.send_header('Content-Length', '5'); s.end_headers(); s.wfile.write(b'hello')
    def log_message(s, *a): pass
h = http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H)
print('ready', flush=True)
h.serve_forever()"`,
	ProgramSleep:   `exec sleep 100000`,
	ProgramFail:    `echo out; echo err >&2; exit 3`,
	ProgramPass:    `echo ran`,
	ProgramKeep:    `echo kept > /kept/file; ln -s file /kept/link; mkdir /kept/d; chmod 700 /kept/d /kept/file`,
	ProgramNoKeep:  `echo kept > /kept/file; exit 1`,
	ProgramPolite:  `trap 'echo got TERM; exit 0' TERM; echo ready; while :; do sleep 0.05; done`,
	ProgramHungry:  `exec /usr/bin/python3 -c "x = bytearray(400 << 20)"`,
	ProgramCount:   `i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo $i; done; exec sleep 100000`,
	ProgramLink:    `/usr/bin/python3 -c "import urllib.request; print('asks', flush=True); print(urllib.request.urlopen('http://127.0.0.1:7500/').read().decode())"`,
	ProgramVolume:  `echo line >> ~/mount/file; wc -l < ~/mount/file`,
	ProgramForever: `trap '' TERM; echo ready; while :; do sleep 0.05; done`,
}

// Workload returns a workload of the suite.
func Workload(scope, name, program string) engine.Workload {
	return engine.Workload{
		ID:       engine.Ref{Kind: engine.KindWorkload, Scope: scope, Name: name},
		Command:  []string{"/bin/sh", "-c", scripts[program]},
		Env:      []engine.Var{{Name: "PORT", Value: secret.New("8050")}},
		Replicas: 1, Port: 8050, Egress: engine.EgressNone, Grace: time.Second,
		Limits: engine.Limits{MemoryBytes: 128 << 20},
		Labels: map[string]string{LabelProgram: program},
	}
}

// Task returns a task of the suite.
func Task(scope, name, program string) engine.Task {
	w := Workload(scope, name, program)
	w.ID.Kind, w.Port, w.Replicas = engine.KindTask, 0, 0
	return engine.Task{Workload: w, Deadline: time.Minute}
}

// Run runs the suite; each test gets an engine of its own.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		real bool
		fn   func(t *testing.T, h *Harness)
	}{
		{"ApplyTwiceIsOnce", false, applyTwice},
		{"OnlyReplicasChange", false, onlyReplicas},
		{"BadObjectsAreInvalid", false, invalid},
		{"DeadReplicaRestarts", false, restarts},
		{"RestartTellsWhy", false, restart},
		{"RemoveLeavesNothing", false, removes},
		{"RemoveDuringApply", false, removeDuringApply},
		{"TaskRunsOnce", false, taskOnce},
		{"TaskKeeps", false, taskKeeps},
		{"TaskDeadline", false, taskDeadline},
		{"ProgramSeesTERM", false, seesTERM},
		{"StubbornProgramIsKilled", false, stubborn},
		{"Logs", false, logs},
		{"Exec", true, execs},
		{"Files", false, mounted},
		{"ReopenObservesTheSame", false, reopen},
		{"RemovalSurvivesReopen", false, removalSurvives},
		{"OutOfMemory", true, outOfMemory},
		{"Volumes", false, volumes},
		{"Layers", false, layers},
		{"Links", true, links},
		{"Usage", false, usage},
		{"WatchWakes", false, watch},
		{"ManyAreObservedFast", false, many},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t)
			if c.real && !h.Real {
				t.Skip("only a real engine shows it")
			}
			c.fn(t, &h)
			h.clean(t)
		})
	}
}

// clean removes everything and looks for leftovers.
func (h *Harness) clean(t *testing.T) {
	t.Helper()
	s := h.observe(t)
	for _, w := range s.Workloads {
		h.remove(t, w.ID)
	}
	for _, k := range s.Tasks {
		h.remove(t, k.ID)
	}
	for _, v := range s.Volumes {
		h.remove(t, v.ID)
	}
	if s := h.observe(t); len(s.Workloads)+len(s.Tasks)+len(s.Volumes) != 0 {
		t.Errorf("after removing everything there is %+v", s)
	}
	if h.Leftovers != nil {
		if left := h.Leftovers(); len(left) != 0 {
			t.Errorf("left on the machine: %q", left)
		}
	}
}

func (h *Harness) apply(t *testing.T, o engine.Object) {
	t.Helper()
	if err := h.Engine.Apply(t.Context(), o); err != nil {
		t.Fatalf("apply %s: %v", o.Ref(), err)
	}
}

func (h *Harness) remove(t *testing.T, ref engine.Ref) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := h.Engine.Remove(ctx, ref); err != nil {
		t.Fatalf("remove %s: %v", ref, err)
	}
}

func (h *Harness) observe(t *testing.T) engine.Snapshot {
	t.Helper()
	s, err := h.Engine.Observe(t.Context())
	if err != nil {
		t.Fatalf("observe: %v", err)
	}
	return s
}

func (h *Harness) workload(t *testing.T, ref engine.Ref) (engine.WorkloadStatus, bool) {
	t.Helper()
	for _, w := range h.observe(t).Workloads {
		if w.ID == ref {
			return w, true
		}
	}
	return engine.WorkloadStatus{}, false
}

func (h *Harness) task(t *testing.T, ref engine.Ref) engine.Replica {
	t.Helper()
	for _, k := range h.observe(t).Tasks {
		if k.ID == ref {
			return k.Replica
		}
	}
	t.Fatalf("%s is not observed", ref)
	return engine.Replica{}
}

// Await polls until ok, for at most two minutes.
func Await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// running waits until the workload runs with n replicas and no others.
func (h *Harness) running(t *testing.T, ref engine.Ref, n int) []engine.Replica {
	t.Helper()
	var rs []engine.Replica
	Await(t, ref.String()+" runs", func() bool {
		w, _ := h.workload(t, ref)
		rs = w.Replicas
		return len(rs) == n && !slices.ContainsFunc(rs, func(r engine.Replica) bool { return r.Phase != engine.PhaseRunning })
	})
	return rs
}

// ended waits for a task's end.
func (h *Harness) ended(t *testing.T, ref engine.Ref) engine.Replica {
	t.Helper()
	var r engine.Replica
	Await(t, ref.String()+" ended", func() bool {
		r = h.task(t, ref)
		return r.Phase == engine.PhaseExited || r.Phase == engine.PhaseLost
	})
	return r
}

func (h *Harness) logs(t *testing.T, q engine.LogQuery) []engine.LogLine {
	t.Helper()
	l, err := h.Engine.Logs(t.Context(), q)
	if err != nil {
		t.Fatalf("logs of %s: %v", q.Ref, err)
	}
	defer l.Close()
	var all []engine.LogLine
	for {
		line, err := l.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("next line: %v", err)
		}
		all = append(all, line)
	}
}

func (h *Harness) printed(t *testing.T, ref engine.Ref) string {
	t.Helper()
	var texts []string
	for _, l := range h.logs(t, engine.LogQuery{Ref: ref, Index: -1}) {
		texts = append(texts, l.Text)
	}
	return strings.Join(texts, "\n")
}

// get asks the replica over HTTP, as the gateway does. The address of a pod that
// is gone may not answer at all.
func get(ctx context.Context, endpoint string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tr := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial.Dial(ctx, endpoint)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://app/", http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func (h *Harness) serves(t *testing.T, endpoint string) {
	t.Helper()
	var err error
	Await(t, "the app answers at "+endpoint, func() bool {
		var s string
		s, err = get(t.Context(), endpoint)
		return err == nil && s == "hello"
	})
}

// Entry of a tar stream.
type Entry struct {
	Name, Body, Link string
	Type             byte
}

// Tar makes a tar stream.
func Tar(t *testing.T, entries ...Entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Type == 0 {
			e.Type = tar.TypeReg
		}
		h := &tar.Header{Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Size: int64(len(e.Body)), Mode: 0o644, ModTime: time.Unix(1, 0)}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.Body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Untar reads the regular files of a tar stream.
func Untar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	files := map[string]string{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = string(b)
		}
	}
}
