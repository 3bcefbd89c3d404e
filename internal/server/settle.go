package server

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
)

// settleAfter is when a process is surely past its start.
const settleAfter = 2 * time.Second

// settle gives back what only the start needed: its garbage, and the pages of
// the program that hundreds of packages touched once to initialise. Those that
// are needed again come from the page cache.
func settle(ctx context.Context) error {
	if loop.Sleep(ctx, settleAfter) != nil {
		return nil // stopped
	}
	debug.FreeOSMemory()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil //nolint:nilerr // it is a courtesy
	}
	program, _ := os.Readlink("/proc/self/exe")
	for line := range bytes.Lines(maps) {
		f := strings.Fields(string(line)) // from-to perms offset device inode path
		if len(f) != 6 || f[5] != program || strings.Contains(f[1], "w") {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
	return nil
}
