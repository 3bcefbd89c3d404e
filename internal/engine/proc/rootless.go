package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// isolationFile marks a folder whose user numbers mean what they mean inside a
// user namespace.
const isolationFile = "isolation.json"

// subIDs is how many subordinate ids a user must have; it is what useradd gives.
const subIDs = 65536

// rootless is what an engine of an ordinary user works with. In a sandbox, user
// 0 is that user and belongs to the init alone; apps are the user's subordinate
// ids, so that they can touch neither the engine's files nor each other's. With
// a single id for all, an app could put links into its init's private folder,
// through which the engine would write: that is refused, not offered.
type rootless struct {
	uid, gid       int
	subUID, subGID int // the first subordinate ids: number 1 inside
	mapUID, mapGID string
}

// findRootless tells, as Unsupported, why this user can have no sandboxes. It
// runs a program in a user namespace, and leaves nothing.
func findRootless() (*rootless, error) {
	r := &rootless{uid: os.Geteuid(), gid: os.Getegid()}
	if r.uid == 0 {
		return nil, errs.Unsupported("isolation %q is not available here: it is for an ordinary user, and slipway runs as root; leave the setting out, or set it to full", engine.IsolationRootless)
	}
	for _, p := range []struct {
		name string
		path *string
	}{{"newuidmap", &r.mapUID}, {"newgidmap", &r.mapGID}} {
		found, err := findProgram(p.name)
		if err != nil {
			return nil, errs.Wrap(err, errs.KindUnsupported, "isolation %q needs %s: install it with `apt-get install uidmap`", engine.IsolationRootless, p.name)
		}
		*p.path = found
	}
	name := strconv.Itoa(r.uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	for _, f := range []struct {
		path  string
		first *int
	}{{"/etc/subuid", &r.subUID}, {"/etc/subgid", &r.subGID}} {
		first, ok := subRange(f.path, name, r.uid)
		if !ok {
			return nil, errs.Unsupported("isolation %q needs %d subordinate ids for %s in %s, so that apps are users of their own: "+
				"as root, run `usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST %s` with %d numbers that nobody has",
				engine.IsolationRootless, subIDs, name, f.path, name, subIDs)
		}
		*f.first = first
	}
	// A mount namespace needs the rights that some machines give to nobody.
	if err := r.run(context.Background(), nil, "unshare", "--mount", "true"); err != nil {
		return nil, errs.Wrap(err, errs.KindUnsupported, "isolation %q needs user namespaces, which this machine does not give to ordinary users (%v): "+
			"look at the sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns",
			engine.IsolationRootless, err)
	}
	return r, nil
}

// subRange finds a range that is large enough, by name or number.
func subRange(path, name string, uid int) (first int, ok bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	for l := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) != 3 || f[0] != name && f[0] != strconv.Itoa(uid) {
			continue
		}
		start, err1 := strconv.Atoi(f[1])
		count, err2 := strconv.Atoi(f[2])
		if errors.Join(err1, err2) == nil && start > 0 && count >= subIDs {
			return start, true
		}
	}
	return 0, false
}

// run runs a program as user 0 of a user namespace like the sandboxes', where
// the apps' files are its own. The program holds the engine's lock, so that
// none of it goes on when another engine begins.
func (r *rootless) run(ctx context.Context, lock *os.File, args ...string) (err error) {
	// The shell waits for the mapping; what it then becomes has the rights of user 0.
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", `read -r go && exec "$@"`, "sh"}, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER}
	if lock != nil {
		cmd.ExtraFiles = []*os.File{lock}
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = r.mapIDs(ctx, cmd.Process.Pid)
	if err == nil {
		_, err = io.WriteString(in, "go\n")
	}
	_ = in.Close()
	if werr := cmd.Wait(); err == nil && werr != nil {
		err = fmt.Errorf("%s: %w: %s", args[0], werr, bytes.TrimSpace(said.Bytes()))
	}
	return err
}

func (r *rootless) mapIDs(ctx context.Context, pid int) error {
	for _, m := range []struct {
		program  string
		own, sub int
	}{{r.mapUID, r.uid, r.subUID}, {r.mapGID, r.gid, r.subGID}} {
		out, err := exec.CommandContext(ctx, m.program, strconv.Itoa(pid),
			"0", strconv.Itoa(m.own), "1", "1", strconv.Itoa(m.sub), strconv.Itoa(subIDs)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", filepath.Base(m.program), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// adapt makes the sandbox one of an ordinary user: a user namespace, and none
// of the limits that cgroups would hold. What the kernel counts per user it
// counts per app, because each is a user of its own.
func (r *rootless) adapt(s *specs.Spec, pids int64) {
	l := s.Linux
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	l.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(r.uid), Size: 1}, {ContainerID: 1, HostID: uint32(r.subUID), Size: subIDs}}
	l.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(r.gid), Size: 1}, {ContainerID: 1, HostID: uint32(r.subGID), Size: subIDs}}
	l.CgroupsPath, l.Resources = "", nil
	limit := func(name string, kind int, want uint64) specs.POSIXRlimit {
		var own unix.Rlimit
		if unix.Getrlimit(kind, &own) == nil {
			want = min(want, own.Max) // more is root's to give
		}
		return specs.POSIXRlimit{Type: name, Soft: want, Hard: want}
	}
	s.Process.Rlimits = []specs.POSIXRlimit{
		limit("RLIMIT_NOFILE", unix.RLIMIT_NOFILE, 16384), limit("RLIMIT_NPROC", unix.RLIMIT_NPROC, uint64(pids)), {Type: "RLIMIT_CORE"},
	}
}

// claim keeps a folder with one kind of user numbers: as root's, those of a user
// namespace would be people's.
func (e *Engine) claim() error {
	path, mine := filepath.Join(e.opt.Root, isolationFile), engine.IsolationFull
	if e.rootless != nil {
		mine = engine.IsolationRootless
	}
	if e.plain {
		mine = engine.IsolationNone
	}
	was := engine.IsolationFull
	marked, err := inside.Read(path, &was)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(e.opt.Root, "uids.json")); !marked && mine != was && errors.Is(err, os.ErrNotExist) {
		return inside.Write(path, mine)
	}
	if mine != was {
		return errs.Conflict("the folder %s was made with isolation %s, not %s: set `isolation: %s`, or choose another folder with --data", e.opt.Root, was, mine, was)
	}
	return nil
}

// Files of apps are another user's. As root, the engine needs nobody's leave;
// without, it becomes user 0 of a user namespace where it must.

func (e *Engine) chmod(path string, mode os.FileMode) error {
	err := os.Chmod(path, mode)
	if e.rootless != nil && errors.Is(err, os.ErrPermission) {
		return nil // an app's already, which it may change as it likes
	}
	return err
}

// chown gives a file or folder, not what is in it, to an app.
func (e *Engine) chown(path string, uid int) error {
	if e.plain {
		return nil // all is the engine's
	}
	if e.rootless == nil {
		return os.Chown(path, uid, uid)
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) == nil && int(st.Uid) == e.rootless.subUID+uid-1 {
		return nil
	}
	return e.asRoot("chown", "-h", fmt.Sprintf("%d:%d", uid, uid), "--", path)
}

// give gives a tree to an app.
func (e *Engine) give(dir string, uid int) error {
	if e.plain {
		return nil
	}
	if e.rootless == nil {
		return own(dir, uid, 0)
	}
	return e.asRoot("chown", "-hR", fmt.Sprintf("%d:%d", uid, uid), "--", dir)
}

// take makes a tree that an app wrote a layer's.
func (e *Engine) take(dir string) error {
	if e.plain {
		return own(dir, -1, 0o022)
	}
	if e.rootless == nil {
		return own(dir, 0, 0o022)
	}
	// Writable by the engine, which could not delete a layer otherwise.
	if err := e.asRoot("sh", "-c", `chown -hR 0:0 -- "$1" && chmod -R u+rwX -- "$1"`, "sh", dir); err != nil {
		return err
	}
	return own(dir, -1, 0o022)
}

func (e *Engine) removeAll(path string) error {
	err := os.RemoveAll(path)
	if e.rootless == nil || err == nil {
		return err
	}
	return e.asRoot("rm", "-rf", "--", path)
}

// asRoot is not cut short: half a change of owners is nobody's.
func (e *Engine) asRoot(args ...string) error {
	return e.rootless.run(context.Background(), e.locked, args...)
}

// withoutRoot says what the engine cannot do.
func (e *Engine) withoutRoot() {
	e.cg = cgroups{has: map[string]bool{}}
	e.why = append(e.why,
		"apps run without root: limits of memory and CPU are not enforced")
	var why string
	if e.slirp, why = e.rootless.findSlirp(context.Background(), e.locked); why != "" {
		e.why = append(e.why, why)
	}
}
