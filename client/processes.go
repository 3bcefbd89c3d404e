package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
)

// Process is a process type of an app's current release, and how it runs.
type Process struct {
	slipway.Process
	Instances []Replica `json:"instances" nullable:"false"`
}

// Replica is one running copy of a process.
type Replica struct {
	Index       int       `json:"index"`
	Release     int       `json:"release"`
	State       string    `json:"state" doc:"starting, running, crashed or stopping."`
	Since       time.Time `json:"since"`
	Restarts    int       `json:"restarts,omitempty"`
	Reason      string    `json:"reason,omitempty" doc:"What keeps it from starting, or how it ended last."`
	MemoryBytes int64     `json:"memory_bytes,omitempty" doc:"Now."`
	MilliCPU    int64     `json:"milli_cpu,omitempty" doc:"Now, in thousandths of a core."`
	PIDs        int64     `json:"pids,omitempty" doc:"Processes and threads, now."`
}

// UsageNow is what an app takes of the machine now.
type UsageNow struct {
	App         string         `json:"app"`
	At          time.Time      `json:"at"`
	MilliCPU    int64          `json:"milli_cpu" doc:"Thousandths of a core, of all replicas."`
	MemoryBytes int64          `json:"memory_bytes"`
	Replicas    []ReplicaUsage `json:"replicas" nullable:"false"`
}

// ReplicaUsage is what one replica takes.
type ReplicaUsage struct {
	Process     string `json:"process"`
	Index       int    `json:"index"`
	Release     int    `json:"release"`
	State       string `json:"state" doc:"starting, running, crashed or stopping."`
	MilliCPU    int64  `json:"milli_cpu" doc:"Thousandths of a core."`
	MemoryBytes int64  `json:"memory_bytes"`
	MemoryLimit int64  `json:"memory_limit_bytes" doc:"Above it the replica is ended, where limits are enforced."`
	PIDs        int64  `json:"pids" doc:"Processes and threads."`
}

// Scale says how many replicas of a process are wanted.
type Scale struct {
	Replicas int `json:"replicas" minimum:"0" maximum:"1000"`
}

// LogQuery selects lines of an app's log.
type LogQuery struct {
	Process string        // empty = all
	Since   time.Duration // not older; 0 = all there are
	Tail    int           // the last lines of each replica; 0 = all there are
}

func (q LogQuery) values() url.Values {
	v := url.Values{}
	if q.Process != "" {
		v.Set("process", q.Process)
	}
	if q.Since > 0 {
		v.Set("since", time.Now().Add(-q.Since).UTC().Format(time.RFC3339))
	}
	if q.Tail > 0 {
		v.Set("tail", strconv.Itoa(q.Tail))
	}
	return v
}

// LogLine is a line that an app printed.
type LogLine struct {
	Time    time.Time `json:"time"`
	Process string    `json:"process"`
	Replica int       `json:"replica"`
	Release int       `json:"release,omitempty"`
	Stderr  bool      `json:"stderr,omitempty"`
	Text    string    `json:"text"`
}

// Status is how the platform is.
type Status struct {
	Version string        `json:"version"`
	Hosts   slipway.Hosts `json:"hosts"`
	SSH     *SSHHost      `json:"ssh,omitempty" doc:"Absent where git is not served over SSH."`
	Engine  *EngineStatus `json:"engine,omitempty" doc:"For administrators."`
}

// SSHHost is where git is served over SSH, and how it is known.
type SSHHost struct {
	Address     string `json:"address" doc:"ssh://git@host:port; a slash and an app follow." example:"ssh://git@git-slipway.example.com:2222"`
	Fingerprint string `json:"fingerprint" doc:"Of the host's key, as ssh shows it at the first connection."`
	KnownHosts  string `json:"known_hosts" doc:"A line for ~/.ssh/known_hosts."`
}

// EngineStatus is what apps run on.
type EngineStatus struct {
	Name           string   `json:"name"`
	Isolation      string   `json:"isolation" doc:"full, rootless or none."`
	Why            string   `json:"why,omitempty" doc:"Why isolation is not full, or what is missing."`
	MemoryUsed     int64    `json:"memory_used_bytes"`
	MemoryLimit    int64    `json:"memory_limit_bytes"`
	MemoryEnforced bool     `json:"memory_enforced"`
	Egress         bool     `json:"egress_rules"`
	Pythons        []string `json:"pythons,omitempty"`
}

// Processes lists an app's processes and how they run.
func (c *Client) Processes(ctx context.Context, name string) ([]Process, error) {
	return all[Process](ctx, c, appPath(name, "processes"), nil)
}

// UsageNow tells what an app takes of the machine now.
func (c *Client) UsageNow(ctx context.Context, name string) (*UsageNow, error) {
	var out UsageNow
	err := c.do(ctx, call{method: http.MethodGet, path: appPath(name, "usage")}, &out)
	return &out, err
}

// Scale sets how many replicas of a process are wanted.
func (c *Client) Scale(ctx context.Context, name, process string, replicas int) error {
	return c.do(ctx, call{method: http.MethodPatch, path: appPath(name, "processes", process), in: Scale{Replicas: replicas}}, nil)
}

// Pause stops all processes of an app; its URL says that it is paused.
func (c *Client) Pause(ctx context.Context, name string) error { return c.act(ctx, name, "pause") }

// Resume starts a paused app again.
func (c *Client) Resume(ctx context.Context, name string) error { return c.act(ctx, name, "resume") }

func (c *Client) act(ctx context.Context, name, what string) error {
	return c.do(ctx, call{method: http.MethodPost, path: appPath(name, what)}, nil)
}

// Restart replaces every replica, new beside old, with today's variables.
func (c *Client) Restart(ctx context.Context, name string) (*slipway.Deploy, error) {
	var out slipway.Deploy
	err := c.do(ctx, call{method: http.MethodPost, path: appPath(name, "restart")}, &out)
	return &out, err
}

// Logs reads the lines there are.
func (c *Client) Logs(ctx context.Context, name string, q LogQuery) ([]LogLine, error) {
	return all[LogLine](ctx, c, appPath(name, "logs"), q.values())
}

// FollowLogs calls fn for the lines there are and those that come, until ctx
// ends or fn returns an error.
func (c *Client) FollowLogs(ctx context.Context, name string, q LogQuery, fn func(LogLine) error) error {
	return c.follow(ctx, appPath(name, "logs", "stream"), q.values(), func(e event) error {
		var l LogLine
		if err := json.Unmarshal(e.data, &l); err != nil {
			return errs.Wrap(err, errs.KindInvalid, "the platform sent a line that this client does not understand")
		}
		return fn(l)
	})
}

// Status asks how the platform is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var out Status
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/status"}, &out)
	return &out, err
}
