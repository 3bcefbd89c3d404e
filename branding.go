package slipway

import "time"

// Branding is how the platform looks to its people.
type Branding struct {
	Name   string `json:"name" doc:"What the platform is called here."`
	Accent string `json:"accent,omitempty" doc:"Colour of buttons and links, as #rrggbb; absent = the product's own."`
	Logo   string `json:"logo,omitempty" doc:"Version of the logo, which is at /v1/branding/logo; absent without one."`
}

// Announcement is what administrators tell everybody.
type Announcement struct {
	ID      string     `json:"id"`
	Text    string     `json:"text" doc:"Plain text."`
	Level   string     `json:"level" enum:"info,warning"`
	From    *time.Time `json:"from,omitempty" doc:"Not shown before."`
	Until   *time.Time `json:"until,omitempty" doc:"Not shown after."`
	By      string     `json:"by"`
	Created time.Time  `json:"created"`
}

// Defaults are what new apps begin with.
type Defaults struct {
	Access          Access `json:"access" enum:"restricted,authenticated" doc:"Of a new app."`
	InPortal        bool   `json:"in_portal" doc:"Whether a new app is shown in the Portal."`
	Unauthenticated bool   `json:"allow_unauthenticated" doc:"Whether apps may be open to people who are not signed in."`
}

// AuditEntry is a line of the audit log.
type AuditEntry struct {
	Seq    int64     `json:"seq"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor" doc:"User name, or system: and the name of the platform's own loop."`
	Addr   string    `json:"addr,omitempty"`
	Verb   string    `json:"verb" doc:"Such as app.share."`
	Object string    `json:"object,omitempty"`
	Result string    `json:"result" doc:"ok, or the kind of the error."`
	Detail string    `json:"detail,omitempty"`
}
