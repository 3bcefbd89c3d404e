package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// podVerbs are what the init does in pods; each returns the exit code.
var podVerbs = map[string]func(args []string) int{
	"pod":  pod,
	"exec": podExec,
	"put":  put,
	"fill": fill,
}

// refused is the exit code of a start that must not happen.
const refused = 125

// pod runs the program of a replica or of a task once.
func pod([]string) int {
	// The program is the same user; it must not look into the init or change it.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return end(inside.Exit{Code: refused, Message: "the init cannot hide: " + err.Error()})
	}
	spec, err := readPod()
	if err != nil {
		return end(inside.Exit{Code: refused, Message: err.Error()})
	}
	spec.UID, spec.OOM = os.Getuid(), oomFile()
	if spec.UID == 0 {
		return end(inside.Exit{Code: refused, Message: "the pod runs as root, which it must not"})
	}
	s := &supervisor{
		spec: spec.Spec, keep: podLog(os.Stdout), group: newGroup(),
		chld: make(chan os.Signal, 1), term: make(chan os.Signal, 1),
	}
	s.listen()
	exit, err := s.pod(spec)
	if err != nil {
		exit = inside.Exit{Code: refused, Message: err.Error()}
	}
	return end(exit)
}

func (s *supervisor) pod(spec inside.Pod) (inside.Exit, error) {
	for _, l := range spec.Links {
		if err := openLink(s.group, l); err != nil {
			return inside.Exit{}, err
		}
	}
	if ip := os.Getenv(inside.PodIP); ip != "" {
		tellUsage(s.group, ip)
		if spec.Port != 0 {
			s.group.Go("expose", func(ctx context.Context) error { return expose(ctx, s.group, ip, spec.Port) })
		}
	}
	if spec.Task != nil {
		if err := s.begin(*spec.Task); err != nil {
			return inside.Exit{}, err
		}
	}
	exit, err := s.once()
	if err != nil || spec.Task == nil || exit != (inside.Exit{At: exit.At}) {
		return exit, err
	}
	for i, dir := range spec.Task.Keep {
		if err := task(*spec.Task).keep(i, dir); err != nil {
			return inside.Exit{Code: refused, Message: "what it made could not be kept: " + err.Error(), At: time.Now().UTC()}, nil
		}
	}
	return exit, nil
}

// task talks to the engine on behalf of a task.
type task inside.PodTask

// begin asks whether this start may happen, as long as it takes.
func (s *supervisor) begin(t inside.PodTask) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answer := make(chan error, 1)
	s.group.Spawn("begin", func(context.Context) error {
		answer <- task(t).begin(ctx)
		return nil
	})
	select {
	case err := <-answer:
		return err
	case <-s.term:
		return errors.New("it was ended before it began")
	}
}

// end leaves the record and returns the exit code.
func end(e inside.Exit) int {
	if e.At.IsZero() {
		e.At = time.Now().UTC()
	}
	if len(e.Message) > 2048 { // the kubelet keeps 4096 bytes of the record
		e.Message = e.Message[:2048]
	}
	b, err := json.Marshal(e)
	if err == nil {
		err = os.WriteFile(inside.TerminationLog, b, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway: cannot record the exit:", err)
	}
	return e.Code
}

func readPod() (inside.Pod, error) {
	var p inside.Pod
	ok, err := inside.Read(filepath.Join(inside.Dir, inside.SpecFile), &p)
	if err == nil && !ok {
		err = fmt.Errorf("there is no %s in %s", inside.SpecFile, inside.Dir)
	}
	return p, err
}

// podLog writes whole lines, with a mark on those of the standard error.
func podLog(out io.Writer) sink {
	var mu sync.Mutex
	var buf []byte
	return func(_ time.Time, stderr bool, lines [][]byte) {
		mu.Lock()
		defer mu.Unlock()
		buf = buf[:0]
		for _, l := range lines {
			if stderr {
				buf = append(buf, inside.StderrMark)
			}
			buf = append(append(buf, l...), '\n')
		}
		_, _ = out.Write(buf) // a log must not stop an app
	}
}

// podExec becomes a command with the program's folder and environment. Of
// -env FILE, it takes more variables, and deletes the file.
func podExec(args []string) int {
	spec, err := readPod()
	env := spec.Env
	if err == nil && len(args) > 1 && args[0] == "-env" {
		var more []string
		_, err = inside.Read(args[1], &more)
		os.Remove(args[1])
		env, args = append(env, more...), args[2:]
	}
	if err == nil {
		err = os.Chdir(spec.Dir)
	}
	if err == nil && len(args) == 0 {
		err = errors.New("there is no command")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway:", err)
		return 126
	}
	os.Clearenv()
	for _, v := range env {
		for i := range v {
			if v[i] == '=' {
				_ = os.Setenv(v[:i], v[i+1:])
				break
			}
		}
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		fmt.Fprintf(os.Stderr, "slipway: cannot run %q: no such program\n", args[0])
		return 127
	}
	fmt.Fprintf(os.Stderr, "slipway: cannot run %q: %v\n", args[0], unix.Exec(path, args, os.Environ()))
	return 126
}

// put writes its input to a new file that only this user reads.
func put(args []string) int {
	if len(args) != 1 {
		return 2
	}
	f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = io.Copy(f, io.LimitReader(os.Stdin, 1<<20))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slipway:", err)
		return 1
	}
	return 0
}

// fill copies folders, given as pairs from and to, before a task begins: what it
// keeps starts with what the image has there.
func fill(args []string) int {
	for len(args) > 1 {
		if err := copyTree(args[0], args[1]); err != nil {
			return end(inside.Exit{Code: refused, Message: fmt.Sprintf("cannot prepare %s: %v", args[0], err)})
		}
		args = args[2:]
	}
	return 0
}

// copyTree copies a folder's files, folders and links; the copy can be written.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.Mkdir(dst, info.Mode().Perm()|0o700); !errors.Is(err, os.ErrExist) {
				return err
			}
			return nil
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, dst)
		case info.Mode().IsRegular():
			return copyFile(path, dst, info)
		}
		return nil
	})
}

func copyFile(from, to string, info fs.FileInfo) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm()|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	// Python compares its compiled files with the time of the source.
	return errors.Join(err, out.Close(), os.Chtimes(to, info.ModTime(), info.ModTime()))
}

// again calls fn until it answers for good.
func again(ctx context.Context, fn func(ctx context.Context) (final bool, err error)) error {
	wait := loop.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		final, err := fn(ctx)
		if final {
			return err
		}
		if wait.Wait(ctx) != nil {
			return err
		}
	}
}
