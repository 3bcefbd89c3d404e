package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/gateway"
	"slipway.dev/slipway/internal/link"
	"slipway.dev/slipway/internal/platform"
)

// runGateway is the edge's process.
func runGateway(ctx context.Context, cfg platform.Config) error {
	log := logs.New(os.Stderr, cfg.Log.Format, cfg.Level(), partGateway)
	at, err := placeOf(ctx, cfg, partGateway, log)
	if err != nil {
		return err
	}
	certs, err := certificates(cfg, log)
	if err != nil {
		return err
	}
	var tlsConfig *tls.Config
	if certs != nil {
		tlsConfig = certs.Config()
	}
	client := &link.Client{Endpoint: at.link, Dialer: at.dialer, File: platform.Folder(cfg.Data).Policy(), Log: log}
	o := gateway.Options{
		Policy: client, Log: log, Dialer: at.dialer, TLS: tlsConfig, TrustedProxies: cfg.Proxies(), Metrics: prometheus.NewRegistry(),
		Report: client.Report, CoreHold: at.coreHold, Linger: at.linger, AddressConns: cfg.AddressConnections, BodyRate: cfg.BodyRate,
		SSH: at.doors[sockSSH], CoreSSH: at.ssh,
	}
	around := []func(context.Context) error{client.Run, settle}
	if at.endpoints != nil {
		o.AddressConns = -1 // a cluster's balancer may speak for everybody
		o.Endpoints = func(app slipway.AppID, workload string) ([]string, bool) {
			return at.endpoints.Endpoints(string(app), workload)
		}
		around = append(around, at.endpoints.Run)
	}
	edge, err := gateway.New(o)
	if err != nil {
		return err
	}
	around = append(around, func(ctx context.Context) error {
		return serve(ctx, log, at.doors[sockMetrics], health(edge.Admin(), at))
	})
	if inside := at.doors[sockPlatform]; inside != nil { // a supervisor that began before an update has none for us
		around = append(around, func(ctx context.Context) error {
			return serve(ctx, log, gateway.Narrow(inside), edge.Inside(cfg.Hosts().Auth()))
		})
	}
	// What the edge decides by, and says of itself, goes on until its last
	// request has ended.
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	return loop.Run(ctx,
		func(context.Context) error { return loop.Run(outer, around...) },
		func(ctx context.Context) error {
			defer stop()
			return edge.Serve(ctx, at.doors[sockEdge])
		},
	)
}

// health adds the core's own to the gateway's: /metrics/core and /healthz/core.
func health(own http.Handler, at place) http.Handler {
	core := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "core", coreHost
			r.Out.URL.Path = strings.TrimSuffix(r.In.URL.Path, "/core")
		},
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return at.dialer.Dial(ctx, at.core)
		}},
	}
	mux := http.NewServeMux()
	mux.Handle("/", own)
	for _, path := range []string{"/metrics", "/healthz"} {
		mux.Handle("GET "+path+"/core", core)
	}
	return mux
}

// serve serves HTTP on a door until ctx ends, and then lets the
// requests under way end.
func serve(ctx context.Context, log *slog.Logger, l net.Listener, h http.Handler) error {
	if l == nil {
		return fmt.Errorf("a socket is missing: the supervisor is of another version")
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	return loop.Run(ctx,
		func(context.Context) error {
			if err := srv.Serve(l); err != http.ErrServerClosed {
				return err
			}
			return nil
		},
		func(ctx context.Context) error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if srv.Shutdown(end) != nil {
				return srv.Close() // streams that follow something do not end by themselves
			}
			return nil
		},
	)
}
