package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/engine/inside"
)

func TestReachIn(t *testing.T) {
	const head = "  sl  local_address rem_address   st tx_queue\n"
	for name, c := range map[string]struct {
		table string
		want  reach
	}{
		"nothing":       {"", closed},
		"another port":  {"   0: 0100007F:1F73 00000000:0000 0A 0\n", closed},
		"connected":     {"   0: 0100007F:1F72 0100007F:9999 01 0\n", closed},
		"loopback":      {"   0: 0100007F:1F72 00000000:0000 0A 0\n", loopback},
		"127.0.0.2":     {"   0: 0200007F:1F72 00000000:0000 0A 0\n", loopback},
		"any":           {"   0: 00000000:1F72 00000000:0000 0A 0\n", open},
		"the pod":       {"   0: 0504F40A:1F72 00000000:0000 0A 0\n", open},
		"both":          {"   0: 0100007F:1F72 0:0 0A 0\n   1: 00000000:1F72 0:0 0A 0\n", open},
		"any6":          {"   0: 00000000000000000000000000000000:1F72 0:0 0A 0\n", open},
		"loopback6":     {"   0: 00000000000000000000000001000000:1F72 0:0 0A 0\n", loopback6},
		"loopback as 6": {"   0: 0000000000000000FFFF00000100007F:1F72 0:0 0A 0\n", loopback},
		"torn":          {"   0: 0100", closed},
	} {
		if got := reachIn([]byte(head+c.table), 8050); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestExpose(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	g := newGroup()
	// Another address of the machine's loopback stands for the pod's.
	if err := expose(t.Context(), g, "127.0.0.77", l.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	res, err := http.Get("http://127.0.0.77:" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "hello" {
		t.Errorf("it answers %q", b)
	}
}

func TestPodLogMarksStderr(t *testing.T) {
	var out bytes.Buffer
	keep := podLog(&out)
	keep(time.Now(), false, [][]byte{[]byte("a"), []byte("b")})
	keep(time.Now(), true, [][]byte{[]byte("c")})
	if want := "a\nb\n" + string(inside.StderrMark) + "c\n"; out.String() != want {
		t.Errorf("wrote %q", out.String())
	}
}

// write makes files; a value that begins with -> is a link.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, body := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, ok := strings.CutPrefix(body, "->"); ok {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(body), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFillCopies(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	write(t, from, map[string]string{"a": "a", "d/b": "b", "d/l": "->/usr/bin/python3"})
	old := time.Unix(1e9, 0)
	if err := errors.Join(os.Chtimes(filepath.Join(from, "a"), old, old), os.Chmod(filepath.Join(from, "a"), 0o444)); err != nil {
		t.Fatal(err)
	}
	if code := fill([]string{from, to}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	st, err := os.Stat(filepath.Join(to, "a"))
	if err != nil || !st.ModTime().Equal(old) || st.Mode().Perm() != 0o644 {
		t.Errorf("the copy is %v, %v", st, err)
	}
	if l, err := os.Readlink(filepath.Join(to, "d/l")); l != "/usr/bin/python3" || err != nil {
		t.Errorf("the link is %q, %v", l, err)
	}
}

// inbox is an engine that answers in turn what it is told to.
func inbox(t *testing.T, answers ...int) (task, *[]string) {
	t.Helper()
	var said []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		said = append(said, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization")+" "+string(b))
		w.WriteHeader(answers[min(len(said), len(answers))-1])
		_, _ = io.WriteString(w, "because")
	}))
	t.Cleanup(srv.Close)
	return task{Object: "app-x", Inbox: strings.TrimPrefix(srv.URL, "http://"), Path: "/engine/", Token: "secret"}, &said
}

func TestBegin(t *testing.T) {
	tk, said := inbox(t, 503, 204)
	if err := tk.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(*said) != 2 || (*said)[0] != (*said)[1] || !strings.HasPrefix((*said)[0], "POST /engine/begin?object=app-x Bearer secret /") {
		t.Errorf("it asked %q", *said)
	}
	tk, _ = inbox(t, 409)
	if err := tk.begin(t.Context()); err == nil || err.Error() != "because" {
		t.Errorf("a refused start: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tk, _ = inbox(t, 503)
	if err := tk.begin(ctx); err == nil {
		t.Error("it began without leave")
	}
}

func TestKeepSendsTheFolder(t *testing.T) {
	dir := t.TempDir()
	big := strings.Repeat("x", 1<<20)
	write(t, dir, map[string]string{"a": big, "d/b": "b", "l": "->/usr/bin/python3"})
	tk, said := inbox(t, 204)
	if err := tk.keep(1, dir); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut((*said)[0], "secret ")
	if !strings.Contains(head, "/engine/keep?object=app-x&folder=1") {
		t.Errorf("it said %q", head)
	}
	got := map[string]string{}
	for r := tar.NewReader(strings.NewReader(body)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r)
		got[h.Name] = string(b) + h.Linkname
		if h.Uid != 0 || h.Mode&0o444 != 0o444 {
			t.Errorf("%s is %o of %d", h.Name, h.Mode, h.Uid)
		}
	}
	if len(got) != 4 || got["a"] != big || got["d/b"] != "b" || got["l"] != "/usr/bin/python3" {
		t.Errorf("the folder has %d entries: %.80q", len(got), got)
	}
	if err := tk.keep(0, filepath.Join(dir, "none")); err == nil {
		t.Error("kept a folder that is not there")
	}
}

func TestUsageReadsBothCgroups(t *testing.T) {
	two, one := t.TempDir(), t.TempDir()
	write(t, two, map[string]string{
		"cgroup.controllers": "", "memory.current": "1000\n", "memory.stat": "anon 1\ninactive_file 100\n",
		"cpu.stat": "usage_usec 5\nuser_usec 3\n", "pids.current": "7\n",
	})
	write(t, one, map[string]string{
		"memory/memory.usage_in_bytes": "1000\n", "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
		"cpuacct/cpuacct.usage": "5000\n", "pids/pids.current": "7\n",
	})
	for _, root := range []string{two, one} {
		if u := usage(root); u != (inside.Usage{MemoryBytes: 900, CPU: 5 * time.Microsecond, PIDs: 7}) {
			t.Errorf("usage is %+v", u)
		}
	}
}
