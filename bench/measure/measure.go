// Package measure is what the benchmarks share.
package measure

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// CPU is the model of this machine's processor.
func CPU() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// Median of at least one duration.
func Median(d []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(d))[len(d)/2]
}
