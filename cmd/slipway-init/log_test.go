package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"slipway.dev/slipway/internal/engine/inside"
)

// kept reads the texts in a log file.
func kept(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for l := range bytes.Lines(b) {
		_, _, text, ok := inside.ParseLine(bytes.TrimSuffix(l, []byte{'\n'}))
		if !ok {
			t.Errorf("kept %q", l)
		}
		all = append(all, text)
	}
	return all
}

func TestCopyCutsLines(t *testing.T) {
	long := strings.Repeat("x", inside.MaxLine)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"lines":    {"a\nb\n", []string{"a", "b"}},
		"no end":   {"a\nb", []string{"a", "b"}},
		"windows":  {"a\r\n\r\n", []string{"a", ""}},
		"long":     {long + "yz\nb\n", []string{long, "yz", "b"}},
		"exact":    {long + "\nb\n", []string{long, "b"}},
		"very":     {long + long + "e", []string{long, long, "e"}},
		"nothing":  {"", nil},
		"byte 255": {"\xff\n", []string{"\uFFFD"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := openLog(dir)
			if err != nil {
				t.Fatal(err)
			}
			copyLines(iotest.OneByteReader(strings.NewReader(c.in)), false, w.lines)
			copyLines(strings.NewReader(c.in), true, w.lines)
			got := kept(t, filepath.Join(dir, inside.LogFile))
			if want := append(append([]string{}, c.want...), c.want...); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("kept %d lines: %.60q", len(got), got)
			}
		})
	}
}

func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	w, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 1000)
	for range 3 * inside.LogBytes / 1000 {
		w.line(time.Now(), false, line)
	}
	w.line(time.Now(), false, []byte("last"))
	for _, name := range []string{inside.LogFile, inside.LogOld} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > inside.LogBytes+2000 {
			t.Errorf("%s has %d bytes", name, st.Size())
		}
	}
	got := kept(t, filepath.Join(dir, inside.LogFile))
	if got[len(got)-1] != "last" {
		t.Errorf("the last line is %.20q", got[len(got)-1])
	}
}
