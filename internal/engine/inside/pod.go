package inside

import "time"

// Pod tells the init of a pod what to run. It is SpecFile in Dir, which a Secret
// fills. The program may read it: there is nothing in it that is not its own.
type Pod struct {
	Spec
	Task *PodTask `json:"task,omitempty"`
}

// PodTask is what a task needs beside: its words to the engine.
type PodTask struct {
	Object string   `json:"object"` // its name to the engine
	Inbox  string   `json:"inbox"`  // host:port of the engine
	Path   string   `json:"path"`   // below which it answers
	Token  string   `json:"token"`  // proves that this is the task
	Keep   []string `json:"keep,omitempty"`
}

// The words of a task to the engine: POST <path><word>?object=…, with the token
// as bearer. Begin has a text in the body that names this one start; the
// engine lets one start of a task begin, ever. Keep has a tar stream, and the
// folder's number as &folder=…
const (
	WordBegin = "begin"
	WordKeep  = "keep"
)

// Variables that a pod's init gets from the kubelet.
const (
	PodIP  = "SLIPWAY_POD_IP"
	PodUID = "SLIPWAY_POD_UID"
)

// TerminationLog is where the init leaves an Exit as JSON.
const TerminationLog = "/dev/termination-log"

// StderrMark begins a line of the container's log that the program wrote to
// its standard error, because the two streams are one when read back. It is a
// character without a shape.
const StderrMark = '\x1e'

// UsagePort is where the init of a pod tells Usage as JSON to whoever connects.
const UsagePort = 7501

// Usage is what a pod uses.
type Usage struct {
	MemoryBytes int64         `json:"memory"`
	CPU         time.Duration `json:"cpu"`
	PIDs        int64         `json:"pids"`
}
