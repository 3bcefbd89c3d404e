package client

import (
	"time"

	"slipway.dev/slipway"
)

// UpdateBranding changes what is given.
type UpdateBranding struct {
	Name   *string `json:"name,omitempty" maxLength:"60"`
	Accent *string `json:"accent,omitempty" maxLength:"7" doc:"#rrggbb, or empty for the product's own."`
}

// CreateAnnouncement tells everybody something.
type CreateAnnouncement struct {
	Text  string     `json:"text" minLength:"1" maxLength:"1000" doc:"Plain text."`
	Level string     `json:"level,omitempty" enum:"info,warning" default:"info"`
	From  *time.Time `json:"from,omitempty"`
	Until *time.Time `json:"until,omitempty"`
}

// UpdateDefaults changes what is given.
type UpdateDefaults struct {
	Access          *slipway.Access `json:"access,omitempty" enum:"restricted,authenticated"`
	InPortal        *bool           `json:"in_portal,omitempty"`
	Unauthenticated *bool           `json:"allow_unauthenticated,omitempty"`
}

// Limits are the platform's limits and what is used of them.
type Limits struct {
	Replicas        Limit `json:"replicas" doc:"Running copies of apps' processes, over all apps."`
	Volumes         Limit `json:"volumes" doc:"Persistent folders, one an app that was deployed."`
	Memory          Limit `json:"memory_mb" doc:"What all replicas together may use, in MiB."`
	Seats           Limit `json:"seats" doc:"People with the role licensed_user."`
	ProcessReplicas Limit `json:"process_replicas" doc:"Most replicas of one process; used is the largest number."`
	ReplicaMemoryMB Limit `json:"replica_memory_mb" doc:"Memory of one replica, in MiB, from the next release of an app on."`
	WarnAtPercent   int   `json:"warn_at_percent"`
	Frees           []Use `json:"frees" nullable:"false" doc:"What takes the most, so what would free how much, the largest first; at most 20."`
}

// Limit is one limit. Without a max nothing is limited.
type Limit struct {
	Used     int64  `json:"used"`
	Max      int64  `json:"max,omitempty" doc:"In force: the override, or else the default; absent = no limit."`
	Default  int64  `json:"default,omitempty" doc:"Computed from what there is; absent = no limit."`
	Override *int64 `json:"override,omitempty" doc:"Set by an administrator."`
	State    string `json:"state" enum:"ok,near,reached"`
}

// Use is what one app takes.
type Use struct {
	App      string    `json:"app"`
	Owner    string    `json:"owner"`
	Replicas int64     `json:"replicas"`
	Volumes  int64     `json:"volumes"`
	MemoryMB int64     `json:"memory_mb"`
	Opened   time.Time `json:"opened,omitzero" doc:"When anybody opened it last."`
	Do       string    `json:"do" doc:"What frees it, in words."`
}

// UpdateLimits sets overrides; 0 takes one away. Absent ones stay.
type UpdateLimits struct {
	Replicas        *int64 `json:"replicas,omitempty" minimum:"0" maximum:"100000"`
	Volumes         *int64 `json:"volumes,omitempty" minimum:"0" maximum:"100000"`
	Memory          *int64 `json:"memory_mb,omitempty" minimum:"0" maximum:"100000000"`
	Seats           *int64 `json:"seats,omitempty" minimum:"0" maximum:"1000000"`
	ProcessReplicas *int64 `json:"process_replicas,omitempty" minimum:"0" maximum:"1000"`
	ReplicaMemoryMB *int64 `json:"replica_memory_mb,omitempty" minimum:"0" maximum:"1000000"`
}

// Metrics are an app's measurements over a span of time, in equal steps.
type Metrics struct {
	From        time.Time      `json:"from"`
	To          time.Time      `json:"to"`
	Step        int            `json:"step_seconds" doc:"A whole number of minutes; longer than asked for when there would be more than 1,500 points, or only hours are kept."`
	Points      []MetricsPoint `json:"points" nullable:"false" doc:"Steps in which something was measured, in order."`
	Viewers     int            `json:"viewers" doc:"Different people who opened it in the whole span."`
	Requests    int64          `json:"requests"`
	Errors      int64          `json:"errors"`
	MemoryLimit int64          `json:"memory_limit_bytes,omitempty" doc:"Of one replica."`
	Deploys     []DeployMark   `json:"deploys" nullable:"false"`
}

// MetricsPoint is one step.
type MetricsPoint struct {
	At       time.Time `json:"at" doc:"Begin of the step."`
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors" doc:"Answers with a status of 500 and above."`
	Refused  int64     `json:"refused,omitempty" doc:"Answers with a status from 400 to 499."`
	P50      float64   `json:"p50_ms,omitempty" doc:"Half of the answers took no longer."`
	P95      float64   `json:"p95_ms,omitempty"`
	P99      float64   `json:"p99_ms,omitempty"`
	Viewers  int       `json:"viewers,omitempty" doc:"Different signed-in people; of steps longer than an hour, the most in an hour."`
	CPU      float64   `json:"cpu,omitempty" doc:"Processor cores in use, the mean of the step."`
	Memory   int64     `json:"memory_bytes,omitempty" doc:"Of all replicas together, the most in the step."`
	Replica  int64     `json:"replica_memory_bytes,omitempty" doc:"Of the replica that used the most."`
	Replicas int       `json:"replicas,omitempty" doc:"The most in the step."`
}

// DeployMark is a deploy on the time axis.
type DeployMark struct {
	ID      slipway.DeployID    `json:"id"`
	Seq     int                 `json:"seq"`
	Release int                 `json:"release,omitempty"`
	State   slipway.DeployState `json:"state"`
	At      time.Time           `json:"at"`
}

// Usage is how the whole platform is used over a span of time.
type Usage struct {
	Metrics
	Apps   []AppUsage `json:"apps" nullable:"false" doc:"The most requested first, at most 50."`
	People int        `json:"people" doc:"Who may sign in."`
	Total  int        `json:"app_count"`
}

// AppUsage is how one app was used.
type AppUsage struct {
	App      string    `json:"app"`
	Owner    string    `json:"owner"`
	Requests int64     `json:"requests"`
	Errors   int64     `json:"errors"`
	Viewers  int       `json:"viewers"`
	CPU      float64   `json:"cpu,omitempty"`
	Memory   int64     `json:"memory_bytes,omitempty"`
	Opened   time.Time `json:"opened,omitzero"`
}

// Health is how the platform's parts are.
type Health struct {
	State string `json:"state" enum:"ok,warning,down" doc:"The worst of the parts."`
	Parts []Part `json:"parts" nullable:"false"`
}

// Part is a part of the platform.
type Part struct {
	Name   string `json:"name" doc:"core, database, engine, gateway, disk …"`
	State  string `json:"state" enum:"ok,warning,down"`
	Detail string `json:"detail,omitempty" doc:"In words; what to do when it is not ok."`
}

// AuditFilter selects lines of the audit log.
type AuditFilter struct {
	Actor  string // user name
	Verb   string // such as app.share, or app for all that begin with app.
	Object string // name of an app or a person
	Query  string // part of any field
	Since  time.Time
	Until  time.Time
}
