// Package apps is the life of apps: making and sharing them, their variables,
// deploys, releases and processes. Every method takes who asks from the
// context and checks it with package access; what one may not see is not
// there. Run is the loop that moves deploys on and keeps running what should
// run. A deploy's state is written before the effect that it allows, and every
// effect is named by the deploy's or the release's id: stop the process at any
// instruction, and the next Run goes on from there.
package apps

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/store"
)

// Builder turns sources into environments; build.Builder is one.
type Builder interface {
	// Detect reads a source; Invalid says what is wrong with it.
	Detect(ctx context.Context, source string, vars map[string]string) (build.Plan, error)
	// EnvReady reports whether the environment is there.
	EnvReady(ctx context.Context, p build.Plan) (bool, error)
	// EnvTask is the task that builds it.
	EnvTask(ctx context.Context, p build.Plan, vars []engine.Var) (engine.Task, error)
	// Explain says in plain words why a build failed.
	Explain(exit engine.Exit, tail []string) string
}

// Router hands routes to the gateways; link.Hub is one.
type Router interface {
	SetRoute(r link.Route) uint64
	RemoveRoute(name string) uint64
	// Acked waits until the gateways have acknowledged the version.
	Acked(ctx context.Context, version uint64) error
}

// Options are what the service is made of.
type Options struct {
	DB     *store.DB
	Engine engine.Engine
	Build  Builder
	Router Router
	Box    *secret.Box
	Hosts  slipway.Hosts
	Log    *slog.Logger
	Data   string // folder for the logs of deploys

	Now          func() time.Time // nil = time.Now
	Photos       bool             // pictures of apps are taken where the engine has a browser, through PhotoLink
	PlatformPort int              // loopback port inside that leads to the platform; 0 = none
	Limits       Limits
	Fetcher      Fetcher                                          // brings commits from elsewhere; may be nil
	Removed      func(ctx context.Context, app slipway.App) error // called when an app is deleted, such as for its repository; repeated until nil
}

// Limits of apps and of the loop. Zero fields have the given defaults.
type Limits struct {
	MemoryMB  int64         // of a replica: 1024
	Replicas  int           // of a process: 10
	Builds    int           // at once: 2
	Start     time.Duration // from the start of a release until it answers: 120 s
	Drain     time.Duration // old replicas go on for: 5 s
	Task      time.Duration // predeploy and postdeploy: 15 min
	Releases  int           // whose files are kept: 20
	Silent    time.Duration // a replica of web that answers nothing for that long is restarted: 120 s; less than 0 = never
	Delete    time.Duration // a deletion is waited for: 3 s; it goes on all the same
	Resync    time.Duration // the loop looks without a hint: 10 s
	KeepLayer time.Duration // unused layers stay for: 24 h
	Sample    time.Duration // between two looks at what replicas use: 20 s
}

func or[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

func (l Limits) withDefaults() Limits {
	return Limits{
		MemoryMB: or(l.MemoryMB, 1024), Replicas: or(l.Replicas, 10), Builds: or(l.Builds, 2),
		Start: or(l.Start, 120*time.Second), Drain: or(l.Drain, 5*time.Second), Task: or(l.Task, 15*time.Minute),
		Releases: or(l.Releases, 20), Resync: or(l.Resync, 10*time.Second), Silent: or(l.Silent, 120*time.Second), Delete: or(l.Delete, 3*time.Second), KeepLayer: or(l.KeepLayer, 24*time.Hour),
		Sample: or(l.Sample, 20*time.Second),
	}
}

// Service is the life of apps. Use New.
type Service struct {
	Options
	events   *events
	feed     *feed
	index    index
	last     lastRoom
	observer observer
	bell     bell
	meter    meter
	studio   studio

	mu      sync.Mutex
	group   *loop.Group // nil until Run
	loops   map[slipway.AppID]*appLoop
	runs    map[slipway.DeployID]*run
	envs    map[string]*envBuild
	started map[slipway.UserID]uint64 // when a person's build was started last, in starts
	starts  uint64
	fetches map[slipway.UserID]int // of a person, that are under way
	kick    chan struct{}          // wakes the dispatcher
}

// New returns a service. Its loop is Run; before that, Load.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Limits = o.Limits.withDefaults()
	return &Service{
		Options: o,
		events:  newEvents(o.Data, o.Now),
		feed:    newFeed(),
		bell:    bell{c: make(chan struct{})},
		loops:   map[slipway.AppID]*appLoop{},
		runs:    map[slipway.DeployID]*run{},
		envs:    map[string]*envBuild{},
		started: map[slipway.UserID]uint64{},
		fetches: map[slipway.UserID]int{},
		kick:    make(chan struct{}, 1),
		studio:  studio{kick: make(chan struct{}, 1), done: map[slipway.AppID]tried{}},
	}
}

// bell tells everybody who listens that something changed.
type bell struct {
	mu sync.Mutex
	c  chan struct{}
}

func (b *bell) ring() {
	b.mu.Lock()
	close(b.c)
	b.c = make(chan struct{})
	b.mu.Unlock()
}

// listen returns what the next ring closes. Listen first, look then, wait last.
func (b *bell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}

func (s *Service) now() time.Time { return s.Now().UTC() }

// find returns the app if the actor may do v to it.
func (s *Service) find(tx *store.Tx, a slipway.Actor, v access.Verb, name string) (store.App, error) {
	app, err := tx.AppByName(name)
	switch {
	case errs.Is(err, errs.KindNotFound), err == nil && app.Deleting:
		if err := access.Check(a, v, access.App(nil)); err != nil {
			return store.App{}, err
		}
		return store.App{}, errs.NotFound("no such app, or not one that you may see")
	case err != nil:
		return store.App{}, err
	}
	return app, s.check(tx, a, v, app)
}

func (s *Service) check(tx *store.Tx, a slipway.Actor, v access.Verb, app store.App) error {
	f := access.AppFacts{Owner: app.Owner, Access: app.Access}
	if a.User != nil {
		var err error
		if f.Grant, err = tx.GrantOf(app.ID, a.User.ID); err != nil {
			return err
		}
	}
	return access.Check(a, v, access.App(&f))
}

// view finds an app for reading.
func (s *Service) view(ctx context.Context, v access.Verb, name string, fn func(tx *store.Tx, app store.App) error) error {
	return s.DB.View(ctx, func(tx *store.Tx) error {
		app, err := s.find(tx, slipway.ActorFrom(ctx), v, name)
		if err != nil || fn == nil {
			return err
		}
		return fn(tx, app)
	})
}

// change finds an app for writing, runs fn, leaves a line in the audit trail
// and wakes the app's loop.
func (s *Service) change(ctx context.Context, v access.Verb, name, what, detail string, fn func(tx *store.Tx, app *store.App) error) (store.App, error) {
	var out store.App
	var before *audience
	actor := slipway.ActorFrom(ctx)
	err := s.DB.Update(ctx, func(tx *store.Tx) error {
		app, err := s.find(tx, actor, v, name)
		if err != nil {
			return err
		}
		if before, err = audienceOf(tx, app); err != nil {
			return err
		}
		if err := fn(tx, &app); err != nil {
			return err
		}
		out = app
		return s.audit(tx, actor, what, name, detail)
	})
	if err == nil {
		s.changed(out.ID, "", before)
		s.wake(out.ID)
	}
	return out, err
}

func (s *Service) audit(tx *store.Tx, a slipway.Actor, what, object, detail string) error {
	return tx.AddAudit(store.Audit{At: s.now(), Actor: a.Name(), Addr: a.Addr, Verb: what, Object: object, Result: "ok", Detail: detail})
}

// Page is a part of a list; Next is the cursor of the part that follows, or empty.
type Page[T any] struct {
	Items []T
	Next  string
	Total int // of all parts; 0 where nobody counts
}

func limitOf(n int) int {
	if n <= 0 {
		return 50
	}
	return min(n, 200)
}
