package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/rig"
)

// ask returns what the viewer gets of an address; any status but 200 is an error.
func (b *bench) ask(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := b.viewer.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return strings.Trim(strings.TrimSpace(string(body)), `"`), err
}

// watch asks for the app and for the API, ten times a second each, while a
// fault is there, and keeps what a viewer sees.
type watch struct {
	mu   sync.Mutex
	seen map[string]*seen
}

// seen is what who asks for one thing gets.
type seen struct {
	asked, failed int
	first         string        // what went wrong first
	from, to      time.Time     // between these some asked in vain
	slowest       time.Duration // answer that was none the less good
}

func (s *seen) String() string {
	out := fmt.Sprintf("all %d answered, slowest %s", s.asked, seconds(s.slowest))
	if s.failed > 0 {
		out = fmt.Sprintf("%d of %d failed, within %s (%.100s)", s.failed, s.asked, seconds(s.to.Sub(s.from)), strings.Join(strings.Fields(s.first), " "))
	}
	return strings.ReplaceAll(out, "|", "/")
}

func (b *bench) watch(ctx context.Context, during func(context.Context) error) (*watch, error) {
	w := &watch{seen: map[string]*seen{"app": {}, "API": {}}}
	watching, stop := context.WithCancel(ctx)
	err := loop.Run(ctx, func(ctx context.Context) error {
		defer stop()
		return during(ctx)
	}, b.asking(watching, w, "app", func(ctx context.Context) error {
		_, err := b.ask(ctx, b.url())
		return err
	}), b.asking(watching, w, "API", func(ctx context.Context) error {
		_, err := b.api.Whoami(ctx)
		return err
	}))
	return w, err
}

func (b *bench) asking(watching context.Context, w *watch, what string, ask func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		for loop.Sleep(watching, 100*time.Millisecond) == nil {
			began := time.Now()
			err := ask(ctx)
			w.mu.Lock()
			s := w.seen[what]
			s.asked++
			switch {
			case ctx.Err() != nil: // it is we who end
			case err == nil:
				s.slowest = max(s.slowest, time.Since(began))
			default:
				if s.failed++; s.failed == 1 {
					s.first, s.from = err.Error(), began
				}
				s.to = time.Now()
			}
			w.mu.Unlock()
		}
		return nil
	}
}

// fault adds a row: what happens, what a viewer sees, how long until all is as
// it was.
func (b *bench) fault(ctx context.Context, name string, do func(context.Context) error) error {
	began := time.Now()
	w, err := b.watch(ctx, do)
	b.outcome(name, w, began, err)
	return err
}

func (b *bench) outcome(name string, w *watch, began time.Time, err error) {
	after := seconds(time.Since(began))
	if err != nil {
		after = "not after " + after
		fmt.Fprintf(os.Stdout, "    %.1000s\n", err)
	}
	b.report.fault(name, w.seen["app"].String(), w.seen["API"].String(), after)
}

// faults are those that only this installation feels.
func (b *bench) faults(ctx context.Context) error {
	var failures []error
	for _, at := range []slipway.DeployState{
		slipway.DeployQueued, slipway.DeployDetecting, slipway.DeployStarting, slipway.DeployChecking, slipway.DeploySwitching, slipway.DeployDraining,
	} {
		failures = append(failures, b.killedAt(ctx, at))
	}
	failures = append(failures,
		b.fault(ctx, "the core, with the registry, away for 20 s during a scale-up", b.scaleWithoutRegistry),
		b.scale(ctx, 2),
		b.fault(ctx, "PostgreSQL restarted", func(ctx context.Context) error {
			if _, err := b.p.Kubectl(ctx, "delete", "pod", "slipway-postgres-0"); err != nil {
				return err
			}
			return errors.Join(b.p.Ready(ctx), b.apiAnswers(ctx))
		}))
	return errors.Join(failures...)
}

// states of a deploy in the order in which it passes them.
var states = []slipway.DeployState{
	slipway.DeployQueued, slipway.DeployDetecting, slipway.DeployEnv, slipway.DeployPredeploy, slipway.DeployPacking, slipway.DeployReleasing,
	slipway.DeployStarting, slipway.DeployChecking, slipway.DeployPostdeploy, slipway.DeploySwitching, slipway.DeployDraining, slipway.DeployLive,
}

// killedAt pushes and kills the core as soon as the deploy is in a state, or
// beyond it when it was left before anyone could see it.
func (b *bench) killedAt(ctx context.Context, at slipway.DeployState) error {
	var now slipway.DeployState
	before, err := b.api.Deploys(ctx, app, 1)
	if err != nil {
		return err
	}
	began := time.Now()
	w, err := b.watch(ctx, func(ctx context.Context) error {
		if err := b.change(); err != nil {
			return err
		}
		err := loop.Run(ctx, func(ctx context.Context) error {
			_, _ = b.repo.Push(ctx, fmt.Sprint("killed at ", at)) // it only watches: how it ends does not matter
			return nil
		}, func(ctx context.Context) error {
			err := rig.Until(ctx, time.Minute, func() error {
				list, err := b.api.Deploys(ctx, app, 1)
				if err != nil {
					return err
				}
				now = list[0].State
				if list[0].ID == before[0].ID || slices.Index(states, now) < slices.Index(states, at) {
					return fmt.Errorf("the deploy is %s", now)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return b.p.Kill("core")
		})
		if err != nil {
			return err
		}
		return errors.Join(b.shows(ctx, fmt.Sprint(b.version)), b.settled(ctx), b.p.Ready(ctx))
	})
	b.outcome(fmt.Sprintf("core killed when a deploy was %s", now), w, began, err)
	return err
}

// settled waits until the newest deploy has ended well.
func (b *bench) settled(ctx context.Context) error {
	return rig.Until(ctx, 3*time.Minute, func() error {
		list, err := b.api.Deploys(ctx, app, 1)
		if err == nil && list[0].State != slipway.DeployLive {
			err = fmt.Errorf("the deploy is %s: %s", list[0].State, list[0].Reason)
		}
		return err
	})
}

func (b *bench) apiAnswers(ctx context.Context) error {
	return rig.Until(ctx, 3*time.Minute, func() error {
		_, err := b.api.Deploys(ctx, app, 1)
		return err
	})
}

func (b *bench) scaleWithoutRegistry(ctx context.Context) error {
	if err := b.slipway(ctx, "ps", "scale", app, "web=4"); err != nil {
		return err
	}
	if _, err := b.p.Kubectl(ctx, "scale", "deployment/slipway-core", "--replicas=0"); err != nil {
		return err
	}
	if err := loop.Sleep(ctx, 20*time.Second); err != nil {
		return err
	}
	if _, err := b.p.Kubectl(ctx, "scale", "deployment/slipway-core", "--replicas=1"); err != nil {
		return err
	}
	return errors.Join(b.replicas(ctx, 4), b.p.Ready(ctx))
}

// away are faults of the cluster itself.
func (b *bench) away(ctx context.Context) error {
	c := b.p.Cluster
	works := func(ctx context.Context) error { // all of it, again
		_, err := b.push(ctx)
		return errors.Join(err, b.p.Ready(ctx))
	}
	stopped := func(machine, program string, d time.Duration, during func(context.Context) error) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := c.Stop(ctx, machine, program); err != nil {
				return err
			}
			err := loop.Run(ctx, during, func(ctx context.Context) error {
				err := loop.Sleep(ctx, d)
				return errors.Join(err, c.Start(context.WithoutCancel(ctx), machine, program))
			})
			if err != nil {
				return err
			}
			if err := rig.Until(ctx, 3*time.Minute, func() error {
				_, err := c.Kubectl(ctx, "wait", "nodes", "--all", "--for=condition=Ready", "--timeout=3m")
				return err
			}); err != nil {
				return err
			}
			return works(ctx)
		}
	}
	push := func(ctx context.Context) error {
		_, err := b.push(ctx)
		return err
	}
	nothing := func(context.Context) error { return nil }
	return errors.Join(
		b.fault(ctx, "API server of Kubernetes away for 60 s; a push meanwhile", stopped(cluster.Control, "kube-apiserver", time.Minute, push)),
		b.fault(ctx, "a kubelet killed, back after a second", func(ctx context.Context) error {
			return errors.Join(c.Kill(ctx, "n2", "kubelet"), works(ctx))
		}),
		b.fault(ctx, "a kubelet away for 90 s: its node is not ready", stopped("n2", "kubelet", 90*time.Second, nothing)),
	)
}
