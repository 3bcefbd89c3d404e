package inside_test

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"
	"unicode/utf8"

	"slipway.dev/slipway/internal/engine/inside"
)

func TestNextDelay(t *testing.T) {
	d, want := time.Duration(0), []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}
	for i, w := range want {
		if d = inside.NextDelay(d, time.Second); d != w {
			t.Errorf("wait %d is %v, want %v", i, d, w)
		}
	}
	if d = inside.NextDelay(d, time.Minute); d != inside.BackoffMin {
		t.Errorf("after a long life the wait is %v", d)
	}
}

func TestWriteRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), inside.StateFile)
	var s inside.State
	if ok, err := inside.Read(path, &s); ok || err != nil {
		t.Errorf("read nothing: %v, %v", ok, err)
	}
	want := inside.State{Phase: inside.Backoff, Restarts: 2, Since: time.Unix(1, 0).UTC(), Exit: &inside.Exit{Code: 3}}
	if err := inside.Write(path, want); err != nil {
		t.Fatal(err)
	}
	if ok, err := inside.Read(path, &s); !ok || err != nil || s.Restarts != 2 || s.Exit.Code != 3 || !s.Since.Equal(want.Since) {
		t.Errorf("read %+v, %v, %v", s, ok, err)
	}
}

func FuzzLine(f *testing.F) {
	f.Add(int64(1), false, []byte("hello"))
	f.Add(int64(-5), true, []byte{0xff, ' '})
	f.Fuzz(func(t *testing.T, us int64, stderr bool, text []byte) {
		if bytes.ContainsRune(text, '\n') {
			t.Skip("lines have no end inside")
		}
		b := inside.AppendLine(nil, time.UnixMicro(us), stderr, text)
		at, gotErr, got, ok := inside.ParseLine(bytes.TrimSuffix(b, []byte{'\n'}))
		if !ok || gotErr != stderr || at.UnixMicro() != us || !utf8.ValidString(got) {
			t.Errorf("%q became %v %v %q %v", b, at, gotErr, got, ok)
		}
		if utf8.Valid(text) && got != string(text) {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func FuzzParseLine(f *testing.F) {
	f.Add([]byte("1 1 x"))
	f.Fuzz(func(_ *testing.T, b []byte) { inside.ParseLine(b) })
}
