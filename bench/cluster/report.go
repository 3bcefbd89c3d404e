package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"slipway.dev/slipway/bench/measure"
	"slipway.dev/slipway/test/cluster"
)

// report is printed as it comes; a whole run keeps it as README.md beside
// this program.
type report struct {
	load                     string // of the machine before the run
	measures, pushes, faults [][]string
}

func newReport() *report {
	load, _ := os.ReadFile("/proc/loadavg") // Linux has it
	first, _, _ := strings.Cut(string(load), " ")
	return &report{load: first}
}

// measure adds a row; without a target there is no verdict.
func (r *report) measure(name, value, target string, ok bool) {
	word := map[bool]string{true: "ok", false: "missed"}[ok]
	if target == "" {
		word = ""
	}
	r.measures = append(r.measures, show(name, value, target, word))
}

func (r *report) push(row ...string)  { r.pushes = append(r.pushes, show(row...)) }
func (r *report) fault(row ...string) { r.faults = append(r.faults, show(row...)) }

func show(row ...string) []string {
	fmt.Fprintln(os.Stdout, "| "+strings.Join(row, " | ")+" |")
	return row
}

func (r *report) write(root string) error {
	var s strings.Builder
	fmt.Fprintf(&s, "# Measurements on Kubernetes\n\nMade by `make bench-cluster` on %s: Kubernetes %s with two nodes, the load and all that is\nmeasured share one machine (%s, %d cores, Go %s; load average before: %s).\n",
		time.Now().Format(time.DateOnly), cluster.Version, measure.CPU(), runtime.NumCPU(), runtime.Version(), r.load)
	table(&s, "", []string{"measure", "value", "target", ""}, r.measures)
	table(&s, "Pushes of a change of the code, step by step, in seconds", []string{"push → live", "steps"}, r.pushes)
	table(&s, "Faults", []string{"fault", "who opens the app", "who asks the API", "all as before after"}, r.faults)
	return os.WriteFile(filepath.Join(root, "bench", "cluster", "README.md"), []byte(s.String()), 0o644)
}

func table(s *strings.Builder, title string, head []string, rows [][]string) {
	if title != "" {
		fmt.Fprintf(s, "\n## %s\n", title)
	}
	fmt.Fprintf(s, "\n| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, r := range rows {
		fmt.Fprintf(s, "| %s |\n", strings.Join(r, " | "))
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
