// Package server composes the processes: `slipway up` (the supervisor),
// `slipway core` and `slipway gateway`. It is the only package that knows all
// the others; it decides nothing.
package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/control/apps"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/proc"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/server/supervise"
)

// Names of the doors: on one machine sockets that the supervisor hands to its children.
const (
	sockEdge     = "edge"     // TCP: browsers, git, the CLI
	sockMetrics  = "metrics"  // TCP: health and measurements of the gateway
	sockCore     = "core"     // API, sign-in, git: asked by the gateway
	sockLink     = "link"     // policy for the gateway
	sockPlatform = "platform" // what apps may ask: keys and userinfo
	sockPhoto    = "photo"    // the app of which a browser in a sandbox takes a picture
	sockAdmin    = "admin"    // this machine's administrator, before the first sign-in
	sockRegistry = "registry" // images, for the nodes' pull proxies
	sockSSH      = "ssh"      // TCP: git over SSH
	sockCoreSSH  = "core-ssh" // the same, as the gateway hands it on
)

// Running is what `slipway up` writes to run/up.json once it serves.
type Running struct {
	PID     int           `json:"pid"`
	Hosts   slipway.Hosts `json:"hosts"`
	CAFile  string        `json:"ca_file,omitempty"`
	Metrics string        `json:"metrics"`
}

func upFile(data string) string     { return platform.Folder(data).Run("up.json") }
func configFile(data string) string { return platform.Folder(data).Run("config.json") }

// up runs the platform until ctx ends. out gets what a person wants to know.
func up(ctx context.Context, cfg platform.Config, out io.Writer) error {
	began := time.Now()
	data := platform.Folder(cfg.Data)
	if err := cfg.TLS.Check(); err != nil { // before anything is made
		return err
	}
	if err := checkDatabase(ctx, cfg); err != nil {
		return err
	}
	if err := data.Make(); err != nil {
		return err
	}
	lock, err := supervise.Lock(data.Run("lock"))
	if err != nil {
		return err
	}
	defer lock.Close()

	sockets, err := listen(ctx, &cfg)
	if err != nil {
		return err
	}
	log := logs.New(os.Stderr, cfg.Log.Format, cfg.Level(), "supervisor")
	certs, err := certificates(cfg, log)
	if err != nil {
		return err
	}
	if err := writeJSON(configFile(cfg.Data), cfg); err != nil {
		return err
	}
	run := Running{PID: os.Getpid(), Hosts: cfg.Hosts(), Metrics: cfg.Metrics}
	hosts := run.Hosts
	fmt.Fprintf(out, "Slipway on %s\n  Portal   %s/portal\n  Data     %s\n", hosts.Apps(), hosts.API(), cfg.Data)
	if certs != nil && certs.Fingerprint() != "" {
		run.CAFile = platform.CAFile(data.TLS())
		fmt.Fprintf(out, "  Local CA %s\n           SHA-256 %s\n", run.CAFile, certs.Fingerprint())
	}

	if cfg.SSH() {
		key, err := platform.OpenHostKey(data.SSHHostKey())
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  Git SSH  %s\n           %s\n", hosts.SSH(), ssh.FingerprintSHA256(key.PublicKey()))
	}
	if engine.Isolation(cfg.Isolation) == engine.IsolationNone {
		fmt.Fprintln(out, "  WARNING  isolation: none. Apps run as plain processes of this user and can do whatever it can: trusted code only.")
	}

	defer os.Remove(upFile(cfg.Data))
	g := loop.New(ctx, log)
	g.Spawn("announce", func(ctx context.Context) error {
		if err := waitReady(ctx, cfg.Metrics); err != nil {
			return err
		}
		fmt.Fprintf(out, "Ready in %.1f s. Ctrl-C stops it and its apps; the next start goes on where it was.\n", time.Since(began).Seconds())
		if err := writeJSON(upFile(cfg.Data), run); err != nil {
			return err
		}
		return settle(ctx)
	})
	err = supervise.Run(ctx, log,
		supervise.Child{Name: "gateway", Args: []string{"gateway", "--config", configFile(cfg.Data)}, Sockets: sockets.edge},
		supervise.Child{Name: "core", Args: []string{"core", "--config", configFile(cfg.Data)}, Sockets: sockets.core},
	)
	return errors.Join(err, g.Stop(), halt(cfg, log))
}

// halt stops the apps' sandboxes: whoever stops the platform wants the machine
// back. Only a restart of a part leaves them running.
func halt(cfg platform.Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return proc.Halt(ctx, engineOptions(cfg, log))
}

// engineOptions are the same for the core's engine and for what stops it.
func engineOptions(cfg platform.Config, log *slog.Logger) proc.Options {
	data := platform.Folder(cfg.Data)
	return proc.Options{
		Root: data.Engine(), Log: log, Memory: cfg.AppMemoryMB << 20, Isolation: engine.Isolation(cfg.Isolation),
		Links: map[string]string{platformLink: data.Run("apps/platform.sock"), apps.PhotoLink: data.Run("photo/photo.sock")},
	}
}

// sockets are those of the two children.
type sockets struct{ edge, core []supervise.Socket }

// listen opens all sockets, and writes the ports that were free into cfg.
func listen(ctx context.Context, cfg *platform.Config) (sockets, error) {
	data := platform.Folder(cfg.Data)
	var out sockets
	edge := []struct {
		name, setting string
		addr, public  *string
	}{
		{sockEdge, "listen", &cfg.Listen, &cfg.PublicPort},
		{sockMetrics, "metrics", &cfg.Metrics, new(string)},
		{sockSSH, "ssh_listen", &cfg.SSHListen, &cfg.SSHPublicPort},
	}
	local := []struct {
		name, addr string
		of         *[]supervise.Socket
	}{
		// In a folder of its own: every sandbox sees that folder.
		{sockPlatform, data.Run("apps/platform.sock"), &out.edge},
		{sockPhoto, data.Run("photo/photo.sock"), &out.core},
		{sockCore, data.Run("core.sock"), &out.core},
		{sockLink, data.Run("link.sock"), &out.core},
		{sockAdmin, data.Run("admin.sock"), &out.core},
		{sockCoreSSH, data.Run("ssh.sock"), &out.core},
	}
	if !cfg.SSH() {
		edge, local = edge[:len(edge)-1], local[:len(local)-1]
	}
	for _, s := range edge {
		socket, addr, err := supervise.Listen(ctx, s.name, "tcp", *s.addr)
		if err != nil {
			return out, errs.Wrap(err, errs.KindOf(err), "%s: %s", s.setting, errs.Message(err))
		}
		out.edge = append(out.edge, socket)
		*s.addr = addr.String()
		if *s.public == "" || *s.public == "0" {
			_, *s.public, _ = net.SplitHostPort(*s.addr)
		}
	}
	for _, s := range local {
		socket, _, err := supervise.Listen(ctx, s.name, "unix", s.addr)
		if err != nil {
			return out, errs.Wrap(err, errs.KindOf(err), "data: %s", errs.Message(err))
		}
		*s.of = append(*s.of, socket)
	}
	return out, nil
}

func certificates(cfg platform.Config, log *slog.Logger) (*platform.Certificates, error) {
	if cfg.HTTP {
		return nil, nil
	}
	return platform.OpenCertificates(platform.Folder(cfg.Data).TLS(), cfg.TLS, cfg.Hosts(), log)
}

// waitReady asks /readyz until it says yes.
func waitReady(ctx context.Context, addr string) error {
	wait := loop.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/readyz", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// writeJSON replaces the file whole.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// readConfig reads a process's settings: what the supervisor wrote, or a file
// of the same form.
func readConfig(path string) (platform.Config, error) {
	if path == "" {
		return platform.Config{}, errs.Invalid("this command is started by `slipway up` or by Kubernetes, with --config")
	}
	cfg, err := platform.ReadConfig(path)
	if err != nil {
		return cfg, err
	}
	return cfg, cfg.Complete()
}
