// Package engine is the contract between the platform and what runs programs.
// An engine knows names and resources, not apps. Package proc runs sandboxes
// on one machine; package enginetest is the suite that every engine passes,
// the fake included.
//
// Not an engine's business: readiness, routing, the order of a release, the
// product's limits. Restarting a dead replica is, on a fixed curve, because it
// must work while the core is away.
package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"slipway.dev/slipway/internal/base/secret"
)

// ErrAway is in the chain of errors that say that what the engine works with,
// such as Kubernetes, gives no answer now. It is back without anybody's help.
var ErrAway = errors.New("the engine has no answer")

// Engine runs workloads and tasks and keeps volumes. All methods may be called
// at once. Errors carry kinds of package errs.
type Engine interface {
	// Info tells what the engine has and what it can promise.
	Info(ctx context.Context) (Info, error)
	// Apply records what is wanted and returns then, not when it runs. Twice
	// is once. Only Replicas of a Workload may differ later: anything else is
	// Conflict. A Task's ref runs at most once, ever.
	Apply(ctx context.Context, o Object) error
	// Remove ends a Workload or Task gracefully (TERM, Grace, KILL), deletes a
	// Volume's data, and returns when nothing is left. What is not there is no error.
	Remove(ctx context.Context, ref Ref) error
	// Observe lists everything that carries the owner's mark.
	Observe(ctx context.Context) (Snapshot, error)
	// Watch calls wake when something may have changed, until ctx ends. Hints
	// only: they may be lost or repeated.
	Watch(ctx context.Context, wake func(Ref)) error
	// Logs reads the lines of a ref's replicas, also after their death, within
	// a bound of bytes. NotFound when the ref was never applied, or removed.
	Logs(ctx context.Context, q LogQuery) (LogReader, error)
	// Exec runs a command inside a running replica.
	Exec(ctx context.Context, r ReplicaRef, c Command, s Streams) (Exit, error)
	// Usage measures every running replica now.
	Usage(ctx context.Context) ([]Usage, error)
	// Layers is where images' parts are kept.
	Layers() Layers
}

// Layers are named, immutable folders: an environment, an app's source, a
// tool. A replica sees each at its path, read-only, root's, readable by all.
type Layers interface {
	// Put stores the folder in a tar stream (not compressed; regular files,
	// folders, links that stay inside). Putting a name that exists does nothing.
	// It is whole or not there. Invalid for an entry that leaves the folder.
	Put(ctx context.Context, name string, tar io.Reader) error
	Has(ctx context.Context, name string) (bool, error)
	// Open streams the layer as tar. NotFound when there is none.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// List tells names, sizes and when each was made.
	List(ctx context.Context) ([]LayerInfo, error)
	// Remove deletes a layer that nothing uses: Conflict while a workload does.
	Remove(ctx context.Context, name string) error
}

// LayerInfo describes a kept layer.
type LayerInfo struct {
	Name    string
	Bytes   int64
	Created time.Time
}

// Restarter is an engine that can end one replica of a workload as TERM and
// then KILL do, and starts it again like one that died, so that Exit says why.
// It returns when the replica has ended; a replica that does not run is left alone.
type Restarter interface {
	Restart(ctx context.Context, r ReplicaRef, why string) error
}

// Kind of an object.
type Kind string

// The kinds.
const (
	KindWorkload Kind = "workload"
	KindTask     Kind = "task"
	KindVolume   Kind = "volume"
)

// Ref names an object. Scope is an app's id (or "builds"); Name such as
// "web-v12", "predeploy-dep_01…". Both match [a-z0-9][a-z0-9_.-]{0,62}.
type Ref struct {
	Kind  Kind
	Scope string
	Name  string
}

func (r Ref) String() string { return string(r.Kind) + "/" + r.Scope + "/" + r.Name }

// Object is a Workload, a Task or a Volume.
type Object interface {
	Ref() Ref
	object()
}

// Layer says at which absolute path a named layer is seen.
type Layer struct {
	Name string
	At   string
}

// Workload is a program that is kept running in a number of replicas.
type Workload struct {
	ID       Ref
	Layers   []Layer       // such as {env-…, /env} and {src-…, /app}
	Command  []string      // run by the init in /app: {"/bin/sh", "-c", "gunicorn app:server"}
	Env      []Var         // HOME, PATH, USER, TMPDIR come from the engine unless given here
	Replicas int           // the only field that Apply may change later
	Port     int           // 0 = takes no traffic
	Limits   Limits        // zero fields = the engine's default
	Mounts   []Mount       // volumes
	Links    []Link        // loopback ports inside that lead to the platform
	Egress   Egress        // what it may reach
	Grace    time.Duration // between TERM and KILL; 0 = 10 s
	Labels   map[string]string
}

// Var is one environment variable; every value is treated as a secret.
type Var struct {
	Name  string
	Value secret.String
}

// Limits of one replica.
type Limits struct {
	MemoryBytes int64
	MilliCPU    int64 // a share under contention, not a cap
	PIDs        int64
}

// Mount shows a volume at a path.
type Mount struct {
	Volume   Ref
	Path     string
	ReadOnly bool
}

// Link leads a loopback port inside to a Unix socket of the platform outside.
type Link struct {
	Port   int
	Target string // name of a platform endpoint that the engine was given, such as "platform"
}

// Egress is what a replica may open connections to.
type Egress string

// The egress policies. The host, its loopback, link-local (metadata) addresses
// and other replicas are shut in each.
const (
	EgressInternet Egress = "internet" // and private networks
	EgressNone     Egress = "none"
)

// Ref returns the workload's ref.
func (w Workload) Ref() Ref { return w.ID }
func (Workload) object()    {}

// Task is a program that runs once, to its end. Replicas and Port are unused.
type Task struct {
	Workload
	Deadline time.Duration // then it is killed; 0 = 30 min
	// Keep makes layers of folders that the program wrote, when it exits with 0.
	// A kept folder is writable and starts with the layer at the same path, or empty.
	Keep []Layer
}

// Ref returns the task's ref.
func (t Task) Ref() Ref { return t.ID }

// Volume is a folder that outlives replicas.
type Volume struct {
	ID     Ref
	Bytes  int64 // quota; 0 = none
	Shared bool  // by replicas on several nodes
}

// Ref returns the volume's ref.
func (v Volume) Ref() Ref { return v.ID }
func (Volume) object()    {}

// Phase of a replica.
type Phase string

// The phases.
const (
	PhasePending Phase = "pending" // being started, or waiting for NotBefore
	PhaseRunning Phase = "running" // its process runs; says nothing about readiness
	PhaseExited  Phase = "exited"  // a task's end
	PhaseLost    Phase = "lost"    // a task whose process vanished without a record
)

// ReplicaRef names one replica: of a workload 0, 1, 2 …; of a task 0.
type ReplicaRef struct {
	Ref   Ref
	Index int
}

// Replica is one observed instance.
type Replica struct {
	ID        ReplicaRef
	Phase     Phase
	Since     time.Time
	Restarts  int
	NotBefore time.Time // a dead replica waits until then
	Waiting   string    // what keeps it from starting, such as no room; empty when it is only a matter of time
	Endpoint  string    // opened by package dial; empty without a port
	Exit      *Exit     // how it ended last; nil when it never did
	Zone      string
	Node      string
}

// Exit is how a process ended.
type Exit struct {
	Code    int
	Signal  int  // that killed it, or 0
	OOM     bool // out of memory
	Message string
	At      time.Time
}

// Failed reports whether it is anything but a plain exit with 0.
func (e Exit) Failed() bool { return e.Code != 0 || e.Signal != 0 || e.OOM || e.Message != "" }

// Snapshot is what the engine has, sorted by ref and index.
type Snapshot struct {
	Workloads []WorkloadStatus
	Tasks     []TaskStatus
	Volumes   []VolumeStatus
}

// WorkloadStatus is a workload as wanted and observed.
type WorkloadStatus struct {
	ID       Ref
	Labels   map[string]string
	Wanted   int
	Replicas []Replica // wanted ones, and those that are still ending
}

// TaskStatus is a task as observed. Once Phase is Exited or Lost it stays so
// until Remove.
type TaskStatus struct {
	ID      Ref
	Labels  map[string]string
	Replica Replica
}

// VolumeStatus is a volume as observed.
type VolumeStatus struct {
	ID   Ref
	Used int64
}

// LogQuery selects lines.
type LogQuery struct {
	Ref    Ref
	Index  int // -1 = all replicas
	Since  time.Time
	Tail   int  // last n lines of each replica; 0 = all there are
	Follow bool // goes on until ctx ends, or for a task until its end
}

// LogLine is a line of output.
type LogLine struct {
	Time    time.Time
	Replica int
	Stderr  bool
	Text    string // without the line end; invalid UTF-8 replaced; at most 16 KiB
}

// LogReader yields lines in order of time within a replica. Next returns
// io.EOF at the end. An end of ctx ends only the call: no line is lost.
type LogReader interface {
	Next(ctx context.Context) (LogLine, error)
	io.Closer
}

// Init as Args[0] of an Exec is the platform's own program, which is in every
// replica, whatever else is: files.Verb and what else it can do. It sees volumes
// where the workload has them.
const Init = "slipway-init"

// Command for Exec, run in /app with the replica's environment.
type Command struct {
	Args []string
	Env  []Var
	TTY  bool
}

// Streams of an Exec; nil ones are closed.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Usage of one replica at one moment.
type Usage struct {
	ID          ReplicaRef
	At          time.Time
	MemoryBytes int64
	CPU         time.Duration // since its start
	PIDs        int64
}

// Quota of a resource; Limit 0 = unknown.
type Quota struct{ Used, Limit int64 }

// Isolation tells how far apart replicas are kept.
type Isolation string

// The levels.
const (
	IsolationFull     Isolation = "full"     // own files, processes, network, user; limits enforced
	IsolationRootless Isolation = "rootless" // the same without root; some limits may be missing
	IsolationNone     Isolation = "none"     // plain processes: trusted code only
)

// Info is what an engine has and can promise.
type Info struct {
	Engine         string // proc, kube, fake
	Isolation      Isolation
	Why            string // why Isolation is not full, or what is missing; for administrators
	Memory         Quota
	MemoryEnforced bool
	Egress         bool // egress rules hold
	SharedVolumes  bool
	Pythons        []string // minor versions: 3.11
}
