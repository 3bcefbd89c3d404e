package build

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"slipway.dev/slipway/internal/base/errs"
)

var (
	minor     = regexp.MustCompile(`(?i)^\D*?3\.(\d{1,2})(?:\D.*)?$`)
	clause    = regexp.MustCompile(`^(~=|===?|!=|<=|>=|<|>|\^|~)?\s*v?(\d+)(?:\.(\d+|\*))?(?:\.(\d+|\*))?`)
	buildVars = []string{"BP_CPYTHON_VERSION", "PYTHON_VERSION"}
)

// choosePython returns the minor version to use and the reason in words.
// fallback is the platform's default.
func choosePython(files map[string]string, available []string, fallback string) (version, why string, err error) {
	for _, name := range []string{"runtime.txt", ".python-version"} {
		text := strings.TrimSpace(decode(files[name]))
		if text == "" {
			continue
		}
		first, _, _ := strings.Cut(text, "\n")
		m := minor.FindStringSubmatch(strings.TrimSpace(first))
		if m == nil {
			return "", "", errs.Invalid("%s says %q, which names no Python: write python-%s", name, cut(first, 40), fallback)
		}
		return exactly("3."+m[1], name, available)
	}
	if v := projectPython(files["project.toml"]); v != "" {
		if m := minor.FindStringSubmatch(v); m != nil {
			return exactly("3."+m[1], "project.toml", available)
		}
	}
	var p pyproject
	if _, err := toml.Decode(decode(files["pyproject.toml"]), &p); err == nil && p.Project != nil && p.Project.RequiresPython != "" {
		return within(p.Project.RequiresPython, available, fallback)
	}
	return fallback, "the platform's default", nil
}

func exactly(version, file string, available []string) (string, string, error) {
	if !slices.Contains(available, version) {
		return "", "", errs.Invalid("%s asks for Python %s, and this platform has %s: change %s, or ask the administrator for that Python",
			file, version, strings.Join(available, ", "), file)
	}
	return version, file + " asks for it", nil
}

// within chooses the default when it satisfies the range, else the newest that does.
func within(spec string, available []string, fallback string) (string, string, error) {
	why := "pyproject.toml requires " + spec
	if satisfies(fallback, spec) {
		return fallback, why, nil
	}
	for _, v := range slices.Backward(available) {
		if satisfies(v, spec) {
			return v, why, nil
		}
	}
	return "", "", errs.Invalid("pyproject.toml requires Python %s, and this platform has %s: change requires-python, or ask the administrator for such a Python",
		spec, strings.Join(available, ", "))
}

// satisfies judges by minor versions only: patches are the platform's business.
func satisfies(version, spec string) bool {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "3."))
	for c := range strings.SplitSeq(spec, ",") {
		m := clause.FindStringSubmatch(strings.TrimSpace(c))
		if m == nil {
			continue
		}
		major, _ := strconv.Atoi(m[2])
		want, err := strconv.Atoi(m[3])
		whole := err != nil // "3" or "3.*": no minor
		order := n - want
		if major != 3 {
			order, whole = 3-major, false
		} else if whole {
			order = 0
		}
		patch := m[4] != "" && m[4] != "*"
		ok := true
		switch m[1] {
		case "", "=", "==", "===", "~":
			ok = order == 0
		case "~=", "^":
			ok = order >= 0 && major == 3
			if m[1] == "~=" && m[4] != "" {
				ok = order == 0
			}
		case "!=":
			ok = order != 0 || patch || whole
		case "<":
			ok = order < 0 || order == 0 && patch && m[4] != "0"
		case "<=":
			ok = order <= 0
		case ">":
			ok = order > 0 || order == 0 && (patch || whole)
		case ">=":
			ok = order >= 0
		}
		if !ok {
			return false
		}
	}
	return true
}

// projectPython finds the version in the forms of project.toml that are in use.
func projectPython(text string) string {
	var tree map[string]any
	if _, err := toml.Decode(decode(text), &tree); err != nil {
		return ""
	}
	for _, table := range []map[string]any{tree, sub(tree, "slipway"), sub(tree, "runtime")} {
		for _, key := range []string{"python", "python-version", "python_version"} {
			if v, ok := table[key].(string); ok {
				return v
			}
		}
	}
	if v, ok := sub(tree, "python")["version"].(string); ok {
		return v
	}
	env, _ := sub(tree, "build")["env"].([]map[string]any)
	for _, e := range env {
		if name, _ := e["name"].(string); slices.Contains(buildVars, name) {
			v, _ := e["value"].(string)
			return v
		}
	}
	return ""
}

func sub(tree map[string]any, key string) map[string]any {
	t, _ := tree[key].(map[string]any)
	return t
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}
