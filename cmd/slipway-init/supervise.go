package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// supervisor runs the program again and again. One goroutine owns it; only
// the door and the log writer are used beside it.
type supervisor struct {
	dir   string
	spec  inside.Spec
	state inside.State
	log   *logWriter
	keep  sink
	door  *door
	group *loop.Group

	chld, term chan os.Signal
	stopping   bool
}

func run(dir string, spec inside.Spec) error {
	logw, err := openLog(dir)
	if err != nil {
		return err
	}
	s := &supervisor{
		dir: dir, spec: spec, log: logw, keep: logw.lines, group: newGroup(),
		chld: make(chan os.Signal, 1), term: make(chan os.Signal, 1),
	}
	if _, err := inside.Read(s.path(inside.StateFile), &s.state); err != nil {
		s.state = inside.State{}
	}
	if os.Getpid() != 1 {
		// Without a PID namespace, what the program forgets must come here too.
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	s.listen()
	s.door, err = openDoor(s.group, s.path(inside.Socket), spec.Port)
	if err != nil {
		return err
	}
	for _, l := range spec.Links {
		if err := openLink(s.group, l); err != nil {
			return err
		}
	}
	return s.run()
}

func newGroup() *loop.Group {
	return loop.New(context.Background(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

func (s *supervisor) listen() {
	signal.Notify(s.chld, unix.SIGCHLD)
	signal.Notify(s.term, unix.SIGTERM, unix.SIGINT)
}

func (s *supervisor) path(name string) string { return s.dir + "/" + name }

func (s *supervisor) set(p inside.Phase) error {
	if s.dir == "" { // a pod: the kubelet tells
		return nil
	}
	s.state.Phase, s.state.Since = p, time.Now().UTC()
	return inside.Write(s.path(inside.StateFile), s.state)
}

func (s *supervisor) run() error {
	if s.spec.Wait {
		if err := s.set(inside.Waiting); err != nil {
			return err
		}
		select {
		case <-s.door.ready:
		case <-s.term:
			return s.set(inside.Stopped)
		}
	}
	for {
		start := time.Now()
		exit, err := s.once()
		if err != nil {
			return err
		}
		s.state.Exit = &exit
		switch {
		case s.spec.Once:
			return s.set(inside.Exited)
		case s.stopping:
			return s.set(inside.Stopped)
		}
		delay := inside.NextDelay(time.Duration(s.state.Delay)*time.Millisecond, time.Since(start))
		s.state.Delay, s.state.NotBefore = delay.Milliseconds(), time.Now().Add(delay).UTC()
		if err := s.set(inside.Backoff); err != nil {
			return err
		}
		s.log.line(time.Now(), true, []byte(fmt.Sprintf("slipway: the program %s; it starts again in %s", describe(exit), delay)))
		if s.wait(delay) {
			return s.set(inside.Stopped)
		}
		s.state.Restarts++
		s.state.NotBefore = time.Time{}
	}
}

func describe(e inside.Exit) string {
	switch {
	case e.OOM:
		return "was killed because it needed more memory than its limit"
	case e.Signal != 0:
		return "was ended by signal " + strconv.Itoa(e.Signal)
	}
	return "exited with code " + strconv.Itoa(e.Code)
}

// wait waits for d while reaping; it reports whether TERM came.
func (s *supervisor) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-s.chld:
			s.reap(0)
		case <-s.term:
			return true
		case <-t.C:
			return false
		}
	}
}

// once runs the program to its end, and whatever it left behind.
func (s *supervisor) once() (inside.Exit, error) {
	kills := s.kills()
	out, err := openPipes(s.group, s.keep)
	if err != nil {
		return inside.Exit{}, err
	}
	pid, err := s.start(out)
	out.closeChild()
	if err != nil {
		return inside.Exit{}, err
	}
	if err := s.set(inside.Running); err != nil {
		return inside.Exit{}, err
	}
	ws, late := s.watch(pid)
	s.killAll(pid)
	out.drain()
	exit := inside.Exit{At: time.Now().UTC()}
	if ws.Signaled() {
		exit.Signal, exit.Code = int(ws.Signal()), 128+int(ws.Signal())
	} else {
		exit.Code = ws.ExitStatus()
	}
	if exit.Code != 0 && !s.stopping && !late && s.kills() > kills {
		exit.OOM, exit.Message = true, "it needed more memory than its limit"
	}
	if late {
		exit.Message = fmt.Sprintf("it was not done within %s", s.spec.Deadline)
	}
	return exit, nil
}

func (s *supervisor) start(out *output) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	argv := append([]string{"slipway-init", "child", strconv.Itoa(s.spec.UID), s.spec.Dir}, s.spec.Args...)
	return syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{
		Env:   s.spec.Env,
		Files: []uintptr{null.Fd(), out.stdout.Fd(), out.stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// watch waits for the end of pid; after TERM or the deadline, of everything.
func (s *supervisor) watch(pid int) (ws syscall.WaitStatus, late bool) {
	var kill, deadline <-chan time.Time
	if s.spec.Deadline > 0 {
		t := time.NewTimer(s.spec.Deadline)
		defer t.Stop()
		deadline = t.C
	}
	end := func() {
		_ = unix.Kill(-pid, unix.SIGTERM)
		if kill == nil {
			kill = time.After(s.spec.Grace)
		}
	}
	done := false
	for {
		w, found, none := s.reap(pid)
		if found {
			ws, done = w, true
		}
		if done && (none || kill == nil) {
			return ws, late
		}
		select {
		case <-s.chld:
		case <-s.term:
			// The engine repeats itself, because a TERM before this process
			// listens is lost; the program hears it once.
			if !s.stopping {
				s.stopping = true
				end()
			}
		case <-deadline:
			late = true
			end()
		case <-kill:
			if done {
				return ws, late
			}
			_ = unix.Kill(-pid, unix.SIGKILL)
		}
	}
}

// reap collects the dead: the status of pid, and whether no child is left.
func (s *supervisor) reap(pid int) (ws syscall.WaitStatus, found, none bool) {
	for {
		var w syscall.WaitStatus
		p, err := syscall.Wait4(-1, &w, syscall.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return ws, found, true
		case p == 0:
			return ws, found, false
		case p == pid:
			ws, found = w, true
		}
	}
}

// killAll ends what the program left. PID 1 of a sandbox may mean everybody;
// without a PID namespace of its own, the program's group and then its orphans,
// whose parent this process has become.
func (s *supervisor) killAll(pid int) {
	kill := func() error { return unix.Kill(-1, unix.SIGKILL) }
	if os.Getpid() != 1 {
		kill = func() error {
			if err := unix.Kill(-pid, unix.SIGKILL); err == nil {
				return nil
			}
			return killChildren()
		}
	}
	for kill() == nil {
		if _, _, none := s.reap(0); none {
			return
		}
		select {
		case <-s.chld:
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.reap(0)
}

// killChildren fails when there is none.
func killChildren() error {
	own := strconv.Itoa(os.Getpid())
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	err = unix.ESRCH
	for _, d := range dirs {
		child, cerr := strconv.Atoi(d.Name())
		stat, rerr := os.ReadFile("/proc/" + d.Name() + "/stat")
		if cerr != nil || rerr != nil {
			continue
		}
		f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(f) > 1 && string(f[1]) == own && string(f[0]) != "Z" {
			err = unix.Kill(child, unix.SIGKILL)
		}
	}
	return err
}

// kills counts what the kernel killed for lack of memory, on cgroup v1 and v2.
func (s *supervisor) kills() int {
	if s.spec.OOM == "" {
		return 0
	}
	b, err := os.ReadFile(s.spec.OOM)
	if err != nil {
		return 0
	}
	for l := range bytes.Lines(b) {
		if n, ok := bytes.CutPrefix(bytes.TrimSpace(l), []byte("oom_kill ")); ok {
			i, _ := strconv.Atoi(string(n))
			return i
		}
	}
	return 0
}
