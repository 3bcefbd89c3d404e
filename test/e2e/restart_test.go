package e2e_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/test/rig"
)

// TestStopAndStart stops the platform as Ctrl-C does, which gives the machine
// back, and starts it again: people, apps and their URLs are as they were.
// Then it is killed, and its apps go on.
func TestStopAndStart(t *testing.T) {
	oneMachine(t, "Kubernetes starts and stops the pods")
	w := newWorld(t)
	push(t, w, "probe", "keeps")
	url := w.in.Hosts.App("keeps", false)
	text, err := w.fetch([]string{"alice", url})
	ok(t, err)
	ok(t, matches(text, []string{"^HTTP 200"}))

	status := w.run(t, "alice", "", "status")

	ok(t, w.in.Stop())
	if n := sandboxes(t, w.in); n != 0 {
		t.Errorf("%d sandboxes are left after the stop", n)
	}
	var log rig.Output
	o := w.in.Options
	o.Args = []string{"--listen", "127.0.0.1:" + w.in.Hosts.Port, "--ssh-listen", "127.0.0.1:" + w.in.Hosts.SSHPort}
	o.Out = &log
	again := func() {
		w.in, err = rig.Start(t.Context(), o)
		ok(t, err, log.String())
		ok(t, rig.Until(t.Context(), 30*time.Second, func() error {
			text, err := w.fetch([]string{"alice", url})
			if err == nil {
				err = matches(text, []string{"^HTTP 200"})
			}
			return err
		}), log.String())
	}
	again()
	if now := w.run(t, "alice", "", "status"); !strings.Contains(status, "SSH host key") || now != status {
		t.Errorf("the platform, and the key by which SSH is known, were\n%s\nand are\n%s", status, now)
	}

	before := sandboxes(t, w.in)
	w.in.Kill()
	if n := sandboxes(t, w.in); n != before || n == 0 {
		t.Errorf("of %d sandboxes %d go on after a crash", before, n)
	}
	again()
	if n := sandboxes(t, w.in); n != before {
		t.Errorf("of %d sandboxes %d were adopted", before, n)
	}
}

func sandboxes(t *testing.T, in *rig.Instance) int {
	t.Helper()
	pids, err := in.Sandboxes()
	ok(t, err)
	return len(pids)
}
