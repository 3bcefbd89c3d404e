package proc

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

const (
	home     = "/home/app"
	hostname = "app"
	// Where programs may run the init. Its other place is in the private folder,
	// which they cannot enter.
	initAt = "/run/" + engine.Init
)

// bundle writes everything that runc and the init need to start a replica.
func (e *Engine) bundle(rec record, r *replica) error {
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"", 0o700}, {privDir, 0o700}, {"home", 0o700}, {"tmp", 0o1777 | os.ModeSticky}} {
		if err := os.MkdirAll(r.path(d.name), 0o700); err != nil {
			return err
		}
		if err := e.chmod(r.path(d.name), d.mode.Perm()|d.mode&os.ModeSticky); err != nil {
			return err
		}
	}
	if err := e.chown(r.path("home"), rec.UID); err != nil {
		return err
	}
	if e.plain {
		return e.plainSpec(rec, r)
	}
	root, err := e.rootfs(rec.UID)
	if err != nil {
		return err
	}
	mounts, err := e.mounts(rec, r)
	if err != nil {
		return err
	}
	init := inside.Spec{
		Args: rec.Command, Env: environment(rec), Dir: "/app", UID: rec.UID, Port: rec.Port, Grace: rec.Grace,
		Deadline: rec.Deadline, Once: r.task, Wait: e.networked(rec),
	}
	if e.cg.has["memory"] {
		init.OOM = filepath.Join(inside.Dir, inside.Cgroup, e.cg.oomFile(r.cid))
	}
	for _, l := range rec.Links {
		name := filepath.Base(e.opt.Links[l.Target])
		init.Links = append(init.Links, inside.Link{Port: l.Port, To: "unix://" + filepath.Join(inside.Dir, inside.Links, l.Target, name)})
	}
	if err := inside.Write(r.priv(inside.SpecFile), init); err != nil {
		return err
	}
	b, err := json.Marshal(e.config(rec, r, root, mounts))
	if err != nil {
		return err
	}
	return os.WriteFile(r.path("config.json"), b, 0o600)
}

// environment is what the engine gives, then what was asked for.
func environment(rec record) []string {
	path := "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
	for _, l := range slices.Concat(rec.Layers, rec.Keep) {
		if l.At == "/env" {
			path = "/env/bin:" + strings.TrimPrefix(path, "/env/bin:")
		}
	}
	env := []string{"HOME=" + home, "USER=app", "LOGNAME=app", "PATH=" + path, "TMPDIR=/tmp", "LANG=C.UTF-8"}
	for _, v := range rec.Env {
		name, _, _ := strings.Cut(v, "=")
		env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		env = append(env, v)
	}
	return env
}

func bind(src, at string, ro bool, opts ...string) specs.Mount {
	m := specs.Mount{Destination: at, Source: src, Type: "bind", Options: append([]string{"rbind", "nosuid", "nodev"}, opts...)}
	if ro {
		m.Options = append(m.Options, "ro")
	}
	return m
}

// systemDirs are the machine's programs; some are links into /usr.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"}

// mounts makes the sandbox's file system: the machine's programs, read-only,
// and nothing else of the machine.
func (e *Engine) mounts(rec record, r *replica) ([]specs.Mount, error) {
	ms := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=256m"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
	}
	for _, d := range systemDirs {
		if st, err := os.Lstat(d); err == nil && st.IsDir() {
			ms = append(ms, bind(d, d, true))
		}
	}
	ms = append(ms, bind(filepath.Join(e.opt.Root, "etc"), "/etc", true))
	for _, name := range etcMounted {
		if _, err := os.Stat("/etc/" + name); err == nil {
			ms = append(ms, bind("/etc/"+name, "/etc/"+name, true))
		}
	}
	ms = append(ms, bind(r.path("tmp"), "/tmp", false),
		bind(r.path("home"), home, false),
		bind(r.path(privDir), inside.Dir, false, "noexec"),
		bind(e.init, filepath.Join(inside.Dir, inside.InitFile), true),
		bind(e.init, initAt, true))
	if e.cg.has["memory"] {
		ms = append(ms, bind(e.cg.parent("memory"), filepath.Join(inside.Dir, inside.Cgroup), true))
	}
	seen := map[string]bool{}
	for _, l := range rec.Links {
		if !seen[l.Target] {
			seen[l.Target] = true
			// The folder, not the socket: the platform may make a new one.
			ms = append(ms, bind(filepath.Dir(e.opt.Links[l.Target]), filepath.Join(inside.Dir, inside.Links, l.Target), true))
		}
	}
	for _, d := range e.opt.ReadOnly {
		ms = append(ms, bind(d, d, true))
	}
	own, err := e.ownMounts(rec, r)
	return append(ms, own...), err
}

// ownMounts are layers, kept folders and volumes, outer folders first.
func (e *Engine) ownMounts(rec record, r *replica) ([]specs.Mount, error) {
	var ms []specs.Mount
	kept := map[string]bool{}
	for i, k := range rec.Keep {
		dir := r.path(fmt.Sprintf("keep/%d", i))
		if err := e.fillKept(rec, k, dir); err != nil {
			return nil, err
		}
		kept[k.At] = true
		ms = append(ms, bind(dir, k.At, false))
	}
	for _, l := range rec.Layers {
		if !kept[l.At] {
			ms = append(ms, bind(e.layers.path(l.Name), l.At, true))
		}
	}
	e.mu.Lock()
	for _, m := range rec.Mounts {
		if v := e.volumes[m.Volume]; v != nil {
			ms = append(ms, bind(filepath.Join(v.dir, "data"), m.Path, m.ReadOnly))
		}
	}
	e.mu.Unlock()
	slices.SortStableFunc(ms, func(a, b specs.Mount) int { return cmp.Compare(len(a.Destination), len(b.Destination)) })
	return ms, nil
}

// config is what runc reads.
func (e *Engine) config(rec record, r *replica, root string, mounts []specs.Mount) *specs.Spec {
	// What the init needs to become the app's user and to end its processes.
	// The program itself has none of it: see slipway-init.
	caps := []string{"CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_KILL"}
	ns := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace},
		{Type: specs.MountNamespace},
		{Type: specs.IPCNamespace},
		{Type: specs.UTSNamespace},
		{Type: specs.NetworkNamespace},
	}
	s := &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: []string{filepath.Join(inside.Dir, inside.InitFile)}, Env: []string{"GOMAXPROCS=2", "GOGC=50"}, Cwd: "/",
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: true,
			Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 16384, Hard: 16384}, {Type: "RLIMIT_CORE"}},
		},
		Root:     &specs.Root{Path: root, Readonly: true},
		Hostname: hostname,
		Mounts:   mounts,
		Linux: &specs.Linux{
			Namespaces:  ns,
			CgroupsPath: "/" + cgroupParent + "/" + r.cid,
			Resources:   e.resources(rec.Limits),
			Sysctl:      sysctls(),
			Seccomp:     seccomp(),
			MaskedPaths: []string{
				"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
				"/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/fs", "/sys/kernel/debug",
			},
			ReadonlyPaths: []string{"/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	if e.rootless != nil {
		e.rootless.adapt(s, cmp.Or(rec.Limits.PIDs, e.opt.PIDs))
	}
	return s
}

func sysctls() map[string]string {
	m := map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
	if _, err := os.Stat("/proc/sys/net/ipv6/conf"); err == nil {
		m["net.ipv6.conf.all.disable_ipv6"], m["net.ipv6.conf.default.disable_ipv6"] = "1", "1"
	}
	return m
}

func (e *Engine) resources(l engine.Limits) *specs.LinuxResources {
	res := &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}
	if e.cg.has["memory"] {
		n := cmp.Or(l.MemoryBytes, e.opt.Memory)
		res.Memory = &specs.LinuxMemory{Limit: &n}
	}
	if e.cg.has["pids"] {
		n := cmp.Or(l.PIDs, e.opt.PIDs)
		res.Pids = &specs.LinuxPids{Limit: &n}
	}
	if e.cg.has["cpu"] {
		shares := uint64(min(max(cmp.Or(l.MilliCPU, 500)*1024/1000, 2), 262144))
		res.CPU = &specs.LinuxCPU{Shares: &shares}
	}
	return res
}
