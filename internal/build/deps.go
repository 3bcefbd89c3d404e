package build

import (
	"encoding/binary"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/BurntSushi/toml"

	"slipway.dev/slipway/internal/base/errs"
)

// deps is what an app depends on, in the form that a build installs.
type deps struct {
	form  string            // how it is installed: formPip, formSync, formProject or formNone
	files map[string]string // what the build sees in /deps
	names map[string]string // packages by normalised name, with the version that == pins
	label string            // for people: "requirements.txt: 3 packages"
	local bool              // it installs parts of the source itself: code counts too
	vars  []string          // ${VAR} that occur
	warn  []string
}

const (
	formNone    = "none"
	formPip     = "requirements.txt"
	formProject = "pyproject.toml"
	formSync    = "uv.lock"
)

var (
	variable    = regexp.MustCompile(`\$\{([A-Z][A-Z0-9_]*)\}`)
	requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:===?\s*([0-9][^\s;,#]*))?`)
	separators  = regexp.MustCompile(`[-_.]+`)
)

// isDependencyFile tells which files of a source findDeps wants to read:
// includes may have any name that ends so.
func isDependencyFile(name string) bool {
	switch name {
	case "pyproject.toml", "uv.lock":
		return true
	}
	ext := path.Ext(name)
	return (ext == ".txt" || ext == ".in" || ext == ".pip") && !strings.HasPrefix(name, "assets/")
}

// unsupported are forms that are not installed yet, and what to do instead.
var unsupported = []struct{ file, words string }{
	{"poetry.lock", "poetry.lock is not supported yet: run `poetry export -f requirements.txt -o requirements.txt` and commit requirements.txt"},
	{"Pipfile.lock", "Pipfile.lock is not supported yet: run `pipenv requirements > requirements.txt` and commit requirements.txt"},
	{"Pipfile", "Pipfile is not supported yet: run `pipenv requirements > requirements.txt` and commit requirements.txt"},
	{"environment.yml", "conda's environment.yml is not supported yet: list the packages from PyPI in requirements.txt and commit it"},
	{"environment.yaml", "conda's environment.yaml is not supported yet: list the packages from PyPI in requirements.txt and commit it"},
	{"conda-requirements.txt", "conda-requirements.txt is not supported yet: list the packages from PyPI in requirements.txt and commit it"},
	{"package-list.txt", "conda's package-list.txt is not supported yet: list the packages from PyPI in requirements.txt and commit it"},
	{"setup.py", "setup.py alone is not supported yet: commit a requirements.txt that holds one line, `.`"},
}

// findDeps chooses what to install from.
func findDeps(files map[string]string, names []string) (deps, error) {
	d := deps{form: formNone, files: map[string]string{}, names: map[string]string{}}
	for _, apt := range []string{"Aptfile", "apt-packages"} {
		if slices.Contains(names, apt) {
			d.warn = append(d.warn, apt+" is not supported yet: its system packages are not installed")
		}
	}
	if _, ok := files["requirements.txt"]; ok {
		return d, d.requirements(files)
	}
	if text, ok := files["pyproject.toml"]; ok {
		found, err := d.project(text, files)
		if found || err != nil {
			return d, err
		}
	}
	for _, u := range unsupported {
		if slices.Contains(names, u.file) {
			return d, errs.Unsupported("%s", u.words)
		}
	}
	if len(d.warn) > 0 {
		return d, errs.Unsupported("%s, and there is no requirements.txt", d.warn[0])
	}
	d.label = "no requirements.txt: nothing to install"
	return d, nil
}

// requirements reads requirements.txt with what it includes into one file.
func (d *deps) requirements(files map[string]string) error {
	d.form = formPip
	var req, con strings.Builder
	if err := d.include(files, "requirements.txt", &req, &con, 0); err != nil {
		return err
	}
	d.files["requirements.txt"], d.files["constraints.txt"] = req.String(), con.String()
	d.label = fmt.Sprintf("requirements.txt: %s", count(len(d.names), "package"))
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// include appends one file's lines; con gets what it says about constraints.
func (d *deps) include(files map[string]string, name string, req, con *strings.Builder, depth int) error {
	if depth > 8 {
		return errs.Invalid("%s: includes itself, or is included too deeply", name)
	}
	text, ok := files[name]
	if !ok {
		return errs.Invalid("requirements.txt includes %s, which is not in the app's files", name)
	}
	for i, line := range logicalLines(decode(text)) {
		line = withoutComment(line)
		if line == "" {
			continue
		}
		for _, m := range variable.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(d.vars, m[1]) {
				d.vars = append(d.vars, m[1])
			}
		}
		if err := d.line(files, name, line, req, con, depth); err != nil {
			return errs.Invalid("%s line %d: %s", name, i+1, errs.Message(err))
		}
	}
	slices.Sort(d.vars)
	return nil
}

func (d *deps) line(files map[string]string, in, line string, req, con *strings.Builder, depth int) error {
	if file, ok := option(line, "-r", "--requirement"); ok {
		at, err := inside(in, file)
		if err != nil {
			return err
		}
		return d.include(files, at, req, con, depth+1)
	}
	if file, ok := option(line, "-c", "--constraint"); ok {
		at, err := inside(in, file)
		if err != nil {
			return err
		}
		other := deps{names: map[string]string{}}
		err = other.include(files, at, con, con, depth+1)
		d.vars = append(d.vars, other.vars...)
		return err
	}
	if target, ok := option(line, "-e", "--editable"); ok {
		if !strings.Contains(target, "://") {
			d.warn = append(d.warn, "requirements.txt installs "+target+" as editable: it is installed as it is now, with each deploy")
		}
		line = target
	}
	if isLocal(line) {
		at, extras, _ := strings.Cut(strings.TrimPrefix(line, "file:"), "[")
		at, err := inside(in, at)
		if err != nil {
			return err
		}
		d.local = true
		if line = "./" + at; extras != "" {
			line += "[" + extras
		}
	} else if m := requirement.FindStringSubmatch(line); m != nil {
		d.names[normal(m[1])] = m[2]
	}
	req.WriteString(line + "\n")
	return nil
}

// isLocal reports whether a requirement is a path of the source.
func isLocal(line string) bool {
	if strings.HasPrefix(line, "-") || strings.Contains(line, "://") {
		return false
	}
	return line == "." || strings.HasPrefix(line, ".[") || strings.HasPrefix(line, "./") || strings.HasPrefix(line, "../") ||
		strings.HasPrefix(line, "/") || strings.HasPrefix(line, "file:") || strings.HasSuffix(line, ".whl") && !strings.Contains(line, "@")
}

// inside returns the path, written in file, as seen from the source's root.
func inside(file, p string) (string, error) {
	at := path.Join(path.Dir(file), p)
	if path.IsAbs(p) || at == ".." || strings.HasPrefix(at, "../") || strings.Contains(p, "://") {
		return "", errs.Invalid("%q is outside of the app's files", p)
	}
	return at, nil
}

func option(line string, names ...string) (value string, ok bool) {
	for _, n := range names {
		rest, found := strings.CutPrefix(line, n)
		if found && (strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "\t") || (len(n) == 2 && rest != "")) {
			return strings.Trim(strings.TrimLeft(rest, " =\t"), `"' `), true
		}
	}
	return "", false
}

func withoutComment(line string) string {
	line = strings.TrimSpace(line)
	if strings.HasPrefix(line, "#") {
		return ""
	}
	if i := strings.Index(line, " #"); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}

// logicalLines joins lines that end with a backslash.
func logicalLines(text string) []string {
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	return strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n")
}

// decode returns UTF-8: files from PowerShell's > are UTF-16, others carry a mark.
func decode(text string) string {
	b := []byte(text)
	var order binary.ByteOrder
	switch {
	case strings.HasPrefix(text, "\xff\xfe"):
		order = binary.LittleEndian
	case strings.HasPrefix(text, "\xfe\xff"):
		order = binary.BigEndian
	default:
		return strings.TrimPrefix(text, "\ufeff")
	}
	units := make([]uint16, 0, len(b)/2)
	for i := 2; i+1 < len(b); i += 2 {
		units = append(units, order.Uint16(b[i:]))
	}
	return string(utf16.Decode(units))
}

// normal is PyPI's form of a package's name.
func normal(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

type pyproject struct {
	Project *struct {
		Dependencies   []string `toml:"dependencies"`
		RequiresPython string   `toml:"requires-python"`
		Dynamic        []string `toml:"dynamic"`
	} `toml:"project"`
	Tool struct {
		Poetry map[string]any `toml:"poetry"`
		UV     struct {
			Sources map[string]any `toml:"sources"`
		} `toml:"uv"`
	} `toml:"tool"`
}

// project reads pyproject.toml; found is false when it only configures other programs.
func (d *deps) project(text string, files map[string]string) (found bool, err error) {
	var p pyproject
	if _, err := toml.Decode(decode(text), &p); err != nil {
		return false, errs.Invalid("pyproject.toml cannot be read: %v", err)
	}
	if p.Project == nil {
		if _, ok := p.Tool.Poetry["dependencies"]; ok {
			return false, errs.Unsupported("pyproject.toml is Poetry's, which is not supported yet: run `poetry export -f requirements.txt -o requirements.txt` and commit requirements.txt")
		}
		return false, nil
	}
	if slices.Contains(p.Project.Dynamic, "dependencies") {
		return false, errs.Unsupported("pyproject.toml leaves its dependencies to a program (dynamic): list them under [project], or in requirements.txt")
	}
	for name, source := range p.Tool.UV.Sources {
		if m, ok := source.(map[string]any); ok && (m["path"] != nil || m["workspace"] != nil) {
			return false, errs.Unsupported("pyproject.toml takes %s from a folder of its own, which is not supported yet: use requirements.txt with its path", name)
		}
	}
	for _, line := range p.Project.Dependencies {
		if m := requirement.FindStringSubmatch(line); m != nil {
			d.names[normal(m[1])] = m[2]
		}
	}
	d.form = formProject
	d.files["pyproject.toml"] = decode(text)
	d.label = fmt.Sprintf("pyproject.toml: %s", count(len(d.names), "package"))
	if lock, ok := files["uv.lock"]; ok {
		d.form = formSync
		d.files["uv.lock"] = lock
		n := strings.Count(lock, "[[package]]")
		d.label = fmt.Sprintf("uv.lock: %s, as locked", count(max(n-1, 0), "package"))
		for _, m := range locked.FindAllStringSubmatch(lock, -1) {
			d.names[normal(m[1])] = m[2]
		}
	}
	return true, nil
}

var locked = regexp.MustCompile(`(?m)^\[\[package\]\]\r?\nname = "([^"]+)"\r?\nversion = "([^"]+)"`)
