package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"slipway.dev/slipway/internal/base/dial"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/endpoints"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/kube"
	"slipway.dev/slipway/internal/engine/proc"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/idp"
	"slipway.dev/slipway/internal/server/supervise"
)

// place is where a process of the platform runs: what it listens on, how it
// reaches the others, and what runs the apps. The processes themselves are the
// same everywhere.
type place struct {
	doors  map[string]net.Listener
	core   string      // endpoint of the core
	link   string      // endpoint of the core's link
	ssh    string      // endpoint of the core's SSH
	dialer dial.Dialer // opens them
	engine func(ctx context.Context, c *core, log *slog.Logger) (runner, error)

	// What a gateway needs where there is no supervisor that keeps its sockets.
	endpoints *endpoints.Reader // nil: the table alone says where replicas are
	linger    func(context.Context)
	coreHold  time.Duration

	// trusted is a file of authorities for builds, which do not see this
	// process's own. Empty: they do, or there is none.
	trusted string
}

const (
	// coreHold is for a core that is replaced: its old pod must end, and the new
	// one start.
	coreHold = 45 * time.Second
)

// runner is an engine with an end; what it runs goes on.
type runner interface {
	engine.Engine
	Close() error
}

// Parts of the platform that are processes.
const (
	partCore    = "core"
	partGateway = "gateway"
)

func placeOf(ctx context.Context, cfg platform.Config, part string, log *slog.Logger) (place, error) {
	if cfg.Engine == platform.EngineKube {
		return inCluster(ctx, cfg, part, log)
	}
	return onMachine(cfg)
}

// onMachine is below the supervisor, which owns the sockets.
func onMachine(cfg platform.Config) (place, error) {
	doors, err := supervise.Inherited()
	data := platform.Folder(cfg.Data)
	return place{
		doors: doors, core: "unix://" + data.Run("core.sock"), link: "unix://" + data.Run("link.sock"), ssh: "unix://" + data.Run("ssh.sock"), engine: procEngine,
	}, err
}

// inCluster is a pod: every part listens for itself, and those who come from
// other pods show certificates.
func inCluster(ctx context.Context, cfg platform.Config, part string, log *slog.Logger) (place, error) {
	id, err := platform.OpenIdentity(cfg.Kube.Identity, log)
	if err != nil {
		return place{}, err
	}
	if err := platform.Folder(cfg.Data).Make(); err != nil {
		return place{}, err
	}
	p := place{
		core: "tls://" + cfg.Kube.At(cfg.Kube.Ports.Core), link: "tls://" + cfg.Kube.At(cfg.Kube.Ports.Link), ssh: "tls://" + cfg.Kube.At(cfg.Kube.Ports.SSH),
		dialer: dial.Dialer{TLS: func() *tls.Config { return id.Client(platform.NameCore) }}, engine: kubeEngine,
		linger: func(ctx context.Context) { _ = loop.Sleep(ctx, time.Duration(cfg.Kube.LingerSeconds)*time.Second) }, coreHold: coreHold,
		trusted: os.Getenv("SSL_CERT_FILE"),
	}
	if part == partGateway {
		if p.endpoints, err = endpoints.New(nil, cfg.Kube.AppsNamespace, "", log.With("part", "endpoints")); err != nil {
			return place{}, err
		}
	}
	p.doors, err = open(ctx, clusterDoors(cfg, part, id))
	return p, err
}

// door is a listener to open.
type door struct {
	name, network, addr string
	tls                 *tls.Config // nil: plain
}

func clusterDoors(cfg platform.Config, part string, id *platform.Identity) []door {
	metrics := door{sockMetrics, "tcp", cfg.Metrics, nil}
	if part == partGateway {
		doors := []door{{sockEdge, "tcp", cfg.Listen, nil}, {sockPlatform, "tcp", ":" + cfg.Kube.Ports.Platform, nil}, metrics}
		if cfg.SSH() {
			doors = append(doors, door{sockSSH, "tcp", cfg.SSHListen, nil})
		}
		return doors
	}
	p, gateways := cfg.Kube.Ports, id.Server(platform.NameGateway)
	doors := []door{
		{sockCore, "tcp", ":" + p.Core, gateways},
		{sockLink, "tcp", ":" + p.Link, gateways},
		{sockRegistry, "tcp", ":" + p.Registry, id.Server(platform.NamePull, platform.NameInstaller)},
		{sockPlatform, "tcp", ":" + p.Platform, nil},
		{sockAdmin, "unix", platform.Folder(cfg.Data).Run("admin.sock"), nil},
		metrics,
	}
	if cfg.SSH() {
		doors = append(doors, door{sockCoreSSH, "tcp", ":" + p.SSH, gateways})
	}
	return doors
}

// open opens all doors or none.
func open(ctx context.Context, doors []door) (map[string]net.Listener, error) {
	out := map[string]net.Listener{}
	for _, d := range doors {
		l, err := supervise.Open(ctx, d.network, d.addr)
		if err != nil {
			for _, l := range out {
				l.Close()
			}
			return nil, errs.Wrap(err, errs.KindOf(err), "%s: %s", d.name, errs.Message(err))
		}
		if d.tls != nil {
			l = tls.NewListener(l, d.tls)
		}
		out[d.name] = l
	}
	return out, nil
}

func procEngine(_ context.Context, c *core, log *slog.Logger) (runner, error) {
	e, err := proc.New(engineOptions(c.cfg, log))
	if err != nil {
		return nil, err // not a runner that holds a nil pointer
	}
	return e, nil
}

// kubeEngine runs apps as pods, of images that the core's own registry keeps.
func kubeEngine(ctx context.Context, c *core, log *slog.Logger) (runner, error) {
	k := c.cfg.Kube
	images, err := image.Open(ctx, image.Options{Store: c.registry.store, Host: k.PullHost, Hint: apps.LayerAt})
	if err != nil {
		return nil, err
	}
	c.images = images
	e, err := kube.New(kube.Options{
		Log: log, Images: images, Data: c.data.Engine(),
		Namespace: k.AppsNamespace, Platform: k.Namespace, Inbox: k.At(k.Ports.Platform),
		Links:  map[string]string{platformLink: k.AtGateways(k.Ports.Platform)},
		Memory: c.cfg.AppMemoryMB << 20, StorageClass: k.StorageClass, SharedStorageClass: k.SharedStorageClass, Shut: k.Shut,
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// platformHandler is for the inits of tasks where their engine has a door for
// them, and for what apps may ask in pods made when that led here.
func (c *core) platformHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", idp.PlatformHandler(c.idp()))
	if e, ok := c.engine.(*kube.Engine); ok {
		mux.Handle(kube.HandlerPath, e.Handler())
	}
	return mux
}
