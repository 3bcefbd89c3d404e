package proc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/engine"
)

// Info implements engine.Engine.
func (e *Engine) Info(context.Context) (engine.Info, error) {
	i := engine.Info{
		Engine: "proc", Isolation: engine.IsolationFull, Why: strings.Join(e.why, "; "),
		MemoryEnforced: e.cg.has["memory"], Egress: e.net != nil || e.slirp != nil, SharedVolumes: true, Pythons: e.pythons(),
	}
	if e.rootless != nil {
		i.Isolation = engine.IsolationRootless
	}
	if e.plain {
		i.Isolation = engine.IsolationNone
	}
	total, available := meminfo()
	i.Memory = engine.Quota{Used: total - available, Limit: total}
	return i, nil
}

func meminfo() (total, available int64) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "MemTotal:":
			total = n << 10
		case "MemAvailable:":
			available = n << 10
		}
	}
	return total, available
}

// pythons finds the minor versions that a sandbox sees, newest last.
func (e *Engine) pythons() []string {
	var vs []string
	for _, dir := range append([]string{"/usr/bin", "/usr/local/bin"}, e.opt.ReadOnly...) {
		for _, pattern := range []string{"python3.*", "bin/python3.*"} {
			found, _ := filepath.Glob(filepath.Join(dir, pattern))
			for _, f := range found {
				v := strings.TrimPrefix(filepath.Base(f), "python")
				if _, err := strconv.Atoi(strings.TrimPrefix(v, "3.")); err == nil && !slices.Contains(vs, v) {
					vs = append(vs, v)
				}
			}
		}
	}
	slices.SortFunc(vs, func(a, b string) int {
		x, _ := strconv.Atoi(a[2:])
		y, _ := strconv.Atoi(b[2:])
		return x - y
	})
	return vs
}

// Usage implements engine.Engine.
func (e *Engine) Usage(context.Context) ([]engine.Usage, error) {
	type running struct {
		id  engine.ReplicaRef
		cid string
		pid int
	}
	var rs []running
	e.mu.Lock()
	for _, ob := range e.objects {
		for _, r := range ob.replicas {
			if r.pid != 0 {
				rs = append(rs, running{r.id, r.cid, r.pid})
			}
		}
	}
	e.mu.Unlock()
	var us []engine.Usage
	var procs processes
	counted := e.rootless != nil || e.plain
	if counted {
		procs = readProcesses()
	}
	for _, r := range rs {
		u := engine.Usage{ID: r.id, At: time.Now().UTC()}
		if counted {
			u.MemoryBytes, u.CPU, u.PIDs = procs.usage(r.pid)
		} else {
			u.MemoryBytes, u.CPU, u.PIDs = e.cg.usage(r.cid)
		}
		us = append(us, u)
	}
	return us, nil
}
