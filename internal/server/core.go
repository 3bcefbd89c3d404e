package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/api"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/control/people"
	setting "slipway.dev/slipway/internal/control/settings"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/pages"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/gitd"
	"slipway.dev/slipway/internal/proto/idp"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/web"
)

const (
	coreHost     = "core" // of requests for the core itself; no name of the platform, so none comes through the edge
	platformLink = "platform"
	platformPort = 7500 // on loopback inside every sandbox
)

// Version is the product's version, set by the release build.
const Version = "0.1.0"

// core is what decides, with its parts.
type core struct {
	cfg    platform.Config
	data   platform.Folder
	hosts  slipway.Hosts
	log    *slog.Logger
	db     *store.DB
	at     place
	engine runner
	build  *build.Builder
	hub    *link.Hub
	people *people.Service
	apps   *apps.Service
	git    *gitd.Server
	ssh    *gitd.SSH // nil where it is off

	settings *setting.Service
	registry *registry
	images   *image.Images // of apps; nil where the engine needs none
}

// runCore is the core's process.
func runCore(ctx context.Context, cfg platform.Config) error {
	log := logs.New(os.Stderr, cfg.Log.Format, cfg.Level(), partCore)
	at, err := placeOf(ctx, cfg, partCore, log)
	if err != nil {
		return err
	}
	c := &core{cfg: cfg, at: at, data: platform.Folder(cfg.Data), hosts: cfg.Hosts(), log: log}
	if err := c.open(ctx); err != nil {
		return errors.Join(err, c.close())
	}
	run := []func(context.Context) error{c.lead, c.collectImages, settle, func(ctx context.Context) error {
		<-ctx.Done()
		c.hub.Close() // its streams do not end by themselves
		return nil
	}}
	for name, h := range c.handlers() {
		if l := at.doors[name]; l != nil {
			run = append(run, func(ctx context.Context) error { return serve(ctx, log.With("door", name), l, h) })
		}
	}
	if l := at.doors[sockCoreSSH]; l != nil && c.ssh != nil {
		run = append(run, func(ctx context.Context) error { return c.ssh.Serve(ctx, l) })
	}
	err = loop.Run(ctx, run...)
	return errors.Join(err, c.close())
}

// handlers are what each door leads to. A place need not have all doors.
func (c *core) handlers() map[string]http.Handler {
	return map[string]http.Handler{
		sockCore:     c.handler(),
		sockLink:     c.hub.Handler(c.people),
		sockRegistry: c.registry.internal,
		sockPlatform: c.platformHandler(),
		sockPhoto:    c.apps.Studio(),
		sockAdmin:    c.adminHandler(),
		sockMetrics:  c.ownHandler(),
	}
}

// open makes the parts, from the bottom up, and fills the gateways' table.
func (c *core) open(ctx context.Context) error {
	box, err := secret.OpenBox(c.cfg.KeyFile)
	if err != nil {
		return err
	}
	// Slow, and nothing else needs it: a core that starts is waited for.
	var pip string
	if err := loop.Run(ctx, func(ctx context.Context) error { pip = pipConfig(ctx); return nil }, func(context.Context) error {
		return c.openParts(ctx, box)
	}); err != nil {
		return err
	}
	c.build = build.New(build.Options{
		Engine: c.engine, Data: filepath.Join(c.data.Core(), "build"), Log: c.log.With("part", "build"),
		Index: build.IndexConfig(os.Environ(), pip), Environ: os.Environ(),
		CAFile: c.at.trusted,
	})
	c.hub = link.NewHub(c.hosts, c.log.With("part", "link"))
	c.hub.SetPlatform(map[string]string{slipway.HostAPI: c.at.core, slipway.HostAuth: c.at.core, slipway.HostGit: c.at.core, slipway.HostRegistry: c.at.core})
	c.people = people.New(people.Options{DB: c.db, Box: box, Hub: c.hub, Hosts: c.hosts, Log: c.log.With("part", "people")})
	if c.git, err = c.gitServer(); err != nil {
		return err
	}
	if c.cfg.SSH() {
		if c.ssh, err = c.sshServer(); err != nil {
			return err
		}
	}
	if err := c.git.Sweep(); err != nil {
		c.log.WarnContext(ctx, "what cut-off pushes left could not be removed", "error", err)
	}
	c.apps = apps.New(apps.Options{
		DB: c.db, Engine: c.engine, Build: buildWithTools{c.build}, Router: c.hub, Box: box, Hosts: c.hosts, Log: c.log.With("part", "apps"),
		Data: c.data.Core(), PlatformPort: platformPort, Photos: c.photos(), Limits: apps.Limits{MemoryMB: c.cfg.AppMemoryMB, Silent: time.Duration(c.cfg.AppSilentSeconds) * time.Second},
		Removed: c.removed, Fetcher: c.fetch,
	})
	c.settings = &setting.Service{DB: c.db, Changed: c.apps.PlatformChanged, Brand: c.hub.SetBrand}
	c.hub.OnUsage(c.apps.Record)
	if err := c.load(ctx); err != nil {
		return err
	}
	c.hub.Open()
	return nil
}

// openParts opens the database, the registry and the engine.
func (c *core) openParts(ctx context.Context, box *secret.Box) (err error) {
	if c.db, err = openStore(ctx, c.cfg, c.log); err != nil {
		return err
	}
	if c.registry, err = c.openRegistry(ctx, box); err != nil {
		return err
	}
	c.engine, err = c.at.engine(ctx, c, c.log.With("part", "engine"))
	return err
}

func (c *core) close() error {
	var err error
	if c.engine != nil {
		err = c.engine.Close() // sandboxes go on
	}
	if c.registry != nil {
		err = errors.Join(err, c.registry.server.Close(), c.registry.internal.Close())
	}
	if c.db != nil {
		err = errors.Join(err, c.db.Close())
	}
	return err
}

// pipConfig asks the host's pip where packages come from, so that builds use
// the index that this machine's administrator has set. Without pip there is none.
func pipConfig(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	out, err := build.Pip(ctx, "/usr/bin/python3", os.Environ(), "config", "list").Output()
	if err != nil {
		return ""
	}
	return string(out)
}

// handler serves the platform's own hosts. Only the gateway reaches it.
func (c *core) handler() http.Handler {
	page := c.pages()
	auth := http.NewServeMux()
	auth.Handle(idp.Realm+"/", idp.New(c.idp()))
	auth.Handle("/", pages.Auth(page))
	management := http.NewServeMux()
	management.Handle("/v1/", api.New(api.Options{
		Apps: c.apps, People: c.people, Settings: c.settings,
		Commits: c.commits, Health: c.health, SSH: c.sshHost(), Engine: c.engine, Source: c.build, Hosts: c.hosts, Version: Version, Log: c.log.With("part", "api"),
	}))
	management.Handle("/", pages.Manage(page))
	own := c.ownHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(logs.WithRequest(r.Context(), r.Header.Get("X-Request-Id")))
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		kind, _ := c.hosts.Kind(host)
		switch {
		case kind == slipway.HostAPI:
			management.ServeHTTP(w, r)
		case kind == slipway.HostAuth:
			auth.ServeHTTP(w, r)
		case kind == slipway.HostGit:
			c.serveGit(w, r)
		case kind == slipway.HostRegistry:
			c.serveRegistry(w, r)
		case host == coreHost:
			own.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	})
}

func (c *core) pages() pages.Options {
	return pages.Options{
		People: c.people, UI: web.Built(), Brand: c.settings.Branding, Hosts: c.hosts, Log: c.log.With("part", "pages"),
	}
}

func (c *core) idp() idp.Options {
	viewer := pages.Viewer(c.pages())
	return idp.Options{
		Origin: c.hosts.Auth(), JWKS: c.people.JWKS, Sign: c.people.SignJWT, Log: c.log.With("part", "idp"),
		SignIn:  func(to string, again bool) string { return pages.SignInPage(c.hosts, to, again) },
		SignOut: c.hosts.Auth() + "/logout",
		Viewer: func(r *http.Request) (*idp.Subject, error) {
			a, err := viewer(r)
			if err != nil || a.User == nil {
				return nil, err
			}
			s := subject(*a.User, a.Session)
			s.Since, err = c.people.SignedIn(r.Context(), a.Session)
			return s, err
		},
		Subject: func(ctx context.Context, id string) (*idp.Subject, error) {
			u, err := c.people.Subject(ctx, slipway.UserID(id))
			if err != nil {
				return nil, err
			}
			return subject(u, ""), nil
		},
	}
}

func subject(u slipway.User, session slipway.SessionID) *idp.Subject {
	s := &idp.Subject{ID: string(u.ID), Username: u.Name, Email: u.Email, Name: u.FullName, Session: string(session)}
	for _, r := range u.Roles {
		s.Roles = append(s.Roles, string(r))
	}
	return s
}

// ownHandler tells how the core itself is.
func (c *core) ownHandler() http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slipway_core_database_up", Help: "1 while the database answers.",
	}, func() float64 {
		if c.databaseAway(context.Background()) {
			return 0
		}
		return 1
	}))
	mux.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {}) // its doors open when it is
	// A core without its database is healthy: a restart would not help, and
	// whoever asks it for something is told.
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		text := "ok"
		if c.databaseAway(r.Context()) {
			text = "the database is away"
		}
		fmt.Fprintln(w, text)
	})
	return mux
}

func (c *core) databaseAway(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.db.Ping(ctx) != nil
}

// photos: a browser runs whatever an app sends it, so there must be a sandbox.
func (c *core) photos() bool {
	return c.at.doors[sockPhoto] != nil && c.cfg.Thumbnails == "auto" && engine.Isolation(c.cfg.Isolation) != engine.IsolationNone
}
