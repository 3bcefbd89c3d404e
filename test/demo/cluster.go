package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/installed"
)

// onCluster is the demo on the running Kubernetes of package cluster: Slipway
// installed there, and a port of this machine that leads to it. What it keeps
// is in the cluster's folder, and goes with it.
func onCluster(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cluster", flag.ExitOnError)
	folder := flags.String("cluster", "", "folder of the cluster (default: the shared one)")
	listen := flags.String("listen", "127.0.0.1:8443", "address of the port that leads to it")
	_ = flags.Parse(args) // it exits on errors
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	c, err := cluster.Open(*folder)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Dir, "demo")
	s := &show{root: root, out: os.Stdout}
	if s.who, err = credentials(dir); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "install.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	err = s.step("install Slipway on the cluster", func() error {
		p, err := installed.Install(ctx, installed.Options{
			Root: root, Cluster: c, Namespace: "slipway", Listen: *listen, Admin: user, Password: s.who.Password,
			Dir: dir, Out: log, Keep: true,
		})
		if err == nil {
			s.in = p.Instance
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%w\n(its log: %s)", err, log.Name())
	}
	return s.run(ctx, dir, "Ctrl-C (the platform stays on the cluster, and `make demo-cluster` leads to it again; `make cluster-down` ends both)")
}
