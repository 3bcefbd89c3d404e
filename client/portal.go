package client

import (
	"time"

	"slipway.dev/slipway"
)

// Me is what a page needs to know about who looks at it, and where.
type Me struct {
	Whoami
	Version       string                 `json:"version" doc:"Of the platform."`
	Hosts         slipway.Hosts          `json:"hosts"`
	Branding      slipway.Branding       `json:"branding"`
	Announcements []slipway.Announcement `json:"announcements" nullable:"false" doc:"Those to show now."`
	Features      []string               `json:"features" nullable:"false" doc:"What this person may use: portal (everybody), apps (has a seat, or an app to look after), create (may make apps), admin."`
	Warnings      []Warning              `json:"warnings" nullable:"false" doc:"Limits that are near or reached, for those who create things."`
}

// Warning is a limit that is near or reached.
type Warning struct {
	Limit string `json:"limit" doc:"replicas, volumes, memory or seats."`
	Used  int64  `json:"used"`
	Max   int64  `json:"max"`
	Text  string `json:"text" doc:"What it means and what to do."`
	Level string `json:"level" enum:"near,reached"`
}

// Portal is a part of the apps that a person may open, as cards.
type Portal struct {
	Page[Card]
	Tags []TagCount `json:"tags" nullable:"false" doc:"Tags of the apps that the search finds, whatever tags it asks for, the most used first."`
}

// Card is an app as its viewers see it.
type Card struct {
	Name        string           `json:"name"`
	Title       string           `json:"title,omitempty"`
	Description string           `json:"description,omitempty"`
	Tags        []string         `json:"tags" nullable:"false"`
	Rank        int              `json:"rank,omitempty"`
	Owner       string           `json:"owner"`
	Contact     string           `json:"contact,omitempty"`
	State       slipway.AppState `json:"state,omitempty"`
	URL         string           `json:"url"`
	Thumbnail   string           `json:"thumbnail,omitempty" doc:"Path of the picture on the API's host, with its version; absent without one."`
	Favourite   bool             `json:"favourite,omitempty"`
	Opened      *time.Time       `json:"opened,omitempty" doc:"When this person opened it last."`
	Updated     time.Time        `json:"updated"`
}

// TagCount is a tag and how many apps have it.
type TagCount struct {
	Tag   string `json:"tag"`
	Count int    `json:"count"`
}

// Change says that something is no longer as it was: what shows it asks again.
type Change struct {
	Kind string           `json:"kind" enum:"app,deploy,platform,reset" doc:"reset: changes were missed, so everything may be different. platform: branding, announcements, settings."`
	App  string           `json:"app,omitempty" doc:"Name of the app."`
	ID   slipway.DeployID `json:"id,omitempty" doc:"Of the deploy."`
	Gone bool             `json:"gone,omitempty" doc:"The app is deleted, or may be seen no more."`
}

// AccessReport says who may open an app, and why.
type AccessReport struct {
	Level  slipway.Access `json:"level"`
	People []WhoMayOpen   `json:"people" nullable:"false" doc:"Those who may for a reason of their own: owner, co-owners, listed viewers, administrators."`
	Others string         `json:"others" enum:"nobody,signed-in,everyone" doc:"Who else may open it."`
}

// WhoMayOpen is a person who may open an app.
type WhoMayOpen struct {
	User     string   `json:"user"`
	FullName string   `json:"full_name,omitempty"`
	Why      []string `json:"why" nullable:"false" doc:"owner, co-owner, viewer, administrator."`
	Disabled bool     `json:"disabled,omitempty" doc:"May not sign in, so may not open it in fact."`
}

// AccessAnswer says whether one person may open an app, and why or why not.
type AccessAnswer struct {
	User string   `json:"user"`
	May  bool     `json:"may_open"`
	Why  []string `json:"why" nullable:"false" doc:"Sentences for people."`
	Do   []string `json:"do,omitempty" doc:"What would change it."`
}

// FoundPerson is a person as those see who share an app.
type FoundPerson struct {
	Name     string            `json:"name"`
	FullName string            `json:"full_name,omitempty"`
	Seat     bool              `json:"seat,omitempty" doc:"May be co-owner, or owner."`
	Role     slipway.GrantRole `json:"role,omitempty" doc:"On this app."`
	Owner    bool              `json:"is_owner,omitempty"`
}

// DeployLine is a line of a deploy's log.
type DeployLine struct {
	Seq  int64     `json:"seq"`
	At   time.Time `json:"at"`
	Step string    `json:"step,omitempty"`
	Text string    `json:"text"`
}

// Comparison is what differs between two releases of an app.
type Comparison struct {
	From         slipway.Release `json:"from"`
	To           slipway.Release `json:"to"`
	SameSource   bool            `json:"same_source,omitempty" doc:"Their files are the same."`
	SameEnv      bool            `json:"same_environment,omitempty" doc:"What they depend on is the same, byte for byte."`
	Commits      []Commit        `json:"commits" nullable:"false" doc:"Those in to that are not in from, newest first, at most 100; none when the files did not come by git."`
	Dependencies []Difference    `json:"dependencies" nullable:"false" doc:"By package, as the app's dependency files name versions."`
	Env          []Difference    `json:"env" nullable:"false" doc:"By variable, without values."`
	Processes    []Difference    `json:"processes" nullable:"false" doc:"By process type, with its command."`
}

// Commit is a commit of an app's repository.
type Commit struct {
	ID      string    `json:"id"`
	Author  string    `json:"author"`
	At      time.Time `json:"at"`
	Subject string    `json:"subject"`
}

// Difference is one thing that two releases have differently.
type Difference struct {
	Name   string `json:"name"`
	Change string `json:"change" enum:"added,removed,changed"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
}
