// Package initbin carries the program that is PID 1 of every sandbox. `make`
// builds it from cmd/slipway-init before the rest.
package initbin

import (
	"embed"

	"slipway.dev/slipway/internal/base/errs"
)

//go:embed all:bin
var files embed.FS

// Bytes returns the program.
func Bytes() ([]byte, error) {
	b, err := files.ReadFile("bin/slipway-init")
	if err != nil {
		return nil, errs.Wrap(err, errs.KindUnsupported,
			"this build carries no slipway-init: build with `make build`, which puts it into internal/engine/initbin/bin first")
	}
	return b, nil
}
