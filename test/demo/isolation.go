package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// isolation finds, unless one is asked for, the best that this machine and this user can have: full as
// root, rootless otherwise; and tells about anything less than full. The data
// folder says what it was made with.
func (s *show) isolation(ctx context.Context, data string) (args []string, err error) {
	levels := []string{"full", "none"}
	if os.Geteuid() != 0 {
		levels[0] = "rootless"
	}
	if s.level != "" {
		levels = []string{s.level}
	}
	var why []string
	for _, level := range levels {
		config := filepath.Join(data, "slipway.yaml")
		if err := os.WriteFile(config, []byte("isolation: "+level+"\n"+s.settings), 0o600); err != nil {
			return nil, err
		}
		args = []string{"--config", config}
		out, err := exec.CommandContext(ctx, filepath.Join(s.root, "bin", "slipway"), append([]string{"preflight", "--data", data}, args...)...).CombinedOutput()
		if err == nil {
			s.tellIsolation(level, why)
			return args, nil
		}
		why = append(why, strings.TrimPrefix(strings.TrimSpace(string(out)), "slipway: "))
	}
	return nil, errors.New(strings.Join(why, "\n"))
}

func (s *show) tellIsolation(level string, why []string) {
	switch level {
	case "rootless":
		fmt.Fprintln(s.out, "  Not root: apps run in sandboxes of this user (isolation: rootless), without limits of memory and CPU.")
	case "none":
		fmt.Fprintf(s.out, `
  ############################################################################
  #  WARNING: NO SANDBOX IS POSSIBLE HERE. The demo's app runs as a plain     #
  #  process of this user (isolation: none): it can read and change whatever  #
  #  this user can. Push nothing here that you do not trust.                  #
  ############################################################################
  %s

`, strings.Join(why, "\n  "))
	}
}
