package proc

import (
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// seccomp denies what no app needs and what breaks out of sandboxes start
// with: namespaces, mounts, tracing, keys, modules, BPF. Everything else is
// allowed: without capabilities it can do no harm, and a short list starts faster
// than a long one of what is allowed.
func seccomp() *specs.LinuxSeccomp {
	deny, noSys := uint(unix.EPERM), uint(unix.ENOSYS)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		// Programs of another architecture, such as 32-bit ones, are killed.
		Architectures: []specs.Arch{arch()},
		Syscalls: []specs.LinuxSyscall{
			{
				Names: []string{
					"mount", "umount2", "pivot_root", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr",
					"unshare", "setns", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "process_madvise",
					"add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd", "fanotify_init", "lookup_dcookie",
					"init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff",
					"acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime",
					"iopl", "ioperm", "vhangup", "syslog", "nfsservctl", "open_by_handle_at", "name_to_handle_at",
					"sethostname", "setdomainname", "personality", "io_uring_setup", "io_uring_enter", "io_uring_register",
				},
				Action: specs.ActErrno, ErrnoRet: &deny,
			},
			{ // Flags of clone3 lie in memory, which seccomp cannot read; libc falls back to clone.
				Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &noSys,
			},
			denyClone(unix.CLONE_NEWUSER), denyClone(unix.CLONE_NEWNS), denyClone(unix.CLONE_NEWNET), denyClone(unix.CLONE_NEWPID),
			denyClone(unix.CLONE_NEWIPC), denyClone(unix.CLONE_NEWUTS), denyClone(unix.CLONE_NEWCGROUP),
		},
	}
}

func denyClone(flag uint64) specs.LinuxSyscall {
	deny := uint(unix.EPERM)
	return specs.LinuxSyscall{
		Names: []string{"clone"}, Action: specs.ActErrno, ErrnoRet: &deny,
		Args: []specs.LinuxSeccompArg{{Index: 0, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual}},
	}
}

func arch() specs.Arch {
	if runtime.GOARCH == "arm64" {
		return specs.ArchAARCH64
	}
	return specs.ArchX86_64
}
