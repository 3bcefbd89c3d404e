package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// child gives up every right and becomes the program; it returns only what
// went wrong. The rights are this thread's, and execve keeps this thread.
func child(uid int, dir string, args []string) error {
	runtime.LockOSThread()
	// Without memory, the program goes before the init that reports it.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	unix.Umask(0o022)
	if os.Getuid() == 0 && uid > 0 {
		for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("give up capability %d: %w", c, err)
			}
		}
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
			return fmt.Errorf("become user %d: %w", uid, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("cannot run %q: no such program", args[0])
	}
	return fmt.Errorf("cannot run %q: %w", args[0], unix.Exec(path, args, os.Environ()))
}
