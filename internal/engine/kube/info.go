package kube

import (
	"context"
	"encoding/json"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Info implements engine.Engine. Memory is what the nodes that take pods can
// give, and what our pods have been promised.
func (e *Engine) Info(context.Context) (engine.Info, error) {
	i := engine.Info{
		Engine: "kube", Isolation: engine.IsolationFull, Why: e.opt.NoPolicies, MemoryEnforced: true, Egress: e.opt.NoPolicies == "",
		SharedVolumes: e.opt.SharedStorageClass != "", Pythons: e.opt.Pythons,
	}
	for _, o := range e.cache.node.GetStore().List() {
		if n := o.(*corev1.Node); !n.Spec.Unschedulable && ready(n) {
			i.Memory.Limit += n.Status.Allocatable.Memory().Value()
		}
	}
	for _, o := range e.cache.pods.GetStore().List() {
		p := o.(*corev1.Pod)
		if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		for _, c := range p.Spec.Containers {
			i.Memory.Used += c.Resources.Requests.Memory().Value()
		}
	}
	return i, nil
}

func ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Usage implements engine.Engine. Every pod's init is asked: so it needs no
// add-on and no right to talk to kubelets, which could run anything anywhere.
// Pods that do not answer are left out.
func (e *Engine) Usage(ctx context.Context) ([]engine.Usage, error) {
	type asked struct {
		id   engine.ReplicaRef
		addr string
	}
	var all []asked
	add := func(id engine.ReplicaRef, p *corev1.Pod) {
		if status(p).State.Running != nil && p.Status.PodIP != "" {
			all = append(all, asked{id, net.JoinHostPort(p.Status.PodIP, strconv.Itoa(inside.UsagePort))})
		}
	}
	for _, k := range e.all() {
		name := e.name(k.ref)
		if k.ref.Kind == engine.KindTask {
			for _, p := range e.cache.podsOf(name) {
				add(engine.ReplicaRef{Ref: k.ref}, p)
			}
			continue
		}
		for i, p := range e.indexed(name, k.replicas) {
			add(engine.ReplicaRef{Ref: k.ref, Index: i}, p)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	answers := make([]*engine.Usage, len(all))
	next := make(chan int, len(all))
	for i := range all {
		next <- i
	}
	close(next)
	ask := func(ctx context.Context) error {
		for i := range next {
			u, err := askUsage(ctx, all[i].addr)
			if err != nil {
				e.log.Debug("a pod does not tell what it uses", "replica", all[i].id.Ref.String(), "error", err)
				continue
			}
			answers[i] = &engine.Usage{ID: all[i].id, At: time.Now().UTC(), MemoryBytes: u.MemoryBytes, CPU: u.CPU, PIDs: u.PIDs}
		}
		return nil
	}
	workers := make([]func(context.Context) error, min(32, len(all)))
	for i := range workers {
		workers[i] = ask
	}
	if err := loop.Run(ctx, workers...); err != nil {
		return nil, err
	}
	var us []engine.Usage
	for _, u := range answers {
		if u != nil {
			us = append(us, *u)
		}
	}
	return us, nil
}

func askUsage(ctx context.Context, addr string) (u inside.Usage, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return u, err
	}
	defer c.Close()
	if t, ok := ctx.Deadline(); ok {
		_ = c.SetReadDeadline(t)
	}
	return u, json.NewDecoder(c).Decode(&u)
}
