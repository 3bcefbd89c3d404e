package build

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// entryFiles are where apps are used to begin, the most telling first.
var entryFiles = []string{"wsgi.py", "index.py", "app.py", "main.py", "dash_app.py", "server.py", "streamlit_app.py", "run.py", "asgi.py"}

// launch is a web command that was made up for an app without a Procfile.
type launch struct{ command, why string }

var (
	assignment = regexp.MustCompile(`^([A-Za-z_]\w*)\s*(?::[^=]+)?=\s*([^=].*)$`)
	fromImport = regexp.MustCompile(`^from\s+([.\w]+)\s+import\s+(.+)$`)
	importLine = regexp.MustCompile(`^\s*(?:import|from)\s+(\w+)`)
	called     = regexp.MustCompile(`^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)\s*\(`)
	startLine  = regexp.MustCompile(`(?m)^\s*(?:-\s+)?startCommand:\s*(.+?)\s*$`)
	entryPoint = regexp.MustCompile(`(?m)^entrypoint:\s*(.+?)\s*$`)
)

// Which constructors make an app of which kind.
var (
	dashTypes  = []string{"Dash", "DashProxy", "JupyterDash", "MultiplexerDash", "DjangoDash"}
	wsgiTypes  = []string{"Flask", "Bottle", "get_wsgi_application", "APIFlask", "Quart"}
	asgiTypes  = []string{"FastAPI", "Starlette", "Litestar", "Sanic", "get_asgi_application", "Quart"}
	serverName = []string{"server", "application", "app"}
)

// module is what a light reading of one Python file tells.
type module struct {
	imports []string          // packages
	objects map[string]string // names at the top level: what they are made of, or "" when imported or unknown
	from    map[string]string // imported name: module
}

// parse reads statements at the top level, without strings that span lines.
func parse(text string) module {
	m := module{objects: map[string]string{}, from: map[string]string{}}
	text = logical(decode(text))
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if i := importLine.FindStringSubmatch(line); i != nil {
			m.imports = append(m.imports, i[1])
		}
		if f := fromImport.FindStringSubmatch(line); f != nil {
			for name := range strings.SplitSeq(strings.Trim(f[2], "() "), ",") {
				words := strings.Fields(name)
				if len(words) > 0 {
					m.from[words[len(words)-1]] = f[1]
					m.objects[words[len(words)-1]] = ""
				}
			}
			continue
		}
		if a := assignment.FindStringSubmatch(line); a != nil {
			made := a[2]
			if c := called.FindStringSubmatch(made); c != nil {
				made = c[1]
			}
			m.objects[a[1]] = made
		}
	}
	return m
}

// logical drops strings of three quotes and joins lines within brackets, so
// that every statement at the top level is one line.
func logical(text string) string {
	var out strings.Builder
	depth := 0
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.HasPrefix(text[i:], `"""`), strings.HasPrefix(text[i:], "'''"):
			end := strings.Index(text[i+3:], text[i:i+3])
			out.WriteString(`""`)
			if end < 0 {
				return out.String()
			}
			i += end + 6
			continue
		case c == '"' || c == '\'':
			j := i + 1
			for j < len(text) && text[j] != c && text[j] != '\n' {
				if text[j] == '\\' {
					j++
				}
				j++
			}
			j = min(j+1, len(text))
			out.WriteString(text[i:j])
			i = j
			continue
		case c == '#':
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				i += end
			} else {
				i = len(text)
			}
			continue
		case strings.IndexByte("([{", c) >= 0:
			depth++
			out.WriteByte(c)
		case strings.IndexByte(")]}", c) >= 0:
			depth = max(depth-1, 0)
			out.WriteByte(c)
		case c == '\n' && depth > 0:
			out.WriteByte(' ')
		case c == '\\' && i+1 < len(text) && text[i+1] == '\n':
			out.WriteByte(' ')
			i++
		default:
			out.WriteByte(c)
		}
		i++
	}
	return out.String()
}

// findEntry looks for the module that answers requests.
func findEntry(files map[string]string, names []string) (launch, bool) {
	for _, dir := range []string{"", "src"} {
		pkg := dir != "" && slices.Contains(names, dir+"/__init__.py")
		for _, base := range entryFiles {
			file := path.Join(dir, base)
			text, ok := files[file]
			if !ok {
				continue
			}
			if l, ok := entryOf(file, text, pkg); ok {
				return l, true
			}
		}
	}
	// A Django project has its wsgi.py one folder down.
	sorted := slices.Sorted(slices.Values(names))
	for _, name := range sorted {
		if dir, base := path.Split(name); base == "wsgi.py" && strings.Count(dir, "/") == 1 && slices.Contains(names, "manage.py") {
			mod := strings.TrimSuffix(dir, "/") + ".wsgi"
			return launch{"gunicorn " + mod + ":application", name + " of a Django project"}, true
		}
	}
	return fromOthers(files)
}

// fromOthers uses the commands that apps have for other platforms.
func fromOthers(files map[string]string) (launch, bool) {
	for _, o := range []struct {
		file string
		find *regexp.Regexp
	}{{"render.yaml", startLine}, {"app.yaml", entryPoint}} {
		if m := o.find.FindStringSubmatch(files[o.file]); m != nil {
			return launch{strings.Trim(m[1], `"'`), o.file + " names the command"}, true
		}
	}
	return launch{}, false
}

func entryOf(file, text string, pkg bool) (launch, bool) {
	m := parse(text)
	dir, base := path.Split(file)
	mod := strings.TrimSuffix(base, ".py")
	chdir := ""
	switch {
	case dir != "" && pkg:
		mod = strings.TrimSuffix(dir, "/") + "." + mod
	case dir != "":
		chdir = "--chdir " + strings.TrimSuffix(dir, "/") + " "
	}
	if slices.Contains(m.imports, "streamlit") {
		return launch{"streamlit run " + file, file + " imports streamlit"}, true
	}
	asgi := func(name, why string) launch {
		return launch{"uvicorn " + strings.Replace(chdir, "--chdir", "--app-dir", 1) + mod + ":" + name, why}
	}
	wsgi := func(name, why string) launch { return launch{"gunicorn " + chdir + mod + ":" + name, why} }
	for _, name := range slices.Concat(serverName, slices.Sorted(maps.Keys(m.objects))) {
		made, ok := m.objects[name]
		if ok && slices.Contains(asgiTypes, made) {
			return asgi(name, fmt.Sprintf("%s makes %s with %s", file, name, made)), true
		}
	}
	if made, ok := m.objects["server"]; ok && !slices.Contains(dashTypes, made) {
		return wsgi("server", file+" has the object server"), true
	}
	for _, name := range slices.Concat([]string{"app"}, slices.Sorted(maps.Keys(m.objects))) {
		made, ok := m.objects[name]
		switch {
		case ok && slices.Contains(dashTypes, made):
			// gunicorn takes a name or a call, not a dotted name: the entry
			// module of our environments follows the dots.
			return viaEntry(chdir, mod, name+".server", fmt.Sprintf("%s makes the Dash app %s", file, name)), true
		case ok && slices.Contains(wsgiTypes, made):
			return wsgi(name, fmt.Sprintf("%s makes %s with %s", file, name, made)), true
		}
	}
	if slices.Contains(m.imports, "gradio") && strings.Contains(text, ".launch(") {
		return launch{"python " + file, file + " launches gradio"}, true
	}
	// index.py of a Dash app with several pages: from app import app.
	if _, ok := m.from["app"]; ok && (slices.Contains(m.imports, "dash") || mod == "index") {
		return viaEntry(chdir, mod, "app.server", file+" imports the Dash app"), true
	}
	if _, ok := m.objects["application"]; ok {
		return wsgi("application", file+" has the object application"), true
	}
	return launch{}, false
}

func viaEntry(chdir, mod, dotted, why string) launch {
	return launch{fmt.Sprintf(`gunicorn %s"slipway_entry:load('%s:%s')"`, chdir, mod, dotted), why}
}
