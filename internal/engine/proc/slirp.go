package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// slirp connects sandboxes without root: a process of slirp4netns beside each
// opens the sandbox's connections as the platform's user would. What a firewall
// of the machine forbids to interfaces, here rules inside the sandbox forbid,
// which are set before the program starts and which it has no right to change.
type slirp struct {
	program, nft, nsenter string
	cidr, nameserver      string
}

// findSlirp tells what is missing for a network without root.
func (r *rootless) findSlirp(ctx context.Context, lock *os.File) (*slirp, string) {
	s := &slirp{}
	for _, p := range []struct {
		name string
		path *string
	}{{"slirp4netns", &s.program}, {"nft", &s.nft}, {"nsenter", &s.nsenter}} {
		var err error
		if *p.path, err = findProgram(p.name); err != nil {
			return nil, "apps have no network: without root it needs " + p.name + "; install it with `apt-get install slirp4netns nftables`"
		}
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, "apps have no network: without root it needs /dev/net/tun: " + err.Error()
	}
	_ = tun.Close()
	if err := r.run(ctx, lock, "unshare", "--net", s.nft, "add", "table", "inet", "slipway"); err != nil {
		return nil, "apps have no network, because the rules inside (nftables) could not be set: " + err.Error()
	}
	var n network
	if err := n.findPool(); err != nil {
		return nil, "apps have no network: " + err.Error()
	}
	block := n.pool.Addr()
	s.cidr, s.nameserver = block.String()+"/24", block.Next().Next().Next().String()
	return s, ""
}

// addresses are the machine's own, which no app may reach.
func addresses() ([]string, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var own []string
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			own = append(own, n.IP.String())
		}
	}
	slices.Sort(own)
	return slices.Compact(own), nil
}

// forbid replaces the rules inside the sandbox of process pid.
func (s *slirp) forbid(ctx context.Context, pid int, own []string) error {
	var rules strings.Builder
	rules.WriteString("add table inet slipway\ndelete table inet slipway\ntable inet slipway {\nchain output {\n" +
		"type filter hook output priority 0; policy accept;\noifname \"lo\" accept\nmeta nfproto ipv6 reject with icmpx type admin-prohibited\n")
	for _, proto := range []string{"udp", "tcp"} {
		fmt.Fprintf(&rules, "ip daddr %s %s dport 53 accept\n", s.nameserver, proto)
	}
	for _, a := range slices.Concat(shut, []string{s.cidr}, own) {
		fmt.Fprintf(&rules, "ip daddr %s reject with icmpx type admin-prohibited\n", a)
	}
	rules.WriteString("}\n}\n")
	cmd := exec.CommandContext(ctx, s.nsenter, "--target", strconv.Itoa(pid), "--user", "--net", "--preserve-credentials", s.nft, "-f", "-")
	cmd.Stdin = strings.NewReader(rules.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set the rules of the network inside: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// attach forbids, then connects.
func (s *slirp) attach(ctx context.Context, r *replica, pid int) error {
	if err := slirpDetach(ctx, r); err != nil {
		return err
	}
	own, err := addresses()
	if err != nil {
		return err
	}
	if err := s.forbid(ctx, pid, own); err != nil {
		return err
	}
	log, err := os.OpenFile(r.path("slirp.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	ready, done, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	// The shell leaves it behind, so that it outlives this process as the sandbox does.
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `"$@" </dev/null &`, "sh", s.program,
		"--configure", "--mtu=65520", "--cidr="+s.cidr, "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
		"--ready-fd=3", slirpMark(r), strconv.Itoa(pid), "eth0")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, []*os.File{done}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := errors.Join(cmd.Run(), done.Close()); err != nil {
		return err
	}
	if err := ready.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		said, _ := os.ReadFile(r.path("slirp.log"))
		return fmt.Errorf("slirp4netns: %w: %s", err, bytes.TrimSpace(said))
	}
	return nil
}

// slirpMark is the argument by which the process beside a replica is known: no
// file of ours could name it before it runs.
func slirpMark(r *replica) string { return "--api-socket=" + r.path("slirp.sock") }

// slirpDetach ends the process beside the replica, if there is one.
func slirpDetach(ctx context.Context, r *replica) error {
	mark := []byte("\x00" + slirpMark(r) + "\x00")
	for range 500 {
		left := false
		found, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			return err
		}
		for _, f := range found {
			if b, err := os.ReadFile(f); err != nil || !bytes.Contains(b, mark) {
				continue
			}
			left = true
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				return err
			}
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if !left {
			return nil
		}
		if err := loop.Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the network process of %s does not end", r.cid)
}

// guard writes the rules anew when the machine gets another address.
func (e *Engine) guard(ctx context.Context) error {
	last, err := addresses()
	if err != nil {
		return err
	}
	for first := true; loop.Sleep(ctx, time.Second) == nil; first = false {
		own, err := addresses()
		if err != nil {
			e.opt.Log.Error("cannot read this machine's addresses", "error", err)
			continue
		}
		if !first && slices.Equal(own, last) {
			continue
		}
		whole := true
		for _, pid := range e.connected() {
			if err := e.slirp.forbid(ctx, pid, own); err != nil && ctx.Err() == nil {
				if _, _, lives := procStat(pid); lives {
					whole = false
					e.opt.Log.Error("an app may reach a new address of this machine; trying again", "error", err)
				}
			}
		}
		if whole {
			last = own
		}
	}
	return nil
}

// connected are the processes of the sandboxes that have a network.
func (e *Engine) connected() (pids []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ob := range e.objects {
		for _, r := range ob.replicas {
			if r.pid != 0 && ob.rec.Egress == engine.EgressInternet {
				pids = append(pids, r.pid)
			}
		}
	}
	return pids
}
