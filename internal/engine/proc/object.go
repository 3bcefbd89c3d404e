package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Files of an object and of a replica.
const (
	objectFile = "object.json" // what is wanted
	intentFile = "intent"      // a task is about to be started: never again
	resultFile = "result.json" // how a task ended
	privDir    = "priv"        // the replica's private folder, see package inside
)

// record is an object as kept on disk, values of variables included.
type record struct {
	Kind     engine.Kind
	Scope    string
	Name     string
	Layers   []engine.Layer
	Command  []string
	Env      []string
	Replicas int
	Port     int
	Limits   engine.Limits
	Mounts   []engine.Mount
	Links    []engine.Link
	Egress   engine.Egress
	Grace    time.Duration
	Labels   map[string]string
	Deadline time.Duration  `json:",omitempty"`
	Keep     []engine.Layer `json:",omitempty"`
	UID      int
	Removing bool `json:",omitempty"`
}

func (r record) ref() engine.Ref { return engine.Ref{Kind: r.Kind, Scope: r.Scope, Name: r.Name} }

func newRecord(w engine.Workload) record {
	r := record{
		Kind: w.ID.Kind, Scope: w.ID.Scope, Name: w.ID.Name, Layers: w.Layers, Command: w.Command,
		Replicas: w.Replicas, Port: w.Port, Limits: w.Limits, Mounts: w.Mounts, Links: w.Links,
		Egress: w.Egress, Grace: w.Grace, Labels: w.Labels,
	}
	for _, v := range w.Env {
		r.Env = append(r.Env, v.Name+"="+v.Value.Reveal())
	}
	if r.Grace == 0 {
		r.Grace = 10 * time.Second
	}
	if r.Egress == "" {
		r.Egress = engine.EgressInternet
	}
	return r
}

func taskRecord(t engine.Task) record {
	r := newRecord(t.Workload)
	r.Replicas, r.Port, r.Keep, r.Deadline = 1, 0, t.Keep, t.Deadline
	if r.Deadline == 0 {
		r.Deadline = 30 * time.Minute
	}
	return r
}

// same reports whether two records differ in nothing that must not change.
func (r record) same(o record) bool {
	r.Replicas, r.UID, r.Removing = o.Replicas, o.UID, o.Removing
	a, errA := json.Marshal(r)
	b, errB := json.Marshal(o)
	return errA == nil && errB == nil && string(a) == string(b)
}

// object is a workload or a task in memory. Its fields are guarded by
// Engine.mu, but for dir, id and ref, which never change. Only its worker starts
// and ends replicas.
type object struct {
	dir, id  string
	ref      engine.Ref
	rec      record
	replicas map[int]*replica
	poke     chan struct{}
	gone     chan struct{} // closed when nothing is left
}

func newObject(dir string, rec record) *object {
	return &object{
		dir: dir, id: filepath.Base(dir), ref: rec.ref(), rec: rec, replicas: map[int]*replica{},
		poke: make(chan struct{}, 1), gone: make(chan struct{}),
	}
}

func (ob *object) wake() {
	select {
	case ob.poke <- struct{}{}:
	default:
	}
}

// objectDir is short, because sockets lie below it, and differs between
// engines, because containers and cgroups of a machine have one space of names.
func (e *Engine) objectDir(ref engine.Ref) string {
	sum := sha256.Sum256([]byte(e.opt.Root + "\x00" + ref.String()))
	return filepath.Join(e.opt.Root, "objects", hex.EncodeToString(sum[:8]))
}

// result is how a task ended.
type result struct {
	Lost bool         `json:"lost,omitempty"`
	Exit *engine.Exit `json:"exit,omitempty"`
	At   time.Time    `json:"at"`
}

// replica is one sandbox.
type replica struct {
	id   engine.ReplicaRef
	dir  string
	cid  string
	uid  int
	port int
	task bool

	pid    int    // of the init, as the host sees it; 0 = does not run
	born   uint64 // its start time: a pid may be used again
	begun  bool   // a task's intent is written
	moved  bool   // since the last scan
	state  inside.State
	stamp  os.FileInfo // of the state file
	result *result
	why    string // it is being restarted
}

func newReplica(ob *object, i int) *replica {
	return &replica{
		id: engine.ReplicaRef{Ref: ob.ref, Index: i}, dir: filepath.Join(ob.dir, fmt.Sprintf("r%d", i)),
		cid: fmt.Sprintf("%s-%d", ob.id, i), uid: ob.rec.UID, port: ob.rec.Port, task: ob.ref.Kind == engine.KindTask,
	}
}

func (r *replica) path(name string) string { return filepath.Join(r.dir, name) }

func (r *replica) priv(name string) string { return filepath.Join(r.dir, privDir, name) }

// refresh reads what the init wrote and whether it lives, and marks a change
// for the scan, whoever saw it first.
func (r *replica) refresh() {
	if r.pid != 0 && !alive(r.pid, r.born) {
		r.pid, r.born, r.moved = 0, 0, true
	}
	st, err := os.Stat(r.priv(inside.StateFile))
	// Two writes may have one time, which is coarse, but never one inode.
	if err != nil || r.stamp != nil && os.SameFile(r.stamp, st) && st.ModTime().Equal(r.stamp.ModTime()) {
		return
	}
	var s inside.State
	if ok, err := inside.Read(r.priv(inside.StateFile), &s); ok && err == nil {
		r.state, r.stamp, r.moved = s, st, true
	}
}

func (r *replica) observed(node string) engine.Replica {
	o := engine.Replica{
		ID: r.id, Phase: engine.PhasePending, Since: r.state.Since, Restarts: r.state.Restarts,
		NotBefore: r.state.NotBefore, Exit: exitOf(r.state.Exit), Node: node,
	}
	if r.result != nil {
		o.Phase, o.Since, o.Exit, o.NotBefore = engine.PhaseExited, r.result.At, r.result.Exit, time.Time{}
		if r.result.Lost {
			o.Phase = engine.PhaseLost
		}
		return o
	}
	if r.port != 0 {
		o.Endpoint = "init://" + r.priv(inside.Socket)
	}
	switch {
	case r.task && r.begun && (r.state.Phase == inside.Exited || r.pid != 0 && r.state.Phase == inside.Running):
		// Also while what it keeps is being made a layer.
		o.Phase, o.Exit = engine.PhaseRunning, nil
	case r.pid != 0 && r.state.Phase == inside.Running:
		o.Phase = engine.PhaseRunning
	}
	return o
}

func exitOf(e *inside.Exit) *engine.Exit {
	if e == nil {
		return nil
	}
	return &engine.Exit{Code: e.Code, Signal: e.Signal, OOM: e.OOM, Message: e.Message, At: e.At}
}
