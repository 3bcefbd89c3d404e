package slipway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "slipway.dev/slipway"

// imports says which of our packages each may import, beside those that all
// may: the nouns and base. Arrows only point down; ARCHITECTURE.md explains.
var imports = map[string][]string{
	"":                          {"internal/base/errs"},
	"client":                    {},
	"examples":                  {},
	"cmd/slipway":               {"internal/cli", "internal/server"},
	"cmd/slipway-init":          {"internal/engine/files", "internal/engine/inside"}, // and no third party: it is in every sandbox
	"internal/session":          {"internal/link"},
	"internal/engine":           {},
	"internal/engine/fake":      {"internal/engine", "internal/engine/files"},
	"internal/engine/files":     {},
	"internal/engine/inside":    {},
	"internal/engine/initbin":   {},
	"internal/engine/logfile":   {"internal/engine", "internal/engine/inside"},
	"internal/engine/proc":      {"internal/engine", "internal/engine/initbin", "internal/engine/inside", "internal/engine/logfile"},
	"internal/engine/kube":      {"internal/engine", "internal/engine/inside", "internal/engine/logfile"},
	"internal/image":            {"internal/engine", "internal/engine/initbin", "internal/proto/oci"},
	"internal/plan":             {"internal/engine"},
	"internal/store":            {},
	"internal/build":            {"internal/engine"},
	"internal/ignore":           {},
	"internal/proto/gitd":       {},
	"internal/proto/idp":        {},
	"internal/proto/oci":        {},
	"internal/link":             {},
	"internal/endpoints":        {},
	"internal/install":          {"internal/endpoints", "internal/engine/kube", "internal/platform"},
	"internal/gateway":          {"internal/link", "internal/proto/idp", "internal/session"},
	"internal/control/access":   {},
	"internal/control/people":   {"internal/control/access", "internal/link", "internal/session", "internal/store"},
	"internal/control/apps":     {"internal/build", "internal/control/access", "internal/engine", "internal/engine/files", "internal/link", "internal/plan", "internal/store"},
	"internal/control/settings": {"internal/control/access", "internal/store"},
	"internal/pages":            {"internal/control/apps", "internal/control/people", "internal/control/access", "internal/session", "internal/web"},
	"internal/web":              {},
	"internal/api":              {"client", "examples", "internal/build", "internal/control/access", "internal/control/apps", "internal/control/people", "internal/control/settings", "internal/engine", "internal/store"},
	"internal/cli":              {"client", "internal/ignore"},
	"internal/platform":         {"internal/engine"},
	"internal/server/supervise": {},
	"internal/server": {
		"client", "internal/api", "internal/build", "internal/control/access", "internal/control/apps", "internal/control/people", "internal/control/settings", "internal/endpoints", "internal/engine",
		"internal/engine/kube", "internal/engine/proc", "internal/gateway", "internal/install", "internal/link", "internal/pages", "internal/platform",
		"internal/proto/gitd", "internal/proto/idp", "internal/proto/oci", "internal/image", "internal/server/supervise", "internal/session", "internal/store", "internal/cli", "internal/web",
	},
}

// homes names the only packages that may import a third party.
var homes = map[string][]string{
	"modernc.org/sqlite":                     {"internal/store"},
	"github.com/pressly/goose":               {"internal/store"},
	"github.com/jackc/pgx":                   {"internal/store", "internal/store/pgtest"},
	"github.com/containerd":                  {"internal/engine/proc"},
	"github.com/opencontainers":              {"internal/engine/proc", "internal/proto/oci"},
	"github.com/distribution":                {"internal/proto/oci"},
	"github.com/sirupsen/logrus":             {"internal/proto/oci"},
	"github.com/google/go-containerregistry": {"internal/image"},
	"github.com/vishvananda":                 {"internal/engine/proc"},
	"github.com/google/nftables":             {"internal/engine/proc"},
	"k8s.io":                                 {"internal/engine/kube", "internal/endpoints", "internal/install"},
	"sigs.k8s.io":                            {"internal/install"},
	"github.com/danielgtaylor/huma":          {"internal/api"},
	"github.com/spf13":                       {"internal/cli", "internal/server", "cmd/slipway"},
	"github.com/zitadel":                     {"internal/proto/idp"},
	"database/sql":                           {"internal/store"},
	"golang.org/x/crypto/ssh":                {"internal/control/people", "internal/platform", "internal/proto/gitd", "internal/server"},
	"github.com/go-jose/go-jose":             {"internal/session", "internal/proto/idp", "internal/control/people"},
	"go.yaml.in/yaml":                        {"internal/platform", "internal/install"},
	"github.com/prometheus/client_golang":    {"internal/gateway", "internal/server"},
}

// withoutHTTP are the use cases: they must not know how they are reached.
var withoutHTTP = []string{"", "internal/plan", "internal/store", "internal/control/access", "internal/control/people", "internal/control/settings"}

var forbiddenNames = []string{"util", "utils", "common", "shared", "helpers", "tools", "core", "misc", "models", "types", "manager"}

type source struct {
	path, dir string
	file      *ast.File
	fset      *token.FileSet
	lines     int
	test      bool
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); n == "testdata" || n == "data" || n == "bin" || n == "tools" || n == ".git" || n == "node_modules" {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if dir == "." {
			dir = ""
		}
		out = append(out, source{path, dir, f, fset, strings.Count(string(text), "\n"), strings.HasSuffix(path, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func importPaths(s source) []string {
	var out []string
	for _, i := range s.file.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		out = append(out, p)
	}
	return out
}

// free packages are not held to the table: they are tests and measurements.
func free(dir string) bool {
	return strings.HasPrefix(dir, "test/") || dir == "bench" || strings.HasPrefix(dir, "bench/") || strings.HasSuffix(dir, "test")
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || free(s.dir) {
			continue
		}
		allowed, known := imports[s.dir]
		if !known && !strings.HasPrefix(s.dir, "internal/base/") {
			t.Errorf("%s: package %q has no row in the import table", s.path, s.dir)
		}
		for _, p := range importPaths(s) {
			ours, mine := strings.CutPrefix(p, module)
			ours = strings.TrimPrefix(ours, "/")
			switch {
			case !mine && s.dir == "cmd/slipway-init" && strings.Contains(p, ".") && !strings.HasPrefix(p, "golang.org/x/sys/"):
				t.Errorf("%s imports %s: the init is small, and in every sandbox", s.path, p)
			case mine && strings.HasPrefix(s.dir, "internal/base/"):
				if !strings.HasPrefix(ours, "internal/base/") {
					t.Errorf("%s imports %s: base knows no product", s.path, p)
				}
			case mine && ours != "" && !strings.HasPrefix(ours, "internal/base/") && !slices.Contains(allowed, ours):
				t.Errorf("%s imports %s, which its row in the import table does not allow", s.path, p)
			}
			for lib, dirs := range homes {
				if (p == lib || strings.HasPrefix(p, lib+"/")) && !slices.Contains(dirs, s.dir) {
					t.Errorf("%s imports %s, whose home is %s", s.path, p, strings.Join(dirs, ", "))
				}
			}
			if p == "net/http" && slices.Contains(withoutHTTP, s.dir) {
				t.Errorf("%s imports net/http", s.path)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	comments := map[string]int{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if s.file.Doc != nil {
			comments[s.dir]++
		} else {
			comments[s.dir] += 0
		}
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("package %q has %d package comments, not one", dir, n)
		}
		if slices.Contains(forbiddenNames, filepath.Base(dir)) {
			t.Errorf("package %q: the name says nothing", dir)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > 600 && !ast.IsGenerated(s.file) {
			t.Errorf("%s has %d lines: at most 600", s.path, s.lines)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Body == nil || s.test {
					return true
				}
				if l := s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line; l > 100 {
					t.Errorf("%s: function %s has %d lines: at most 100", s.path, n.Name.Name, l)
				}
			case *ast.InterfaceType:
				if len(n.Methods.List) > 9 { // the engine's eight, and its layers
					t.Errorf("%s:%d: an interface of %d methods: at most 9", s.path, s.fset.Position(n.Pos()).Line, len(n.Methods.List))
				}
			}
			return true
		})
	}
}

func TestGoStatements(t *testing.T) {
	for _, s := range sources(t) {
		if s.dir == "internal/base/loop" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s:%d: a go statement: use package loop, so that it is waited for", s.path, s.fset.Position(g.Pos()).Line)
			}
			return true
		})
	}
}
