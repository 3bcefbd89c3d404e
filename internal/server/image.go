package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/base/logs"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/oci"
	"slipway.dev/slipway/internal/server/supervise"
)

// imageCommand makes the images that a cluster needs, without Docker.
func imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Make the images that Kubernetes needs, without Docker",
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	cmd.AddCommand(imageBase(), imagePlatform(), imageDatabase(), imagePush(), imageCollect())
	return cmd
}

// imageFlags are those of both images.
type imageFlags struct {
	debian     image.Debian
	from, file string
	name       string // that loading it gives
	json       bool
}

func (f *imageFlags) add(cmd *cobra.Command, file, name string) {
	fl := cmd.Flags()
	fl.StringVar(&f.file, "output", file, "file to write, as \"docker save\" does")
	fl.StringVar(&f.name, "name", name, "name that loading the file gives to the image")
	fl.StringVar(&f.from, "from", "", "image to start from, a file or a name in a registry (default: a Debian made here)")
	fl.StringVar(&f.debian.Mirror, "mirror", "", "Debian's mirror (default: that of this machine's apt)")
	fl.StringVar(&f.debian.Suite, "suite", "", "Debian's release (default: this machine's)")
	fl.StringSliceVar(&f.debian.Packages, "packages", nil, "more Debian packages")
	fl.BoolVar(&f.debian.Again, "refresh", false, "bootstrap Debian anew instead of using the cache, for newer packages")
	fl.BoolVar(&f.json, "json", false, "print JSON")
}

// write makes an image over the base and tells what it wrote.
func (f *imageFlags) write(cmd *cobra.Command, program string) error {
	ctx := cmd.Context()
	f.debian.Progress = cmd.ErrOrStderr()
	from := f.from
	img, err := image.Read(ctx, from)
	if from == "" {
		var layer string
		if layer, err = image.DebianLayer(ctx, f.debian); err == nil {
			img, err = image.FromDebian(layer)
		}
	}
	if err == nil && program != "" {
		img, err = image.Platform(img, program)
	}
	if err != nil {
		return err
	}
	w, err := image.WriteFile(img, f.file, f.name)
	if err != nil {
		return err
	}
	return say(cmd.OutOrStdout(), f.json, w, "%s  %s  %d MB\n%s\n", w.File, w.Image, w.Bytes>>20, w.Digest)
}

func say(out io.Writer, asJSON bool, v any, format string, args ...any) error {
	if asJSON {
		return json.NewEncoder(out).Encode(v)
	}
	_, err := fmt.Fprintf(out, format, args...)
	return err
}

func imageBase() *cobra.Command {
	var f imageFlags
	cmd := &cobra.Command{
		Use: "base", Short: "Make the image that every app's image starts from",
		Long: `Make the image that every app's image starts from: Debian's minimum with Python,
git and the authorities' certificates, bootstrapped from the mirror of this
machine's apt. It is kept in the user's cache; making it needs root and
debootstrap. --from takes an image of your own instead, which must have
/bin/sh and /usr/bin/python3.`,
		Example: "  slipway image base --output base.tar\n  slipway image base --from registry.example.com/python-base:1 --output base.tar",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.write(cmd, "") },
	}
	f.add(cmd, "base.tar", "slipway.local/base:latest")
	return cmd
}

func imagePlatform() *cobra.Command {
	var f imageFlags
	var program string
	cmd := &cobra.Command{
		Use: "platform", Short: "Make the image of slipway itself",
		Long: `Make the image in which the parts of the platform run: this program over the same
layer as the base image of apps, so that a node keeps it once.`,
		Example: "  slipway image platform --output slipway.tar",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if program == "" {
				var err error
				if program, err = os.Executable(); err != nil {
					return err
				}
			}
			return f.write(cmd, program)
		},
	}
	f.add(cmd, "slipway.tar", "slipway.local/slipway:"+Version)
	cmd.Flags().StringVar(&program, "program", "", "static slipway program to pack (default: this one)")
	return cmd
}

func imageDatabase() *cobra.Command {
	var f imageFlags
	cmd := &cobra.Command{
		Use: "database", Short: "Make an image of PostgreSQL for the installed database",
		Long: `Make an image of Debian's PostgreSQL, for "slipway install --database-image"
where no registry with one can be reached.`,
		Example: "  slipway image database --output postgres.tar",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.debian.Packages = append(f.debian.Packages, "postgresql")
			return f.write(cmd, "")
		},
	}
	f.add(cmd, "postgres.tar", "slipway.local/postgres:"+Version)
	return cmd
}

func imagePush() *cobra.Command {
	var file, to, identity string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "push", Short: "Push an image from a file to a registry",
		Long: `Push an image that "slipway image" or "docker save" wrote to a registry, with the
passwords of docker's configuration, or with a certificate of the platform's
internal authority.`,
		Example: "  slipway image push --file slipway.tar --to registry.example.com/slipway:0.1.0",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			img, err := image.Read(cmd.Context(), file)
			if err != nil {
				return err
			}
			var transport http.RoundTripper
			if identity != "" {
				id, err := platform.OpenIdentity(identity, logs.New(os.Stderr, "text", 0, "push"))
				if err != nil {
					return err
				}
				transport = toCore(func() *tls.Config { return id.Client(platform.NameCore) }, "")
			}
			digest, err := image.Upload(cmd.Context(), img, to, transport)
			if err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), asJSON, map[string]string{"image": to, "digest": digest}, "%s@%s\n", to, digest)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "file", "", "file with the image")
	f.StringVar(&to, "to", "", "name in the registry")
	f.StringVar(&identity, "identity", "", "folder with tls.crt, tls.key and ca.crt of the internal authority")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func imageCollect() *cobra.Command {
	var data string
	var grace time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "collect", Short: "Give back the space of images that nothing uses, on the platform's own machine",
		Long: `Give back the space of images that nothing uses: of deleted apps, of releases
whose files are no longer kept, and of pushes that were cut off. The platform
does it by itself a few times a day; this is for not waiting. Run it where the
core's data folder is, on Kubernetes in the core's pod. A push that is under
way for longer than --grace may have to be repeated.`,
		Example: `  slipway image collect --data /srv/slipway
  kubectl exec -n slipway deploy/slipway-core -- slipway image collect --data /var/lib/slipway`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var out collected
			if err := askAdmin(cmd.Context(), platform.Folder(data), "/collect?grace="+grace.String(), nil, &out); err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), asJSON, out, "%d MB of images, %d MB before\n", out.After>>20, out.Before>>20)
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "slipway-data", "the platform's data folder")
	f.DurationVar(&grace, "grace", registryGrace, "keep what is younger: it may belong to a push under way")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// toCore is how another part asks the core's registry. addr is where it is
// when that is not what the URL says.
func toCore(config func() *tls.Config, addr string) *http.Transport {
	var d net.Dialer
	return &http.Transport{
		MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		DialTLSContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			if addr != "" {
				at = addr
			}
			c, err := d.DialContext(ctx, network, at)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(c, config())
			if err := secure.HandshakeContext(ctx); err != nil {
				c.Close()
				return nil, err
			}
			return secure, nil
		},
	}
}

// pullProxyCommand is what a DaemonSet runs on every node.
func pullProxyCommand() *cobra.Command {
	var identity, listen, core, cache string
	var megabytes int64
	cmd := &cobra.Command{
		Use: "pull", Aliases: []string{"pull-proxy"}, Short: "Let a node's kubelet pull apps' images from the core",
		Long: `Run on each node, in the host's network: kubelets pull apps' images from its
loopback address, without a name to resolve or an authority to trust. It reads
only apps' images, only by digest, shows its own certificate to the core, and
serves what it has kept while the core is away.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := logs.New(os.Stderr, "text", 0, "pull")
			id, err := platform.OpenIdentity(identity, log)
			if err != nil {
				return err
			}
			transport := toCore(func() *tls.Config { return id.Client(platform.NameCore) }, core)
			defer transport.CloseIdleConnections()
			proxy, err := oci.NewProxy(oci.ProxyOptions{
				Upstream: "https://" + core, Client: &http.Client{Transport: transport}, Repos: []string{image.AppsRepo},
				Dir: cache, MaxBytes: megabytes << 20, Log: log,
			})
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			l, err := supervise.Open(ctx, "tcp", listen)
			if err != nil {
				return err
			}
			return serve(ctx, log, l, proxy)
		},
	}
	f := cmd.Flags()
	f.StringVar(&identity, "identity", "/etc/slipway/identity", "folder with tls.crt, tls.key and ca.crt of the internal authority")
	f.StringVar(&listen, "listen", "127.0.0.1:5005", "address on the node")
	f.StringVar(&core, "registry", "slipway-core.slipway.svc:7445", "the core's registry")
	f.StringVar(&cache, "cache", "/var/cache/slipway", "folder of kept content")
	f.Int64Var(&megabytes, "cache-mb", 2048, "most that is kept")
	return cmd
}

// mayPull lets the pull proxies read, and the installer push the base image.
func mayPull(r *http.Request) (pull, push bool) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false, false
	}
	for _, name := range r.TLS.PeerCertificates[0].DNSNames {
		pull = pull || strings.EqualFold(name, platform.NamePull)
		push = push || strings.EqualFold(name, platform.NameInstaller)
	}
	return pull, push
}
