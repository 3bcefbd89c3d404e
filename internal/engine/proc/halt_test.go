package proc_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/proc"
)

// TestHaltGivesBack: the last engine of a machine leaves none of what they
// share; while another runs, it stays.
func TestHaltGivesBack(t *testing.T) {
	h := open(t) // runs
	parent := "/sys/fs/cgroup/memory/slipway"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		parent = "/sys/fs/cgroup/slipway"
	}
	if _, err := os.Stat(parent); err != nil {
		t.Skip("no memory controller to look at: " + err.Error())
	}
	other, err := os.MkdirTemp("/tmp", "slw") //nolint:usetesting // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(other); err != nil {
			t.Error(err)
		}
	})
	opt := proc.Options{Root: filepath.Join(other, "engine"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	e, err := proc.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := proc.Halt(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(parent); err != nil {
		t.Error("it was taken from an engine that runs:", err)
	}
	if err := h.Engine.(*proc.Engine).Close(); err != nil {
		t.Fatal(err)
	}
	enginetest.Await(t, "the last one gives it back", func() bool {
		f, err := os.Open("/run/slipway-engine.lock")
		if err != nil {
			t.Fatal(err)
		}
		alone := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := proc.Halt(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(parent)
		return err != nil || !alone // another package's tests need it
	})
}
