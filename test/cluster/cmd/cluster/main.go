// Command cluster builds, starts and ends a real Kubernetes on this machine;
// see docs/development/cluster.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"slipway.dev/slipway/test/cluster"
)

const usage = `Usage: cluster [--dir FOLDER] COMMAND

  build [api]                  build what is not yet built; api: only what tests of the API alone need
  up                           start it, unless it runs, and print how to reach it
  down                         end it and remove all that it made
  kubectl ARGUMENTS            as the administrator
  load ARCHIVE…                make the images of docker or OCI archives known on every node
  exec MACHINE COMMAND…        run on a machine: control, n1, n2
  stop|start MACHINE PROGRAM   a program goes away until it is started: kubelet, kube-proxy, containerd on a node;
  kill MACHINE PROGRAM         etcd, kube-apiserver, kube-controller-manager, kube-scheduler on control.
  pause|resume MACHINE PROGRAM kill: it is back after a second; pause: it is there and does not answer
  logs                         the end of every program's log
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := flag.String("dir", "", "")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	err := run(ctx, *dir, flag.Arg(0), flag.Args()[1:])
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir, verb string, args []string) error {
	switch verb {
	case "build":
		what := cluster.All
		if len(args) > 0 && args[0] == "api" {
			what = cluster.OnlyAPI
		}
		_, err := cluster.Build(ctx, os.Stdout, what)
		return err
	case "up":
		c, err := cluster.Up(ctx, cluster.Options{Dir: dir, Out: os.Stdout})
		if err == nil {
			fmt.Fprintf(os.Stdout, "\nKubernetes %s runs with %d nodes. To use it:\n\n  export KUBECONFIG=%s\n  %s get nodes\n", cluster.Version, c.Nodes, c.Kubeconfig(), c.Bin("kubectl"))
		}
		return err
	case "down":
		return cluster.Down(ctx, dir)
	}
	c, err := cluster.Open(dir)
	if err != nil {
		return err
	}
	faults := map[string]func(context.Context, string, string) error{"stop": c.Stop, "start": c.Start, "kill": c.Kill, "pause": c.Pause, "resume": c.Resume}
	fault := faults[verb]
	switch {
	case fault != nil && len(args) == 2:
		return fault(ctx, args[0], args[1])
	case verb == "kubectl":
		cmd := exec.CommandContext(ctx, c.Bin("kubectl"), args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
		return attached(cmd)
	case verb == "exec" && len(args) > 1:
		cmd, err := c.Command(ctx, args[0], args[1:]...)
		if err != nil {
			return err
		}
		return attached(cmd)
	case verb == "load" && len(args) > 0:
		for _, a := range args {
			if err := c.Load(ctx, a); err != nil {
				return err
			}
		}
		return nil
	case verb == "logs":
		fmt.Fprint(os.Stdout, c.Logs(20))
		return nil
	}
	flag.Usage()
	os.Exit(2)
	return nil
}

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
