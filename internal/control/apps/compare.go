package apps

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

// Comparison is what differs between two releases.
type Comparison struct {
	From, To     slipway.Release
	Dependencies []Difference
	Env          []Difference // without values
	Processes    []Difference
}

// Difference is one thing that two releases have differently.
type Difference struct {
	Name, Change string // added, removed, changed
	From, To     string
}

// Compare tells what release n has differently from an older one; with = 0 is
// the one before it.
func (s *Service) Compare(ctx context.Context, name string, n, with int) (Comparison, error) {
	var from, to store.Release
	err := s.view(ctx, access.ReadApp, name, func(tx *store.Tx, app store.App) (err error) {
		if to, err = tx.Release(app.ID, n); err != nil {
			return err
		}
		if with == 0 {
			older, err := tx.ReleasesOf(app.ID, n, 1)
			if err != nil {
				return err
			}
			if len(older) == 0 {
				return errs.Conflict("release %d is the oldest: there is none before it", n)
			}
			from = older[0]
			return nil
		}
		from, err = tx.Release(app.ID, with)
		return err
	})
	if err != nil {
		return Comparison{}, err
	}
	out := Comparison{From: from.Release, To: to.Release, Processes: differences(from.Procfile, to.Procfile)}
	a, err := s.openSpec(&from)
	if err != nil {
		return out, err
	}
	b, err := s.openSpec(&to)
	if err != nil {
		return out, err
	}
	out.Env = differences(a.Env, b.Env)
	for i := range out.Env { // values may be secrets
		out.Env[i].From, out.Env[i].To = "", ""
	}
	out.Dependencies, err = s.dependencyChanges(ctx, from, to)
	return out, err
}

func differences(from, to map[string]string) []Difference {
	out := []Difference{}
	keys := maps.Clone(from)
	if keys == nil {
		keys = map[string]string{}
	}
	maps.Copy(keys, to)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		a, had := from[k]
		b, has := to[k]
		switch {
		case had && !has:
			out = append(out, Difference{k, "removed", a, ""})
		case !had:
			out = append(out, Difference{k, "added", "", b})
		case a != b:
			out = append(out, Difference{k, "changed", a, b})
		}
	}
	return out
}

func (s *Service) dependencyChanges(ctx context.Context, from, to store.Release) ([]Difference, error) {
	if from.Source == to.Source {
		return []Difference{}, nil
	}
	var named [2]map[string]string
	for i, r := range []store.Release{from, to} {
		var err error
		if named[i], err = s.dependencies(ctx, r.Source); err != nil {
			return nil, err
		}
	}
	return differences(named[0], named[1]), nil
}

const maxDependencyFile = 8 << 20

// dependencies reads the packages that a source names, with their versions:
// from a lock file if there is one, else from requirements.txt. A source whose
// files are no longer kept names none.
func (s *Service) dependencies(ctx context.Context, source string) (map[string]string, error) {
	layer, err := s.Engine.Layers().Open(ctx, source)
	if errs.Is(err, errs.KindNotFound) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	found := map[string]map[string]string{}
	for t := tar.NewReader(layer); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		name := path.Clean(strings.TrimPrefix(h.Name, "/"))
		switch name {
		case "uv.lock", "poetry.lock", "pylock.toml", "pdm.lock":
			found[name] = locked(io.LimitReader(t, maxDependencyFile))
		case "requirements.txt":
			found[name] = required(io.LimitReader(t, maxDependencyFile))
		}
	}
	for _, name := range []string{"requirements.txt", "uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"} {
		if found[name] != nil {
			return found[name], nil
		}
	}
	return map[string]string{}, nil
}

var (
	requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^#;]*)`)
	assignment  = regexp.MustCompile(`^(name|version)\s*=\s*"([^"]*)"`)
	credentials = regexp.MustCompile(`://[^/@\s]*@`)
	runs        = regexp.MustCompile(`[-_.]+`)
)

// plainName is a package's name as indexes compare it.
func plainName(s string) string { return strings.ToLower(runs.ReplaceAllString(s, "-")) }

// required reads the lines of a requirements.txt that name packages.
func required(r io.Reader) map[string]string {
	out := map[string]string{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		m := requirement.FindStringSubmatch(strings.TrimSpace(lines.Text()))
		if m == nil {
			continue
		}
		version, _, _ := strings.Cut(m[2], " --hash")
		version = credentials.ReplaceAllString(version, "://") // an address may hold some
		out[plainName(m[1])] = strings.TrimRight(strings.TrimSpace(version), `\ `)
	}
	return out
}

// locked reads the packages of a lock file in TOML, all of which list them as
// tables with a name and a version.
func locked(r io.Reader) map[string]string {
	out := map[string]string{}
	name, inPackage := "", false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") && !strings.HasSuffix(line, ",") {
			inPackage, name = line == "[[package]]" || line == "[[packages]]", ""
			continue
		}
		m := assignment.FindStringSubmatch(line)
		switch {
		case m == nil || !inPackage:
		case m[1] == "name":
			name = plainName(m[2])
		case name != "":
			out[name] = m[2]
		}
	}
	return out
}
