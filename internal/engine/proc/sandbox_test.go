package proc_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
)

// task runs a Python program to its end and returns what it printed.
func task(t *testing.T, e engine.Engine, name, script string, change func(*engine.Task)) (string, *engine.Exit) {
	t.Helper()
	k := enginetest.Python(name, script)
	if change != nil {
		change(&k)
	}
	return enginetest.RunTask(t, e, k)
}

func TestSandboxKeepsIn(t *testing.T) {
	h := open(t)
	// The machine's loopback, its address and another app must not answer.
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var closed []string
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil {
			closed = append(closed, ip.IP.String()+":"+port)
		}
	}
	other := enginetest.Workload("other", "web", enginetest.ProgramServe)
	other.Egress = engine.EgressInternet
	other.Command[2] = strings.Replace(other.Command[2], "'127.0.0.1'", "'0.0.0.0'", 1)
	other.Command[2] = strings.Replace(other.Command[2], "print('ready'",
		"import socket; u = socket.socket(type=socket.SOCK_DGRAM); u.connect(('10.0.0.1', 9)); print(u.getsockname()[0]", 1)
	if err := h.Engine.Apply(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	var otherIP string
	enginetest.Await(t, "the other app has an address", func() bool {
		otherIP = enginetest.Printed(t, h.Engine, other.ID)
		return otherIP != ""
	})
	parts := strings.Split(otherIP, ".")
	last, _ := strconv.Atoi(parts[3])
	for d := -1; d <= 0; d++ { // its address, and the machine's end
		closed = append(closed, fmt.Sprintf("%s.%d:8050", strings.Join(parts[:3], "."), last+d), fmt.Sprintf("%s.%d:%s", strings.Join(parts[:3], "."), last+d, port))
	}
	out, exit := task(t, h.Engine, "attack", enginetest.Attack, func(k *engine.Task) {
		k.Env = append(k.Env, engine.Var{Name: "CLOSED", Value: secret.New(strings.Join(closed, " "))})
	})
	if exit.Failed() || out != "done" {
		t.Errorf("%+v:\n%s", exit, out)
	}
	out, _ = task(t, h.Engine, "alone", `
import socket
for t in (("1.1.1.1", 443), ("10.0.0.1", 80)):
    try: socket.create_connection(t, timeout=2); print("open")
    except OSError: pass
print([l.split(":")[0].strip() for l in open("/proc/net/dev").read().splitlines()[2:]])`, func(k *engine.Task) { k.Egress = engine.EgressNone })
	if out != "['lo']" {
		t.Errorf("without egress: %s", out)
	}
}

func TestSandboxHasWhatAppsNeed(t *testing.T) {
	h := open(t)
	ls := h.Engine.Layers()
	for name, body := range map[string]string{"env-1": "#!/bin/sh\necho from env\n", "src-1": "print('app')"} {
		if err := ls.Put(t.Context(), name, enginetest.Tar(t, enginetest.Entry{Name: "bin/tool", Body: body})); err != nil {
			t.Fatal(err)
		}
	}
	out, exit := task(t, h.Engine, "look", `
import os, sys, pwd, ssl, subprocess, multiprocessing, tempfile
print(os.getcwd(), os.environ['HOME'], os.environ['PATH'].split(':')[0], os.environ['USER'], pwd.getpwuid(os.getuid()).pw_name)
print(sys.version_info[:2] >= (3, 9), open('/app/bin/tool').read(), len(ssl.create_default_context().get_ca_certs()) > 0)
print(os.environ['GIVEN'], os.environ['LANG'], tempfile.gettempdir(), os.cpu_count() > 0)
print(subprocess.run(['sh', '-c', 'cat ~/x; echo $0; ls /dev/fd/ >/dev/null && echo fd'], capture_output=True, text=True).stdout.split())
with multiprocessing.Pool(2) as p: print(p.map(abs, [-1, -2]))
open(os.path.expanduser('~/f'), 'w').write('x')
`, func(k *engine.Task) {
		k.Layers = []engine.Layer{{Name: "env-1", At: "/env"}, {Name: "src-1", At: "/app"}}
		k.Env = append(k.Env, engine.Var{Name: "GIVEN", Value: secret.New("a b")})
	})
	want := "/app /home/app /env/bin app app\nTrue print('app') True\na b C.UTF-8 /tmp True\n['sh', 'fd']\n[1, 2]"
	if exit.Failed() || out != want {
		t.Errorf("%+v:\n%s\nwant:\n%s", exit, out, want)
	}
}

// TestEgress reaches a server on another network of this machine, by NAT.
func TestEgress(t *testing.T) {
	h := open(t)
	i, err := h.Engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !i.Egress {
		t.Skip("no egress here: " + i.Why)
	}
	if os.Getenv("SLIPWAY_TEST_ONLINE") == "" {
		t.Skip("set SLIPWAY_TEST_ONLINE to fetch a package")
	}
	out, exit := task(t, h.Engine, "pip", `
import subprocess, sys
r = subprocess.run([sys.executable, '-m', 'pip', 'download', '--no-deps', '--no-cache-dir', '-d', '/tmp/w', 'six'], capture_output=True, text=True)
print(r.stdout, r.stderr); sys.exit(r.returncode)`, func(k *engine.Task) {
		k.Env = append(k.Env, engine.Var{Name: "PIP_CERT", Value: secret.New("/etc/ssl/certs/ca-certificates.crt")})
	})
	if exit.Failed() {
		t.Errorf("%+v:\n%s", exit, out)
	}
}

// initPID finds PID 1 of the only sandbox.
func initPID(t *testing.T, h enginetest.Harness) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Dir(filepath.Dir(h.Link)) + "/engine/runc/*/state.json")
	if err != nil || len(found) != 1 {
		t.Fatalf("sandboxes: %v, %v", found, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte(`"init_process_pid":`))
	n, _, _ := bytes.Cut(rest, []byte(","))
	pid, err := strconv.Atoi(string(n))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestLostTask(t *testing.T) {
	h := open(t)
	k := enginetest.Task("app", "predeploy", enginetest.ProgramSleep)
	if err := h.Engine.Apply(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	phase := func() engine.Phase {
		s, err := h.Engine.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Tasks[0].Replica.Phase
	}
	enginetest.Await(t, "it runs", func() bool { return phase() == engine.PhaseRunning })
	if err := unix.Kill(initPID(t, h), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it is lost", func() bool { return phase() == engine.PhaseLost })
	h.Engine = h.Reopen()
	if err := h.Engine.Apply(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if got := phase(); got != engine.PhaseLost {
		t.Errorf("after a restart it is %s", got)
	}
}

func TestDeadSandboxIsMadeAgain(t *testing.T) {
	h := open(t)
	w := enginetest.Workload("app", "web", enginetest.ProgramServe)
	w.Egress = engine.EgressInternet
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	var r engine.Replica
	up := func(restarts int) func() bool {
		return func() bool {
			s, err := h.Engine.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Workloads[0].Replicas) == 1 {
				r = s.Workloads[0].Replicas[0]
			}
			return r.Phase == engine.PhaseRunning && r.Restarts >= restarts
		}
	}
	enginetest.Await(t, "it runs", up(0))
	if err := unix.Kill(initPID(t, h), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it runs again", up(1))
	if r.Exit == nil || r.Exit.Message == "" {
		t.Errorf("its end was %+v", r.Exit)
	}
}

// TestRestartsWithoutEngine kills a program while nobody watches.
func TestRestartsWithoutEngine(t *testing.T) {
	h := open(t)
	w := enginetest.Workload("app", "web", enginetest.ProgramFail)
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	count := func() int { return strings.Count(enginetest.Printed(t, h.Engine, w.ID), "out") }
	enginetest.Await(t, "it ran", func() bool { return count() > 0 })
	if err := h.Engine.(interface{ Close() error }).Close(); err != nil {
		t.Fatal(err)
	}
	n := count() // the files go on
	enginetest.Await(t, "it ran again without an engine", func() bool { return count() > n })
	h.Engine = h.Reopen()
}

// TestNothingIsLeft looks at what the kernel keeps for a sandbox.
func TestNothingIsLeft(t *testing.T) {
	h := open(t)
	w := enginetest.Workload("app", "web", enginetest.ProgramSleep)
	w.Egress, w.Replicas = engine.EgressInternet, 2
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it runs", func() bool {
		us, err := h.Engine.Usage(t.Context())
		return err == nil && len(us) == 2 && us[0].PIDs > 1 && us[1].PIDs > 1
	})
	dirs, err := filepath.Glob(filepath.Dir(filepath.Dir(h.Link)) + "/engine/runc/*")
	if err != nil || len(dirs) != 2 {
		t.Fatalf("sandboxes: %v, %v", dirs, err)
	}
	kept := func() (n int) {
		for _, d := range dirs {
			sum := sha256.Sum256([]byte(filepath.Base(d)))
			if _, err := net.InterfaceByName("slw" + hex.EncodeToString(sum[:6])); err == nil {
				n++
			}
			for _, glob := range []string{"/sys/fs/cgroup/slipway/", "/sys/fs/cgroup/*/slipway/"} {
				found, err := filepath.Glob(glob + filepath.Base(d))
				if err != nil {
					t.Fatal(err)
				}
				n += len(found)
			}
		}
		return n
	}
	if n := kept(); n < 4 {
		t.Fatalf("the kernel keeps only %d things for two sandboxes", n)
	}
	if err := h.Engine.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if n := kept(); n != 0 {
		t.Errorf("the kernel keeps %d things", n)
	}
}

// BenchmarkStart measures from Apply to a running program, network included:
// all of it is the sandbox's.
func BenchmarkStart(b *testing.B) {
	h := openTB(b)
	for i := range b.N {
		w := enginetest.Workload("app", "web-"+strconv.Itoa(i), enginetest.ProgramSleep)
		w.Egress = engine.EgressInternet
		if err := h.Engine.Apply(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		for running := false; !running; {
			_ = loop.Sleep(b.Context(), time.Millisecond)
			s, err := h.Engine.Observe(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			running = s.Workloads[0].Replicas[0].Phase == engine.PhaseRunning
		}
		b.StopTimer()
		if err := h.Engine.Remove(b.Context(), w.ID); err != nil {
			b.Fatal(err)
		}
		_ = loop.Sleep(b.Context(), 200*time.Millisecond) // the kernel is done with the last one
		b.StartTimer()
	}
}
