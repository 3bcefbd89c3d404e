// Package kube is the engine on Kubernetes: a Workload is a Deployment, a Task a
// Job, a Volume a claim, all plain objects with an owner label.
//
// What is wanted lies in one Secret per object, written before anything else
// and deleted first: it carries the environment, the init's orders and the
// objects as they were first rendered. Whatever differs from it is put right,
// whatever has none is deleted, so that the engine can be killed between any
// two calls, and so that nothing but the pods' logs is kept outside of the
// cluster. PID 1 of every pod is slipway-init.
package kube

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
)

// Engine implements engine.Engine.
type Engine struct {
	opt    Options
	config *rest.Config
	client kubernetes.Interface
	meta1  metadata.Interface
	log    *slog.Logger
	group  *loop.Group
	cache  *cache
	queue  workqueue.TypedRateLimitingInterface[string]
	logs   *collector
	locks  keyed

	mu       sync.Mutex
	changed  chan struct{}         // closed and made anew whenever the cache changes
	applied  map[string]int64      // generation of each Deployment after our last change
	removing map[string]engine.Ref // being removed, and not yet gone
	indices  map[string]int        // of pods, by their uid
	wakes    map[int]func(engine.Ref)
	nextID   int
}

// New connects to the cluster and waits until what it has is known.
func New(opt Options) (*Engine, error) {
	opt.Namespace = cmp.Or(opt.Namespace, "slipway-apps")
	opt.Platform = cmp.Or(opt.Platform, "slipway")
	opt.Owner = cmp.Or(opt.Owner, "slipway")
	opt.Inbox = cmp.Or(opt.Inbox, opt.Links["platform"])
	opt.Memory = cmp.Or(opt.Memory, 512<<20)
	opt.VolumeBytes = cmp.Or(opt.VolumeBytes, 10<<30)
	opt.PullPolicy = cmp.Or(opt.PullPolicy, "IfNotPresent")
	if opt.Pythons == nil {
		opt.Pythons = []string{"3.11"}
	}
	if opt.Images == nil || opt.Data == "" || opt.Log == nil {
		return nil, errs.Invalid("the engine on Kubernetes needs images, a data folder and a log")
	}
	if err := os.MkdirAll(filepath.Join(opt.Data, "logs"), 0o700); err != nil {
		return nil, err
	}
	config, err := connection(opt.Config)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		opt: opt, config: config, client: client, meta1: meta, log: opt.Log,
		group: loop.New(context.Background(), opt.Log),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](200*time.Millisecond, 30*time.Second)),
		locks: keyed{m: map[string]*keyedLock{}}, changed: make(chan struct{}), applied: map[string]int64{},
		removing: map[string]engine.Ref{}, indices: map[string]int{}, wakes: map[int]func(engine.Ref){},
	}
	e.logs = newCollector(e)
	if err := e.open(); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func connection(c *rest.Config) (*rest.Config, error) {
	if c == nil {
		var err error
		if c, err = rest.InClusterConfig(); errors.Is(err, rest.ErrNotInCluster) {
			c, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
				clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
		}
		if err != nil {
			return nil, errs.Wrap(err, errs.KindUnsupported, "no Kubernetes is configured here: run in a pod with a service account, or set KUBECONFIG")
		}
	}
	c = rest.CopyConfig(c)
	c.UserAgent = "slipway"
	c.QPS, c.Burst = 100, 200 // the server's own fairness does the rest
	return c, nil
}

// open fills the cache and starts the engine's work.
func (e *Engine) open() error {
	e.cache = newCache(e)
	ctx, cancel := context.WithTimeout(e.group.Context(), time.Minute)
	defer cancel()
	if err := e.cache.start(ctx, e.group.Context()); err != nil {
		return err
	}
	shut, err := e.applyPolicies(ctx)
	if err != nil {
		return err
	}
	for range 4 {
		e.group.Go("reconcile", e.work)
	}
	e.group.Go("policies", func(ctx context.Context) error { return e.watchNodes(ctx, shut) })
	e.group.Go("logs", e.logs.sweep)
	return nil
}

// Close ends the engine's own work. Pods go on. Closing twice is harmless.
func (e *Engine) Close() error {
	e.queue.ShutDown()
	err := e.group.Stop()
	if e.cache != nil {
		e.cache.stop()
	}
	return err
}

// Watch implements engine.Engine.
func (e *Engine) Watch(ctx context.Context, wake func(engine.Ref)) error {
	e.mu.Lock()
	id := e.nextID
	e.nextID++
	e.wakes[id] = wake
	e.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-e.group.Context().Done():
	}
	e.mu.Lock()
	delete(e.wakes, id)
	e.mu.Unlock()
	return ctx.Err()
}

// on hears of every change in the cache.
func (e *Engine) on(o metav1.Object) {
	ref, ok := parseRef(o.GetAnnotations()[NoteRef])
	e.mu.Lock()
	close(e.changed)
	e.changed = make(chan struct{})
	fns := make([]func(engine.Ref), 0, len(e.wakes))
	for _, fn := range e.wakes {
		fns = append(fns, fn)
	}
	e.mu.Unlock()
	if !ok {
		return
	}
	e.queue.Add(e.name(ref))
	for _, fn := range fns {
		fn(ref)
	}
}

// await waits until the cache, as it changes, is as it should be.
func (e *Engine) await(ctx context.Context, ok func() bool) error {
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.group.Context().Done():
			return errs.Unavailable("the engine stops: what was begun goes on when it is back")
		}
	}
}

// keyed is a lock per name.
type keyed struct {
	mu sync.Mutex
	m  map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

// lock returns the unlock.
func (k *keyed) lock(name string) func() {
	k.mu.Lock()
	l := k.m[name]
	if l == nil {
		l = &keyedLock{}
		k.m[name] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		if l.users--; l.users == 0 {
			delete(k.m, name)
		}
		k.mu.Unlock()
	}
}
