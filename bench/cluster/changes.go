package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/rig"
)

const rps = 200

// changes measures how many requests fail while the platform changes. One that
// does not end well does not keep the others from being measured.
func (b *bench) changes(ctx context.Context) error {
	var failures []error
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"a change is deployed", func(ctx context.Context) error {
			_, err := b.push(ctx)
			return err
		}},
		{"it is rolled back", func(ctx context.Context) error {
			if err := b.slipway(ctx, "rollback", app, "1"); err != nil {
				return err
			}
			return b.shows(ctx, "0")
		}},
		{"the app grows to 3 replicas", func(ctx context.Context) error { return b.scale(ctx, 3) }},
		{"the app shrinks to 2", func(ctx context.Context) error { return b.scale(ctx, 2) }},
		{"the core restarts", func(ctx context.Context) error { return b.restart(ctx, "slipway-core") }},
		{"the gateways restart", func(ctx context.Context) error { return b.restart(ctx, "slipway-gateway") }},
		{"a gateway is deleted", b.deleteGateway},
		{"a node is drained", b.drain},
		{"the core is killed", func(ctx context.Context) error { return b.kill(ctx, "core") }},
		{"a gateway is killed", func(ctx context.Context) error { return b.kill(ctx, "gateway") }},
	} {
		browser := &again{next: b.viewer.Transport}
		load, began := rig.StartLoad(ctx, &http.Client{Transport: browser, Jar: b.viewer.Jar, CheckRedirect: b.viewer.CheckRedirect}, b.url(), rps), time.Now()
		err := c.do(ctx)
		if err == nil { // what comes just after is seen too
			err = loop.Sleep(ctx, 2*time.Second)
		}
		took := time.Since(began)
		failed := load.Stop()
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", c.name, err))
		}
		got := fmt.Sprintf("%d of %d in %s: %.0f/s", load.Failed.Load(), load.Sent.Load(), seconds(took), float64(load.Sent.Load())/took.Seconds())
		if n := browser.twice.Load(); n > 0 {
			got += fmt.Sprintf("; %d asked again", n)
		}
		b.measure("failed while "+c.name, got, fmt.Sprintf("0 at %d/s", rps), failed == nil && err == nil)
		if failed != nil {
			fmt.Fprintf(os.Stdout, "    %.300s\n", failed)
		}
	}
	return errors.Join(failures...)
}

// again asks once more when a connection broke before an answer, as browsers
// do: nothing else can save what is under way in a gateway that is killed.
type again struct {
	next  http.RoundTripper
	twice atomic.Int64
}

func (a *again) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := a.next.RoundTrip(r)
	if err == nil || r.Method != http.MethodGet || r.Context().Err() != nil {
		return res, err
	}
	a.twice.Add(1)
	return a.next.RoundTrip(r)
}

func (b *bench) slipway(ctx context.Context, args ...string) error {
	out, err := b.p.Run(ctx, "", b.who.Home, "", append([]string{b.p.Binary}, args...)...)
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func (b *bench) scale(ctx context.Context, n int) error {
	if err := b.slipway(ctx, "ps", "scale", app, fmt.Sprintf("web=%d", n)); err != nil {
		return err
	}
	return b.replicas(ctx, n)
}

// replicas waits until n pods of the app are ready and no other is there.
func (b *bench) replicas(ctx context.Context, n int) error {
	return rig.Until(ctx, 3*time.Minute, func() error {
		out, err := b.p.Cluster.Kubectl(ctx, "-n", b.p.Apps, "get", "pods", "-l", "slipway.dev/kind=workload",
			"-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if ready := strings.Count(out, "True"); err == nil && (ready != n || len(strings.Fields(out)) != n) {
			err = fmt.Errorf("%d of %d pods are ready, not %d", ready, len(strings.Fields(out)), n)
		}
		return err
	})
}

func (b *bench) restart(ctx context.Context, deployment string) error {
	if _, err := b.p.Kubectl(ctx, "rollout", "restart", "deployment/"+deployment); err != nil {
		return err
	}
	_, err := b.p.Kubectl(ctx, "rollout", "status", "deployment/"+deployment, "--timeout=3m")
	return err
}

func (b *bench) kill(ctx context.Context, part string) error {
	if err := b.p.Kill(part); err != nil {
		return err
	}
	return b.p.Ready(ctx)
}

func (b *bench) deleteGateway(ctx context.Context) error {
	pods, err := b.p.Kubectl(ctx, "get", "pods", "-l", "app.kubernetes.io/component=gateway", "-o", "name")
	if err != nil {
		return err
	}
	if _, err := b.p.Kubectl(ctx, "delete", strings.Fields(pods)[0]); err != nil {
		return err
	}
	return b.p.Ready(ctx)
}

// drain empties a node, but for what has a volume on that node's own disk and
// could run nowhere else; of others on the cluster it evicts none.
func (b *bench) drain(ctx context.Context) error {
	core, err := b.p.Kubectl(ctx, "get", "pods", "-l", "app.kubernetes.io/component=core", "-o", "jsonpath={.items[*].spec.nodeName}")
	if err != nil {
		return err
	}
	node := map[bool]string{true: "n2", false: "n1"}[strings.Contains(core, "n1")]
	defer func() { _, _ = b.p.Cluster.Kubectl(context.WithoutCancel(ctx), "uncordon", node) }()
	a, err := b.api.App(ctx, app)
	if err != nil {
		return err
	}
	for _, pods := range []string{"slipway.dev/scope=" + string(a.ID), "slipway.dev/install=" + b.p.Namespace + ",app.kubernetes.io/component notin (core,postgres)"} {
		if _, err := b.p.Cluster.Kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=3m", "--pod-selector="+pods); err != nil {
			return err
		}
	}
	return b.p.Ready(ctx)
}
