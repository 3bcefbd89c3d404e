package proc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	runc "github.com/containerd/go-runc"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine/inside"
)

// client calls runc. When this process dies in the middle, runc dies too: a
// half-made sandbox must not come to life later.
func (e *Engine) client(log string) *runc.Runc {
	return &runc.Runc{
		Command: e.runc, Root: filepath.Join(e.opt.Root, "runc"), Log: log, LogFormat: runc.JSON,
		PdeathSignal: syscall.SIGKILL,
	}
}

// runcError adds what runc logged.
func runcError(err error, log string) error {
	b, _ := os.ReadFile(log)
	for l := range bytes.Lines(b) {
		var m struct{ Level, Msg string }
		if json.Unmarshal(l, &m) == nil && m.Level == "error" {
			err = fmt.Errorf("%w: %s", err, m.Msg)
		}
	}
	return err
}

// fileIO gives a container a file for its output; the init alone writes there.
type fileIO struct{ f *os.File }

func (fileIO) Close() error          { return nil }
func (fileIO) Stdin() io.WriteCloser { return nil }
func (fileIO) Stdout() io.ReadCloser { return nil }
func (fileIO) Stderr() io.ReadCloser { return nil }
func (io fileIO) Set(cmd *exec.Cmd)  { cmd.Stdout, cmd.Stderr = io.f, io.f }

// sayGo tells the init that the network is ready, as soon as it listens.
func sayGo(ctx context.Context, socket string, lives func() bool) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := tryGo(ctx, socket)
		switch {
		case err == nil:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("the init does not answer: %w", err)
		case !lives():
			return nil // seen by the next scan
		}
		if err := loop.Sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

func tryGo(ctx context.Context, socket string) (err error) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{inside.Go}); err != nil {
		return err
	}
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if b[0] != dial.OK {
		return errors.New("the init refused")
	}
	return nil
}
