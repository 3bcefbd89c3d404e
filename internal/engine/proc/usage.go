package proc

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// processes are all of the machine by their parents: where there are no cgroups
// to count a sandbox's, they are the init and what descends from it.
type processes map[int][]process

type process struct {
	pid    int
	memory int64
	cpu    time.Duration // with that of its dead children
}

func readProcesses() processes {
	all := processes{}
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return all
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		if p, parent, ok := readProcess(pid); ok {
			all[parent] = append(all[parent], p)
		}
	}
	return all
}

func readProcess(pid int) (p process, parent int, ok bool) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, 0, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 22 {
		return p, 0, false
	}
	number := func(i int) int64 {
		n, _ := strconv.ParseInt(f[i], 10, 64)
		return n
	}
	// Fields 14 to 17 of proc(5) are times in hundredths, 24 is resident pages.
	p.pid, p.memory = pid, number(21)*int64(os.Getpagesize())
	p.cpu = time.Duration(number(11)+number(12)+number(13)+number(14)) * 10 * time.Millisecond
	return p, int(number(1)), true
}

// usage sums a sandbox up. Pages that its processes share count for each.
func (all processes) usage(initPID int) (memory int64, cpu time.Duration, pids int64) {
	p, _, ok := readProcess(initPID)
	if !ok {
		return 0, 0, 0
	}
	for todo := []process{p}; len(todo) > 0; {
		p, todo = todo[0], todo[1:]
		memory, cpu, pids = memory+p.memory, cpu+p.cpu, pids+1
		todo = append(todo, all[p.pid]...)
	}
	return memory, cpu, pids
}
