package gitd_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.work("main", map[string]string{"app.py": "one"})
	ids := []string{strings.TrimSpace(w.must(dir, "rev-parse", "HEAD"))}
	for _, message := range []string{"second\n\nwith a body", "thïrd \x1f odd"} {
		w.commit(dir, message, map[string]string{"app.py": message})
		ids = append(ids, strings.TrimSpace(w.must(dir, "rev-parse", "HEAD")))
	}
	w.must(dir, "push", w.remote("alice", "iris"), "main")
	none := strings.Repeat("0", 40)
	for name, tt := range map[string]struct {
		repo, from, to string
		limit          int
		want           []string // subjects
	}{
		"all":                   {"iris", "", ids[2], 10, []string{"thïrd \x1f odd", "second", "first"}},
		"since the first":       {"iris", ids[0], ids[2], 10, []string{"thïrd \x1f odd", "second"}},
		"shortened":             {"iris", ids[0][:10], ids[1][:10], 10, []string{"second"}},
		"no more than asked":    {"iris", "", ids[2], 1, []string{"thïrd \x1f odd"}},
		"backwards":             {"iris", ids[2], ids[0], 10, nil},
		"an upload before":      {"iris", "upload", ids[0], 10, []string{"first"}},
		"unknown to":            {"iris", ids[0], none, 10, nil},
		"unknown from":          {"iris", none, ids[2], 10, nil},
		"an option for to":      {"iris", "", "--all", 10, nil},
		"a branch for to":       {"iris", "", "main", 10, nil},
		"without a repository":  {"lily", "", ids[2], 10, nil},
		"an upload, no commits": {"iris", "", "", 10, nil},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := w.srv.History(t.Context(), tt.repo, tt.from, tt.to, tt.limit)
			if err != nil || list == nil || len(list) != len(tt.want) {
				t.Fatalf("%q %v, wanted %q", list, err, tt.want)
			}
			for i, c := range list {
				if c.Subject != tt.want[i] || c.Author != "a" || time.Since(c.At) > time.Hour || len(c.ID) != 40 {
					t.Errorf("%d: %+v, wanted %q", i, c, tt.want[i])
				}
			}
		})
	}
	for _, repo := range []string{"", "../iris", "a/b", "-x"} {
		if _, err := w.srv.History(t.Context(), repo, "", ids[0], 1); !errs.Is(err, errs.KindInvalid) {
			t.Errorf("%q: %v", repo, err)
		}
	}
}
