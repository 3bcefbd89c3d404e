package kube

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/logfile"
)

// said is a log as the kubelet tells it: n lines at two a microsecond.
func said(n int) []string {
	var all []string
	for i := range n {
		at := time.Unix(1_700_000_000, int64(i)*500).UTC()
		mark := ""
		if i%3 == 0 {
			mark = "\x1e"
		}
		all = append(all, fmt.Sprintf("%s %sline %d\n", at.Format("2006-01-02T15:04:05.000000000Z07:00"), mark, i))
	}
	return all
}

func feed(t *testing.T, path string, lines []string, torn string) {
	t.Helper()
	w := &logFile{path: path}
	for _, part := range []string{path + ".1", path} {
		if err := w.recall(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	repeated := 0
	for _, l := range lines {
		if err := w.keep([]byte(l), &repeated); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.f.WriteString(torn); err != nil {
		t.Fatal(err)
	}
	w.close()
}

func readAll(t *testing.T, path string) []engine.LogLine {
	t.Helper()
	r, err := logfile.Open(engine.LogQuery{}, func() ([]logfile.File, bool, error) {
		return []logfile.File{{Path: path, Older: path + ".1"}}, true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []engine.LogLine
	for {
		l, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

// However often the copying is cut and begun again, with all that the kubelet
// still has, every line is there once.
func TestLogsResumeWithoutLossOrRepetition(t *testing.T) {
	lines := said(60)
	for cut := range len(lines) {
		path := filepath.Join(t.TempDir(), "0-x.log")
		feed(t, path, lines[:cut], "1700000000000")
		feed(t, path, lines[max(0, cut-20):min(len(lines), cut+5)], "")
		feed(t, path, lines, "")
		got := readAll(t, path)
		if len(got) != len(lines) {
			t.Fatalf("cut at %d: %d lines, want %d", cut, len(got), len(lines))
		}
		for i, l := range got {
			if l.Text != fmt.Sprintf("line %d", i) || l.Stderr != (i%3 == 0) {
				t.Fatalf("cut at %d: line %d is %+v", cut, i, l)
			}
		}
	}
}

func TestLogsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0-x.log")
	text := strings.Repeat("x", 10_000)
	var lines []string
	for i := range 1500 {
		lines = append(lines, fmt.Sprintf("%s %s\n", time.Unix(int64(i), 0).UTC().Format(time.RFC3339Nano), text))
	}
	feed(t, path, lines, "")
	feed(t, path, lines, "")
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > 5<<20 {
			t.Errorf("%s has %d bytes", p, st.Size())
		}
	}
	got := readAll(t, path)
	if last := got[len(got)-1]; last.Time.Unix() != 1499 {
		t.Errorf("the last line is from %v", last.Time)
	}
}
