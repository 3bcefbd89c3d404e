package kube

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/internal/engine"
)

func TestNamesAreValidAndUnique(t *testing.T) {
	long := strings.Repeat("a", 63)
	seen := map[string]engine.Ref{}
	for _, kind := range []engine.Kind{engine.KindWorkload, engine.KindTask, engine.KindVolume} {
		for _, scope := range []string{"app", "a", "0", "app_1", "app.1", "app-1", long, "a-"} {
			for _, name := range []string{"web-v12", "predeploy-dep_01", "9", "x.", "x_", long, "1-web"} {
				ref := engine.Ref{Kind: kind, Scope: scope, Name: name}
				n := objectName("slipway", ref)
				if e := validation.IsDNS1035Label(n); len(e) != 0 {
					t.Errorf("%s is named %q: %q", ref, n, e)
				}
				if old, ok := seen[n]; ok {
					t.Errorf("%s and %s are both named %q", old, ref, n)
				}
				seen[n] = ref
				if got, ok := parseRef(ref.String()); !ok || got != ref {
					t.Errorf("%s became %s", ref, got)
				}
				for _, l := range []string{labelValue(scope), labelValue(name)} {
					if e := validation.IsValidLabelValue(l); len(e) != 0 {
						t.Errorf("label %q: %q", l, e)
					}
				}
			}
		}
	}
	if objectName("one", engine.Ref{Scope: "a", Name: "b"}) == objectName("two", engine.Ref{Scope: "a", Name: "b"}) {
		t.Error("two owners have one name")
	}
	if labelValue("x.") == labelValue("x_") {
		t.Error("two names have one label")
	}
}

func TestUIDs(t *testing.T) {
	a, again := uid("a"), uid("a")
	if a == uid("b") || a != again || a < 100_000 || a > 1<<31 {
		t.Errorf("users %d and %d", uid("a"), uid("b"))
	}
}
