package build

import (
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/BurntSushi/toml"
)

// mountWord is how a program names ~/mount: as the end of a path, or as a word
// that it joins to one.
var mountWord = regexp.MustCompile("[/\"'`]mount\\b")

// programs are the endings of files that may name it.
var programs = []string{
	"", ".bash", ".cfg", ".conf", ".env", ".ini", ".ipynb", ".js", ".mjs", ".py", ".r", ".R", ".sh", ".toml", ".ts", ".yaml", ".yml",
}

// NamesMount reports whether a text, such as the value of a variable, names ~/mount.
func NamesMount(text string) bool { return mountWord.MatchString(text) }

func mayMount(name string) bool { return slices.Contains(programs, path.Ext(name)) }

// mount finds out whether the app keeps files in ~/mount. project.toml decides;
// without a word there, any file that names the folder does. A wrong
// yes costs a volume, so the search is generous.
func (p *Plan) mount(files map[string]string) {
	if text, ok := files["project.toml"]; ok {
		var f struct {
			Slipway struct{ Mount *bool }
		}
		if _, err := toml.Decode(decode(text), &f); err == nil && f.Slipway.Mount != nil {
			p.Mount = MountOff
			if *f.Slipway.Mount {
				p.Mount = MountUsed
			}
			p.say("project.toml: mount = %t", *f.Slipway.Mount)
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if NamesMount(files[name]) {
			p.Mount = MountUsed
			p.say("%s names ~/mount, which is kept", name)
			return
		}
	}
}
