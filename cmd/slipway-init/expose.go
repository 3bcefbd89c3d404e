package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// reach tells who can reach a port of this pod.
type reach int

const (
	closed    reach = iota
	loopback        // only the pod itself, over IPv4
	loopback6       // only the pod itself, over IPv6
	open
)

// expose makes a program that listens on the loopback only reachable at the
// pod's address. Until the program listens nothing does, so that the kubelet
// sees when it is ready.
func expose(ctx context.Context, g *loop.Group, ip string, port int) error {
	wait := loop.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		to := ""
		switch reachOf(port) {
		case open:
			return nil
		case loopback:
			to = "tcp://127.0.0.1:"
		case loopback6:
			to = "tcp://[::1]:"
		case closed:
		}
		p := strconv.Itoa(port)
		if to != "" && lead(g, net.JoinHostPort(ip, p), func(ctx context.Context) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return dial.Dial(ctx, to+p)
		}) == nil {
			return nil
		}
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

func reachOf(port int) reach {
	found := closed
	for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(f)
		if err == nil {
			found = max(found, reachIn(b, port))
		}
	}
	return found
}

// reachIn reads a table of the kernel's sockets. Addresses are in hexadecimal,
// each four bytes of them backwards.
func reachIn(table []byte, port int) reach {
	found := closed
	for l := range bytes.Lines(table) {
		f := bytes.Fields(l)
		if len(f) < 4 || string(f[3]) != "0A" { // listening
			continue
		}
		addr, p, ok := bytes.Cut(f[1], []byte{':'})
		n, err := strconv.ParseUint(string(p), 16, 16)
		if !ok || err != nil || int(n) != port {
			continue
		}
		switch {
		case bytes.HasSuffix(addr, []byte("7F")) && (len(addr) == 8 || bytes.HasPrefix(addr, []byte("0000000000000000FFFF0000"))):
			found = max(found, loopback)
		case string(addr) == "00000000000000000000000001000000":
			found = max(found, loopback6)
		default:
			return open
		}
	}
	return found
}

// tellUsage answers each connection with what this pod uses.
func tellUsage(g *loop.Group, ip string) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(inside.UsagePort))) //nolint:noctx // once, at the start
	if err != nil {
		return // an app may live without
	}
	g.Go("usage", func(ctx context.Context) error {
		for {
			c, err := l.Accept()
			if err != nil {
				_ = loop.Sleep(ctx, 10*time.Millisecond)
				continue
			}
			_ = c.SetDeadline(time.Now().Add(time.Second))
			_ = json.NewEncoder(c).Encode(usage("/sys/fs/cgroup")) // who asked may have gone
			_ = c.Close()
		}
	})
}

// usage reads the pod's cgroup, of version 2 or 1.
func usage(root string) inside.Usage {
	var u inside.Usage
	read := func(file, key string) int64 {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return 0
		}
		for l := range bytes.Lines(b) {
			f := bytes.Fields(l)
			if key == "" && len(f) == 1 || len(f) == 2 && string(f[0]) == key {
				n, _ := strconv.ParseInt(string(f[len(f)-1]), 10, 64)
				return n
			}
		}
		return 0
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		u.MemoryBytes = read("memory.current", "") - read("memory.stat", "inactive_file")
		u.CPU = time.Duration(read("cpu.stat", "usage_usec")) * time.Microsecond
		u.PIDs = read("pids.current", "")
		return u
	}
	u.MemoryBytes = read("memory/memory.usage_in_bytes", "") - read("memory/memory.stat", "total_inactive_file")
	u.CPU = time.Duration(read("cpuacct/cpuacct.usage", ""))
	u.PIDs = read("pids/pids.current", "")
	return u
}

// oomFile is where the kernel counts what it killed for lack of memory.
func oomFile() string {
	for _, f := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		if _, err := os.Stat(f); err == nil {
			return f
		}
	}
	return ""
}
