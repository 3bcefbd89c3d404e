package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"slipway.dev/slipway/internal/base/errs"
)

var (
	processLine = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9_-]{0,29})\s*:\s*(.+)$`)
	wordBreak   = regexp.MustCompile(`[\s;&|()"']+`)
)

// sources are the small files that detection reads, beside Python's.
var sources = []string{
	"Procfile", "project.toml", "app.json", "runtime.txt", ".python-version", "render.yaml", "app.yaml", ".env",
}

func wanted(name string) bool {
	dir := path.Dir(name)
	return slices.Contains(sources, name) || isDependencyFile(name) || path.Ext(name) == ".py" && (dir == "." || strings.Count(name, "/") <= 2)
}

// Detect reads a source and says what it needs. It changes nothing. vars are
// the app's variables, for ${VAR} in its requirements.
func (b *Builder) Detect(ctx context.Context, source string, vars map[string]string) (Plan, error) {
	files, names, err := b.ReadSource(ctx, source, func(name string) bool { return wanted(name) || mayMount(name) })
	if err != nil {
		return Plan{}, err
	}
	all := maps.Clone(files)
	maps.DeleteFunc(files, func(name, _ string) bool { return !wanted(name) })
	info, err := b.Engine.Info(ctx)
	if err != nil {
		return Plan{}, err
	}
	p, d, err := b.detect(files, names, info.Pythons)
	if err != nil {
		return Plan{}, err
	}
	p.Source = source
	p.mount(all)
	for _, v := range p.Vars {
		if _, ok := vars[v]; !ok {
			return Plan{}, errs.Invalid("the requirements use ${%s}, and the app has no such variable: set it, then push again", v)
		}
	}
	p.EnvKey = b.key(p, d, func(v string) string { return vars[v] })
	return p, nil
}

// detect is Detect without its surroundings.
func (b *Builder) detect(files map[string]string, names, pythons []string) (Plan, deps, error) {
	p := Plan{Recipe: Recipe}
	def := b.Python
	if def == "" && len(pythons) > 0 {
		def = pythons[len(pythons)-1]
	}
	if def == "" {
		return p, deps{}, errs.Unavailable("this platform has no Python: the administrator must install one")
	}
	var err error
	if p.Procfile, err = p.processes(files, names); err != nil {
		return p, deps{}, err
	}
	if p.Python, p.PythonWhy, err = choosePython(files, pythons, def); err != nil {
		return p, deps{}, err
	}
	p.say("Python %s: %s", p.Python, p.PythonWhy)
	d, err := findDeps(files, names)
	if err != nil {
		return p, d, err
	}
	p.say("%s", d.label)
	p.Dependencies, p.Vars = d.label, slices.Compact(d.vars)
	p.Warnings = append(p.Warnings, d.warn...)
	if extra := supplied(p.Procfile, d); len(extra) > 0 {
		p.say("%s: not among the packages, supplied", strings.Join(extra, ", "))
	}
	if err := p.hooks(files); err != nil {
		return p, d, err
	}
	p.dash(files, d)
	return p, d, nil
}

func (p *Plan) say(format string, args ...any) {
	p.Detected = append(p.Detected, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// processes reads the Procfile, or finds what to run.
func (p *Plan) processes(files map[string]string, names []string) (map[string]string, error) {
	text, ok := files["Procfile"]
	procs, err := parseProcfile(decode(text))
	if err != nil {
		return nil, err
	}
	if release, has := procs["release"]; has {
		// Heroku's word for what we call predeploy.
		p.Predeploy = release
		delete(procs, "release")
		p.say("Procfile: release is run as predeploy")
	}
	if procs["web"] != "" {
		p.say("Procfile: %s", strings.Join(sortedKeys(procs), ", "))
		return procs, nil
	}
	l, found := findEntry(files, names)
	if !found {
		if ok {
			return nil, errs.Invalid("the Procfile has no line for web, the process that answers requests: add web: gunicorn app:server")
		}
		return nil, errs.Invalid("no Procfile, and no %s that makes an app (an object named server, or one made with Dash, Flask, FastAPI or Streamlit): add a Procfile with a line web: gunicorn app:server", either(entryFiles[:5]))
	}
	procs["web"] = l.command
	why := "no Procfile"
	if ok {
		why = "no web in the Procfile"
	}
	p.say("%s; %s, so web: %s", why, l.why, l.command)
	return procs, nil
}

func either(words []string) string {
	n := len(words) - 1
	return strings.Join(words[:n], ", ") + " or " + words[n]
}

func sortedKeys(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func parseProcfile(text string) (map[string]string, error) {
	procs := map[string]string{}
	for i, line := range logicalLines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := processLine.FindStringSubmatch(line)
		if m == nil {
			return nil, errs.Invalid("Procfile line %d, %q, is not of the form name: command", i+1, cut(line, 60))
		}
		name := strings.ToLower(m[1])
		if procs[name] != "" {
			return nil, errs.Invalid("Procfile line %d names %s a second time", i+1, name)
		}
		procs[name] = strings.TrimSpace(m[2])
	}
	return procs, nil
}

// hooks reads what to run before and after a deploy.
func (p *Plan) hooks(files map[string]string) error {
	if text, ok := files["app.json"]; ok {
		var a struct {
			Scripts struct {
				Dokku struct{ Predeploy, Postdeploy string }
			}
		}
		if err := json.Unmarshal([]byte(decode(text)), &a); err != nil {
			p.warn("app.json cannot be read and is ignored: %v", err)
		}
		if d := a.Scripts.Dokku; d.Predeploy != "" || d.Postdeploy != "" {
			p.Predeploy, p.Postdeploy = d.Predeploy, d.Postdeploy
			p.warn("app.json with scripts.dokku is deprecated: move predeploy and postdeploy to project.toml")
		}
	}
	if text, ok := files["project.toml"]; ok {
		var tree map[string]any
		if _, err := toml.Decode(decode(text), &tree); err != nil {
			return errs.Invalid("project.toml cannot be read: %v", err)
		}
		for key, at := range map[string]*string{"predeploy": &p.Predeploy, "postdeploy": &p.Postdeploy} {
			for _, table := range []map[string]any{tree, sub(tree, "scripts"), sub(tree, "slipway"), sub(sub(tree, "scripts"), "dokku")} {
				if v := command(table[key]); v != "" {
					*at = v
					break
				}
			}
		}
	}
	for _, h := range []struct{ name, command string }{{"predeploy", p.Predeploy}, {"postdeploy", p.Postdeploy}} {
		if h.command != "" {
			p.say("%s: %s", h.name, h.command)
		}
	}
	return nil
}

// command accepts a string, or a table with a command.
func command(v any) string {
	switch v := v.(type) {
	case string:
		return strings.TrimSpace(v)
	case map[string]any:
		s, _ := v["command"].(string)
		return strings.TrimSpace(s)
	}
	return ""
}

// dash looks for what Dash apps are known to trip over.
func (p *Plan) dash(files map[string]string, d deps) {
	reads, passes := "", false
	for _, name := range sortedKeys(files) {
		if path.Ext(name) != ".py" {
			continue
		}
		if strings.Contains(files[name], "DASH_REQUESTS_PATHNAME_PREFIX") {
			reads = name
		}
		passes = passes || strings.Contains(files[name], "url_base_pathname")
	}
	if reads != "" && !passes {
		p.DashPrefix = true
		p.say("%s reads DASH_REQUESTS_PATHNAME_PREFIX: it is set", reads)
	}
	if v := d.names["dash"]; v != "" && older(v, 4, 4, 1) {
		p.warn("dash %s has a hole in background callbacks that lets anyone in without signing in: use 4.4.1 or newer", v)
	}
	if _, ok := files[".env"]; ok {
		p.warn("the committed .env is not loaded: set variables with `slipway env set`, and take secrets out of the repository")
	}
}

func older(version string, than ...int) bool {
	parts := strings.Split(version, ".")
	for i, want := range than {
		have := 0
		if i < len(parts) {
			have, _ = strconv.Atoi(parts[i]) // what is no number counts as 0
		}
		if have != want {
			return have < want
		}
	}
	return false
}

// supplied are servers that a command needs and that nobody asked to install.
func supplied(procs map[string]string, d deps) []string {
	var extra []string
	for _, server := range []string{"gunicorn", "uvicorn"} {
		if _, ok := d.names[server]; ok {
			continue
		}
		for _, c := range procs {
			if slices.Contains(wordBreak.Split(c, -1), server) || strings.Contains(c, server+".workers") {
				extra = append(extra, server)
				break
			}
		}
	}
	return extra
}

// key names the environment by everything that it is made of.
func (b *Builder) key(p Plan, d deps, value func(name string) string) string {
	sum := sha256.New()
	add := func(parts ...string) {
		for _, s := range parts {
			fmt.Fprintf(sum, "%d:%s", len(s), s)
		}
	}
	add("recipe", Recipe, UV, b.Platform, p.Python, d.form)
	for _, name := range sortedKeys(d.files) {
		add(name, d.files[name])
	}
	add(supplied(p.Procfile, d)...)
	for _, v := range p.Vars {
		add(v, value(v))
	}
	for _, v := range b.Index {
		add(v.Name, v.Value.Reveal())
	}
	if d.local {
		add(p.Source)
	}
	return "env-" + hex.EncodeToString(sum.Sum(nil))[:32]
}
