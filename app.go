package slipway

import "time"

// Access says who may open an app beside its owner and co-owners.
type Access string

// The access levels, from closed to open.
const (
	AccessRestricted      Access = "restricted"      // people who are listed
	AccessAuthenticated   Access = "authenticated"   // everyone who is signed in
	AccessUnauthenticated Access = "unauthenticated" // everyone
)

// AppState is the one-word answer to "how is it?", derived from what is
// wanted and what is observed; it is not stored.
type AppState string

// The states of an app.
const (
	AppEmpty    AppState = "empty"    // no release yet
	AppStarting AppState = "starting" // no replica answers yet
	AppRunning  AppState = "running"
	AppCrashed  AppState = "crashed" // every replica keeps dying
	AppPaused   AppState = "paused"
)

// App is a data app: a name, people, and releases of which one is current.
type App struct {
	ID          AppID     `json:"id"`
	Name        string    `json:"name"`
	Title       string    `json:"title,omitempty"`
	Description string    `json:"description,omitempty"`
	Owner       UserID    `json:"owner_id"`
	OwnerName   string    `json:"owner"`
	Access      Access    `json:"access"`
	Isolated    bool      `json:"isolated,omitempty"` // served on a host of its own
	InPortal    bool      `json:"in_portal,omitempty"`
	Tags        []string  `json:"tags,omitempty"`
	Rank        int       `json:"rank,omitempty"`      // place in the Portal, 1 first; 0 = behind those that have one
	Contact     string    `json:"contact,omitempty"`   // whom viewers ask; empty = the owner
	Thumbnail   string    `json:"thumbnail,omitempty"` // version of its picture; empty = none
	Paused      bool      `json:"paused,omitempty"`
	HealthPath  string    `json:"health_path,omitempty"` // default /
	Current     int       `json:"current_release,omitempty"`
	State       AppState  `json:"state,omitempty"`
	Upstream    *Upstream `json:"upstream,omitempty"`
	Rev         int64     `json:"rev"` // grows with every change
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// Grant is a person's right on one app.
type Grant struct {
	User  UserID    `json:"user_id"`
	Name  string    `json:"user"`
	Level GrantRole `json:"role"`
}

// GrantRole is what a grant gives.
type GrantRole string

// The roles on one app.
const (
	GrantViewer  GrantRole = "viewer"   // open it
	GrantCoOwner GrantRole = "co-owner" // everything but delete and transfer
)

// Process is one line of a release's Procfile with what is wanted of it.
type Process struct {
	Name     string `json:"name"`
	Command  string `json:"command"`
	Replicas int    `json:"replicas"`
	MemoryMB int64  `json:"memory_mb,omitempty"` // 0 = the platform's default
}

// WebProcess is the only process type that gets traffic.
const WebProcess = "web"

// EnvVar is a variable in an app's environment. A secret's value is written,
// never read back: Value is then empty in every answer.
type EnvVar struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Secret bool   `json:"secret,omitempty"`
}

// Release is an immutable, numbered version of an app.
type Release struct {
	App       AppID             `json:"app_id"`
	N         int               `json:"n"`
	Commit    string            `json:"commit,omitempty"`
	Message   string            `json:"message,omitempty"`
	Source    string            `json:"source"`      // layer with the app's files
	Env       string            `json:"environment"` // layer with what it depends on
	Python    string            `json:"python,omitempty"`
	Procfile  map[string]string `json:"procfile"`
	Created   time.Time         `json:"created"`
	CreatedBy string            `json:"created_by"`
	Cause     Cause             `json:"cause"`
}

// Cause is why a deploy was made.
type Cause string

// The causes.
const (
	CausePush     Cause = "push"
	CauseUpload   Cause = "upload"
	CauseRollback Cause = "rollback"
	CauseConfig   Cause = "config"
	CauseRestart  Cause = "restart"
	CauseTemplate Cause = "template"
	CauseFetch    Cause = "fetch"
)

// DeployState is where a deploy is on its way; a state is written before the
// effect that it allows.
type DeployState string

// The states of a deploy, in order, then the final ones.
const (
	DeployQueued     DeployState = "queued"
	DeployDetecting  DeployState = "detecting"
	DeployEnv        DeployState = "env"
	DeployPredeploy  DeployState = "predeploy"
	DeployPacking    DeployState = "packing"
	DeployReleasing  DeployState = "releasing"
	DeployStarting   DeployState = "starting"
	DeployChecking   DeployState = "checking"
	DeployPostdeploy DeployState = "postdeploy"
	DeploySwitching  DeployState = "switching"
	DeployDraining   DeployState = "draining"

	DeployLive       DeployState = "live"
	DeployFailed     DeployState = "failed"      // before a release was started
	DeployRolledBack DeployState = "rolled_back" // the new release was taken back; the old one serves
	DeployCanceled   DeployState = "canceled"
	DeploySuperseded DeployState = "superseded"
)

// Final reports whether nothing more will happen to the deploy.
func (s DeployState) Final() bool {
	switch s {
	case DeployLive, DeployFailed, DeployRolledBack, DeployCanceled, DeploySuperseded:
		return true
	default:
		return false
	}
}

// Deploy is one attempt to make a release and put it before the viewers.
type Deploy struct {
	ID        DeployID     `json:"id"`
	App       AppID        `json:"app_id"`
	AppName   string       `json:"app"`
	Seq       int          `json:"seq"` // 1, 2, 3 … within the app
	Cause     Cause        `json:"cause"`
	Commit    string       `json:"commit,omitempty"`
	Message   string       `json:"message,omitempty"`
	Source    string       `json:"source,omitempty"`
	Release   int          `json:"release,omitempty"`
	State     DeployState  `json:"state"`
	Reason    string       `json:"reason,omitempty"` // why it failed, in plain words
	By        string       `json:"by"`
	Steps     []DeployStep `json:"steps,omitempty"`
	Canceling bool         `json:"canceling,omitempty"`
	Started   time.Time    `json:"started"`
	Ended     *time.Time   `json:"ended,omitempty"`
}

// DeployStep is a part of a deploy with its time.
type DeployStep struct {
	Name    string     `json:"name"`
	Detail  string     `json:"detail,omitempty"` // "requirements.txt: 3 packages, cached"
	State   StepState  `json:"state"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
}

// StepState is how a step stands.
type StepState string

// The states of a step.
const (
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
)
