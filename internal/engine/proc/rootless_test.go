package proc_test

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/proc"
)

// asNobody says to this program that it is the one that TestRootless started.
const asNobody = "SLIPWAY_TEST_ROOTLESS"

func isolation() engine.Isolation {
	if os.Getenv(asNobody) != "" {
		return engine.IsolationRootless
	}
	return engine.IsolationFull
}

// TestRootless runs the tests of sandboxes as an ordinary user. Only it sees
// that this user has subordinate ids, and the device of networks as Debian has it.
func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become another user")
	}
	for _, p := range []string{"runc", "newuidmap", "setpriv", "unshare"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skip("needs " + p)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "slwr") //nolint:usetesting // t.TempDir belongs to root alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "proc.test")
	for name, text := range map[string][]byte{"subids": []byte("nobody:1900000000:65536\n"), "proc.test": b} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-ec",
		`for f in /etc/subuid /etc/subgid; do mount --bind "$1/subids" $f; done
		if test -c /dev/net/tun; then mknod -m 666 "$1/tun" c 10 200; chmod 666 "$1/tun"; mount --bind "$1/tun" /dev/net/tun; fi; shift; exec setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"`, "sh", dir,
		program, "-test.v", "-test.timeout=9m", "-test.run=^("+strings.Join([]string{
			"TestContract", "TestSandboxHasWhatAppsNeed", "TestLostTask", "TestDeadSandboxIsMadeAgain", "TestRestartsWithoutEngine",
			"TestTaskRunsOnceOverCrashes", "TestCrashHelper", "TestRootlessKeepsIn", "TestRootlessIsTold", "TestEgress", "TestRootlessNetworkEnds",
		}, "|")+")$")
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), asNobody+"=1", "HOME=/nonexistent")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	t.Logf("%s", out)
	if n := strings.Count(string(out), "\n--- PASS"); n < 8 {
		t.Errorf("only %d tests passed:\n%s", n, out)
	}
}

// TestRootlessKeepsIn tries what a sandbox must not allow, as user of a user.
func TestRootlessKeepsIn(t *testing.T) {
	if isolation() != engine.IsolationRootless {
		t.Skip("runs below TestRootless")
	}
	h := open(t)
	// The machine's addresses must not answer, nor what stands for it inside.
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	closed := []string{"127.0.0.1:" + port}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil {
			closed = append(closed, ip.IP.String()+":"+port)
		}
	}
	resolv, err := os.ReadFile(filepath.Dir(filepath.Dir(h.Link)) + "/engine/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	if ns, ok := strings.CutPrefix(strings.TrimSpace(string(resolv)), "nameserver "); ok {
		for _, last := range []string{".2:", ".3:"} {
			closed = append(closed, ns[:strings.LastIndexByte(ns, '.')]+last+port)
		}
	}
	out, exit := task(t, h.Engine, "attack", strings.ReplaceAll(enginetest.Attack, "< 100000", "< 1000"), func(k *engine.Task) {
		k.Env = append(k.Env, engine.Var{Name: "CLOSED", Value: secret.New(strings.Join(closed, " "))})
	})
	if exit.Failed() || out != "done" {
		t.Errorf("%+v:\n%s", exit, out)
	}
	out, _ = task(t, h.Engine, "fork", `
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0: time.sleep(60)
        n += 1
except BlockingIOError: print('bounded', n < 50)
`, func(k *engine.Task) { k.Limits.PIDs = 50 })
	if out != "bounded True" {
		t.Errorf("processes without end: %s", out)
	}
	// Two apps are two users: a file of one is closed to the other.
	owner := func(scope string) string {
		k := enginetest.Task(scope, "who", enginetest.ProgramPass)
		k.Command = []string{"/bin/sh", "-c", "id -u"}
		if err := h.Engine.Apply(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		enginetest.Await(t, scope+" tells who it is", func() bool { return enginetest.Printed(t, h.Engine, k.ID) != "" })
		return enginetest.Printed(t, h.Engine, k.ID)
	}
	if a, b := owner("one"), owner("two"); a == b || a == "0" || b == "0" {
		t.Errorf("apps are users %s and %s", a, b)
	}
}

// TestRootlessIsTold: what is missing without root is no secret, and a folder
// stays with the isolation that it was made with.
func TestRootlessIsTold(t *testing.T) {
	if isolation() != engine.IsolationRootless {
		t.Skip("runs below TestRootless")
	}
	h := open(t)
	i, err := h.Engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if i.Isolation != engine.IsolationRootless || i.MemoryEnforced || !strings.Contains(i.Why, "not enforced") || i.Egress == strings.Contains(i.Why, "no network") {
		t.Errorf("it says %+v", i)
	}
	if err := proc.Preflight(engine.IsolationFull, "/tmp/x"); !errs.Is(err, errs.KindUnsupported) || !strings.Contains(errs.Message(err), "isolation: rootless") {
		t.Errorf("full isolation without root: %v", err)
	}
}

// TestRootlessFolderStaysSo: user numbers of a user namespace are people's
// outside of it.
func TestRootlessFolderStaysSo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("sandboxes need root")
	}
	root := filepath.Join(t.TempDir(), "e")
	if len(root) > 60 {
		root = "/tmp/" + filepath.Base(filepath.Dir(filepath.Dir(root)))[:8] + "slw"
		t.Cleanup(func() { _ = os.RemoveAll(root) })
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "isolation.json"), []byte(`"rootless"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := proc.New(proc.Options{Root: root, Log: slog.New(slog.DiscardHandler)}); !errs.Is(err, errs.KindConflict) {
		t.Errorf("opened it with %v", err)
	}
}

// TestRootlessNetworkEnds: the process beside a sandbox goes with it, also
// when the sandbox is killed and made again.
func TestRootlessNetworkEnds(t *testing.T) {
	if isolation() != engine.IsolationRootless {
		t.Skip("runs below TestRootless")
	}
	h := open(t)
	i, err := h.Engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !i.Egress {
		t.Skip("no egress here: " + i.Why)
	}
	mark := "--api-socket=" + filepath.Dir(filepath.Dir(h.Link)) + "/"
	beside := func() (n int) {
		found, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), mark) {
				n++
			}
		}
		return n
	}
	w := enginetest.Workload("app", "web", enginetest.ProgramSleep)
	w.Egress = engine.EgressInternet
	if err := h.Engine.Apply(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	up := func(restarts int) func() bool {
		return func() bool {
			s, err := h.Engine.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			r := s.Workloads[0].Replicas
			return len(r) == 1 && r[0].Phase == engine.PhaseRunning && r[0].Restarts >= restarts
		}
	}
	enginetest.Await(t, "it runs", up(0))
	if err := unix.Kill(initPID(t, h), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "it runs again", up(1))
	h.Engine = h.Reopen()
	if n := beside(); n != 1 {
		t.Errorf("%d processes serve the network of one sandbox", n)
	}
	if err := h.Engine.Remove(t.Context(), w.ID); err != nil {
		t.Fatal(err)
	}
	if n := beside(); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}
