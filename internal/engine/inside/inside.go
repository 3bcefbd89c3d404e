// Package inside is what engines and slipway-init agree on: the files in a
// replica's private folder, the words on its socket and the form of a log
// line. With engine proc the folder belongs to root, and a replica's program
// cannot see into it; Pod says what there is in a pod.
package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Names in the private folder.
const (
	Dir       = "/run/slipway" // where the folder is seen inside
	InitFile  = "init"         // the init's program
	SpecFile  = "spec.json"
	StateFile = "state.json"
	Socket    = "init.sock"
	LogFile   = "log"
	LogOld    = "log.1"
	Links     = "link"   // folders with the links' sockets
	Cgroup    = "cgroup" // the engine's memory cgroups
)

// Go is sent on the socket, like dial.Ask, and says that the network is ready. The
// init answers with dial.OK.
const Go = 'g'

// LogBytes bounds each of the two log files.
const LogBytes = 4 << 20

// The curve of restarts: BackoffMin doubles up to BackoffMax and starts again
// after a life of BackoffReset.
const (
	BackoffMin   = 500 * time.Millisecond
	BackoffMax   = 60 * time.Second
	BackoffReset = 60 * time.Second
)

// Spec tells the init what to run.
type Spec struct {
	Args     []string      `json:"args"`
	Env      []string      `json:"env"`
	Dir      string        `json:"dir"`
	UID      int           `json:"uid"`
	Port     int           `json:"port,omitempty"`
	Links    []Link        `json:"links,omitempty"`
	Grace    time.Duration `json:"grace"`
	Deadline time.Duration `json:"deadline,omitempty"`
	Once     bool          `json:"once,omitempty"` // a task: never restarted
	Wait     bool          `json:"wait,omitempty"` // for Go, before the program starts
	OOM      string        `json:"oom,omitempty"`  // file that counts kills for lack of memory
}

// Link leads a loopback port to an endpoint that package dial opens.
type Link struct {
	Port int    `json:"port"`
	To   string `json:"to"`
}

// Phase of the program below the init.
type Phase string

// The phases.
const (
	Waiting Phase = "waiting" // for the network
	Running Phase = "running"
	Backoff Phase = "backoff" // for NotBefore
	Exited  Phase = "exited"  // a task's end
	Stopped Phase = "stopped" // TERM was obeyed
)

// State is what the init writes whenever it changes.
type State struct {
	Phase     Phase     `json:"phase"`
	Since     time.Time `json:"since"`
	Restarts  int       `json:"restarts,omitempty"`
	Delay     int64     `json:"delay,omitempty"` // milliseconds, where the curve stands
	NotBefore time.Time `json:"not_before,omitzero"`
	Exit      *Exit     `json:"exit,omitempty"`
}

// Exit is how the program ended last.
type Exit struct {
	Code    int       `json:"code"`
	Signal  int       `json:"signal,omitempty"`
	OOM     bool      `json:"oom,omitempty"`
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// NextDelay returns the time to wait after a life that followed a wait of last.
func NextDelay(last, life time.Duration) time.Duration {
	if life >= BackoffReset || last <= 0 {
		return BackoffMin
	}
	return min(2*last, BackoffMax)
}

// Write replaces the file with v as JSON; readers see the old or the new one.
func Write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// Read decodes the JSON file into v. ok is false when there is none.
func Read(path string, v any) (ok bool, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return true, nil
}
