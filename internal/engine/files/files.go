// Package files lets people see and change the files in a folder of a replica.
// Both ends are here: Serve is a verb of slipway-init and runs inside, as the
// app's user, so that nothing depends on what the app brings along; Folder is
// its caller outside. Serve never leaves the folder, wherever links in it lead.
package files

import (
	"io/fs"
	"strings"
	"time"
	"unicode/utf8"

	"slipway.dev/slipway/internal/base/errs"
)

// Verb is Serve's among those of slipway-init.
const Verb = "files"

// Kind of an entry.
type Kind string

// The kinds.
const (
	File   Kind = "file"
	Folder Kind = "folder"
	Other  Kind = "other" // a link that leads nowhere or out, a socket, a device
)

// Entry is something in a folder.
type Entry struct {
	Name     string    `json:"name"`
	Kind     Kind      `json:"kind"` // a link's is that of what it leads to
	Size     int64     `json:"size"` // of a file, in bytes
	Modified time.Time `json:"modified"`
	Link     bool      `json:"link,omitempty"`
	Odd      bool      `json:"odd,omitempty"` // the name is no UTF-8 and shown with replacements: it cannot be asked for
}

// Page is a part of a folder's entries: folders first, then by name.
type Page struct {
	Items []Entry `json:"items"`
	Total int     `json:"total"`
	Next  string  `json:"next,omitempty"` // for the part that follows; empty at the end
}

// MaxEntries is how many entries a folder may have that can be listed.
const MaxEntries = 200_000

// maxPath is what Linux takes.
const maxPath = 4000

// Path checks a path below the folder, with / between names; empty is the
// folder itself. Invalid for what is absolute or goes up.
func Path(p string) (string, error) {
	if p == "" {
		return ".", nil
	}
	switch {
	case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
		return "", errs.Invalid("a path holds UTF-8 text without NUL")
	case len(p) > maxPath:
		return "", errs.Invalid("a path has at most %d bytes", maxPath)
	case !fs.ValidPath(p):
		return "", errs.Invalid("%q is no path below the folder, such as data/today.csv: without / at its ends and without . or ..", p)
	}
	return p, nil
}

// failure is how Serve tells what went wrong, on its standard error.
type failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// What is written comes in frames: four bytes with the length, big endian, and
// as many bytes. Only the empty frame makes the file: an input that just ends
// was cut off.
const maxFrame = 64 << 10
