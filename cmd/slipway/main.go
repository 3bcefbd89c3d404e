// Command slipway is the whole platform: its server and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"slipway.dev/slipway/internal/cli"
	"slipway.dev/slipway/internal/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, server.Commands()...)
	stop()
	os.Exit(code)
}
