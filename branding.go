package slipway

import (
	"fmt"
	"math"
	"time"
)

// Branding is how the platform looks to its people.
type Branding struct {
	Name   string `json:"name" doc:"What the platform is called here."`
	Accent string `json:"accent,omitempty" doc:"Colour of buttons and links, as #rrggbb; absent = the product's own."`
	Logo   string `json:"logo,omitempty" doc:"Version of the logo, which is at /v1/branding/logo; absent without one."`
}

// Shades returns the accent as it is legible (WCAG AA): below white text and on
// white, and on a dark ground. Both are empty without an accent.
func (b Branding) Shades() (light, dark string) {
	var c colour
	if n, err := fmt.Sscanf(b.Accent, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil || n != len(c) {
		return "", ""
	}
	white, black, ground := colour{255, 255, 255}, colour{}, colour{0x17, 0x1e, 0x27}
	return c.until(white, black).String(), c.until(ground, white).String()
}

// colour is red, green and blue, each at most 255.
type colour [3]int

func (c colour) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// until moves towards another colour until the contrast with a ground suffices.
func (c colour) until(ground, towards colour) colour {
	const steps, enough = 20, 4.6
	for n := 0; ; n++ {
		var mixed colour
		for i := range c {
			mixed[i] = c[i] + (towards[i]-c[i])*n/steps
		}
		a, b := mixed.luminance(), ground.luminance()
		if n == steps || (max(a, b)+.05)/(min(a, b)+.05) >= enough {
			return mixed
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func (c colour) luminance() (sum float64) {
	for i, weight := range [...]float64{.2126, .7152, .0722} {
		v := float64(c[i]) / 255
		if v <= .04045 {
			v /= 12.92
		} else {
			v = math.Pow((v+.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
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
