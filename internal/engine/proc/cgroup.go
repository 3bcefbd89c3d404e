package proc

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
)

const (
	cgroupRoot   = "/sys/fs/cgroup"
	cgroupParent = "slipway" // our part, outside of the launcher's own: sandboxes outlive it
)

// cgroups knows which version and which controllers the machine has.
type cgroups struct {
	unified bool
	has     map[string]bool
}

func findCgroups() cgroups {
	c := cgroups{has: map[string]bool{}}
	var st unix.Statfs_t
	if unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
		c.unified = true
		b, _ := os.ReadFile(cgroupRoot + "/cgroup.controllers")
		for _, f := range strings.Fields(string(b)) {
			c.has[f] = true
		}
		c.has["cpuacct"] = true
		return c
	}
	for _, name := range []string{"memory", "cpu", "cpuacct", "pids", "freezer", "devices"} {
		_, err := os.Stat(filepath.Join(cgroupRoot, name, "cgroup.procs"))
		c.has[name] = err == nil
	}
	return c
}

// prepare makes the parents and tells what is missing.
func (c cgroups) prepare() string {
	if err := os.MkdirAll(c.parent("memory"), 0o755); err != nil || !c.has["memory"] {
		c.has["memory"] = false
		return "memory limits are not enforced: this machine has no usable memory controller"
	}
	if c.unified {
		// runc turns controllers on below its parents; ours must have them first.
		_ = os.WriteFile(filepath.Join(cgroupRoot, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0)
		_ = os.WriteFile(filepath.Join(cgroupRoot, cgroupParent, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0)
	}
	return ""
}

// parent is the folder that holds all sandboxes' cgroups of a controller.
func (c cgroups) parent(controller string) string {
	if c.unified {
		return filepath.Join(cgroupRoot, cgroupParent)
	}
	return filepath.Join(cgroupRoot, controller, cgroupParent)
}

// drop removes the parents, unless there are sandboxes below.
func (c cgroups) drop() {
	if c.unified {
		_ = os.Remove(c.parent("")) // fails when it is in use
		return
	}
	dirs, _ := os.ReadDir(cgroupRoot)
	for _, d := range dirs {
		_ = os.Remove(c.parent(d.Name()))
	}
}

// oomFile counts the kills for lack of memory; relative to parent("memory").
func (c cgroups) oomFile(cid string) string {
	if c.unified {
		return cid + "/memory.events"
	}
	return cid + "/memory.oom_control"
}

// remove deletes what runc left of a sandbox's cgroups.
func (c cgroups) remove(ctx context.Context, cid string) error {
	names := []string{""}
	if !c.unified {
		names = names[:0]
		dirs, _ := os.ReadDir(cgroupRoot)
		for _, d := range dirs {
			names = append(names, d.Name())
		}
	}
	for _, n := range names {
		dir := filepath.Join(c.parent(n), cid)
		for try := 0; ; try++ {
			err := os.Remove(dir)
			if err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			if !errors.Is(err, unix.EBUSY) || try == 200 {
				return err
			}
			// The kernel takes a moment for a dead process to leave.
			if err := loop.Sleep(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// number reads a file of one number, or of a line "key number".
func number(path, key string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	if key == "" {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		return n, err == nil
	}
	for l := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), key+" "); ok {
			n, err := strconv.ParseInt(v, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// usage reads memory without the page cache that can go, CPU time and processes.
func (c cgroups) usage(cid string) (memory int64, cpu time.Duration, pids int64) {
	if c.unified {
		dir := filepath.Join(c.parent(""), cid)
		memory, _ = number(dir+"/memory.current", "")
		idle, _ := number(dir+"/memory.stat", "inactive_file")
		us, _ := number(dir+"/cpu.stat", "usage_usec")
		pids, _ = number(dir+"/pids.current", "")
		return max(0, memory-idle), time.Duration(us) * time.Microsecond, pids
	}
	memory, _ = number(filepath.Join(c.parent("memory"), cid, "memory.usage_in_bytes"), "")
	idle, _ := number(filepath.Join(c.parent("memory"), cid, "memory.stat"), "total_inactive_file")
	ns, _ := number(filepath.Join(c.parent("cpuacct"), cid, "cpuacct.usage"), "")
	pids, _ = number(filepath.Join(c.parent("pids"), cid, "pids.current"), "")
	return max(0, memory-idle), time.Duration(ns), pids
}

// procStat reads the state letter and the start time of a process.
func procStat(pid int) (state byte, start uint64, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, 0, false
	}
	// The name in parentheses may hold anything.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, false
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, 0, false
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return f[0][0], start, err == nil
}
