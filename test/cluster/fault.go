package cluster

import (
	"context"
	"os/exec"

	"slipway.dev/slipway/internal/base/loop"
)

// Start lets a program of a machine run again after Stop, such as kubelet on
// n1, or kube-apiserver on [Control]. On return it has been started, and may
// not be ready yet.
func (c *Cluster) Start(ctx context.Context, machine, program string) error {
	return c.tell(ctx, machine, program, "start")
}

// Stop kills a program, which stays away until Start. Pods go on without their kubelet.
func (c *Cluster) Stop(ctx context.Context, machine, program string) error {
	return c.tell(ctx, machine, program, "stop")
}

// Kill kills a program, which is started again after a second.
func (c *Cluster) Kill(ctx context.Context, machine, program string) error {
	return c.tell(ctx, machine, program, "kill")
}

// Pause freezes a program: its connections stay and nobody answers, until Resume.
func (c *Cluster) Pause(ctx context.Context, machine, program string) error {
	return c.tell(ctx, machine, program, "pause")
}

// Resume ends Pause.
func (c *Cluster) Resume(ctx context.Context, machine, program string) error {
	return c.tell(ctx, machine, program, "resume")
}

func (c *Cluster) tell(ctx context.Context, machine, program, verb string) error {
	m, err := c.machine(machine)
	if err != nil {
		return err
	}
	return m.tell(ctx, program, verb)
}

// Command is a program that will run on a machine, in its network and among
// its files and processes; ctr there shows the pods' containers.
func (c *Cluster) Command(ctx context.Context, machine string, argv ...string) (*exec.Cmd, error) {
	m, err := c.machine(machine)
	if err != nil {
		return nil, err
	}
	return m.command(ctx, argv...), nil
}

// Load makes the images of a docker or OCI archive known on every node. Pods
// use them with `imagePullPolicy: Never` or `IfNotPresent`.
func (c *Cluster) Load(ctx context.Context, archive string) error {
	var loads []func(context.Context) error
	for _, m := range c.nodes() {
		loads = append(loads, func(ctx context.Context) error { return m.load(ctx, archive) })
	}
	return loop.Run(ctx, loads...)
}
