package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/proc"
	"slipway.dev/slipway/internal/platform"
)

// Commands are the verbs that run on the platform's own machine. The client's
// verbs are package cli's.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		upCommand(), configCommand(), preflightCommand(), bootstrapCommand(), installCommand(), uninstallCommand(),
		coreCommand(), gatewayCommand(), imageCommand(), pullProxyCommand(),
	}
}

// settings are the flags that set keys of slipway.yaml; a flag wins.
type settings struct {
	file    string
	cfg     platform.Config
	proxies []string
}

func (s *settings) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.file, "config", "", "configuration file (slipway.yaml)")
	f.StringVar(&s.cfg.Base, "base", "", "domain of the platform (default slipway.localhost)")
	f.StringVar(&s.cfg.Data, "data", "", "folder that holds everything (default ./slipway-data)")
	f.StringVar(&s.cfg.Listen, "listen", "", "address of the one port (default 127.0.0.1:8443)")
	f.StringVar(&s.cfg.SSHListen, "ssh-listen", "", "address of git over SSH, or off (default port 2222 on the host of --listen)")
	f.StringVar(&s.cfg.Metrics, "metrics", "", "address of /healthz, /readyz and /metrics (default: a free port on loopback)")
	f.StringVar(&s.cfg.Thumbnails, "thumbnails", "", "auto: Chromium, when it is there, takes pictures of apps that have none; or off (default auto)")
	f.StringVar(&s.cfg.Database, "database", "", "PostgreSQL database, such as postgres://user@host/slipway (default: SQLite in the data folder)")
	f.StringVar(&s.cfg.DatabasePasswordFile, "database-password-file", "", "file that holds the password for --database")
	f.BoolVar(&s.cfg.HTTP, "http", false, "serve plain HTTP, behind a proxy that ends TLS or on loopback")
	f.StringSliceVar(&s.proxies, "trusted-proxies", nil, "networks whose X-Forwarded-For is believed, such as 10.0.0.0/8")
}

// read merges the file and the flags.
func (s *settings) read() (platform.Config, error) {
	cfg, err := platform.ReadConfig(s.file)
	if err != nil {
		return cfg, err
	}
	for _, p := range []struct{ to, from *string }{
		{&cfg.Base, &s.cfg.Base},
		{&cfg.Data, &s.cfg.Data},
		{&cfg.Listen, &s.cfg.Listen},
		{&cfg.SSHListen, &s.cfg.SSHListen},
		{&cfg.Metrics, &s.cfg.Metrics},
		{&cfg.Thumbnails, &s.cfg.Thumbnails},
		{&cfg.Database, &s.cfg.Database},
		{&cfg.DatabasePasswordFile, &s.cfg.DatabasePasswordFile},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	cfg.HTTP = cfg.HTTP || s.cfg.HTTP
	if len(s.proxies) > 0 {
		cfg.TrustedProxies = s.proxies
	}
	return cfg, cfg.Complete()
}

func upCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the platform on this machine",
		Long: `Run the whole platform on this machine until Ctrl-C. State, apps and their files
are in the data folder; a second start goes on where it was.`,
		Example: "  slipway up --data /srv/slipway --base slipway.example.com --listen 0.0.0.0:443\n  slipway up --config slipway.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.read()
			if err != nil {
				return err
			}
			if err := sandboxes(cfg); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return up(ctx, cfg, cmd.OutOrStdout())
		},
	}
	s.flags(cmd)
	return cmd
}

// sandboxes refuses to run apps with less isolation than the administrator
// asked for.
func sandboxes(cfg platform.Config) error {
	return proc.Preflight(engine.Isolation(cfg.Isolation), platform.Folder(cfg.Data).Engine())
}

func preflightCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "preflight",
		Short: "Tell whether this machine can run apps in sandboxes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.read()
			if err != nil {
				return err
			}
			if err := sandboxes(cfg); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "isolation: %s\n", cfg.Isolation)
			return nil
		},
	}
	s.flags(cmd)
	return cmd
}

func configCommand() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the configuration and print what is in force",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := s.read()
			if err != nil {
				return err
			}
			out, err := cfg.Print()
			if err == nil {
				_, err = cmd.OutOrStdout().Write(out)
			}
			return err
		},
	}
	s.flags(cmd)
	return cmd
}

// child makes a hidden command that `slipway up` or a pod runs.
func child(name string, run func(ctx context.Context, cfg platform.Config) error) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: name, Hidden: true, Args: cobra.NoArgs, Short: "Part of the platform, started by `slipway up` or by Kubernetes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return run(ctx, cfg)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "settings, such as the supervisor writes")
	return cmd
}

func coreCommand() *cobra.Command    { return child("core", runCore) }
func gatewayCommand() *cobra.Command { return child("gateway", runGateway) }

func bootstrapCommand() *cobra.Command {
	var data, name string
	var stdin bool
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Make the first administrator, on the platform's own machine",
		Long: `Make the first administrator of a platform that runs on this machine. It works
once: when there is an administrator, people are made with "slipway admin users".`,
		Example: "  slipway bootstrap --data /srv/slipway --name admin --password-stdin < password.txt",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stdin {
				return errs.Invalid("give the password on standard input, with --password-stdin: arguments can be read by others")
			}
			line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return bootstrap(cmd.Context(), platform.Folder(data), firstAdmin{name, strings.TrimRight(line, "\r\n")})
		},
	}
	cmd.Flags().StringVar(&data, "data", "slipway-data", "the platform's data folder")
	cmd.Flags().StringVar(&name, "name", "admin", "user name")
	cmd.Flags().BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

// firstAdmin is what the admin socket takes.
type firstAdmin struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func bootstrap(ctx context.Context, data platform.Folder, admin firstAdmin) error {
	body, err := json.Marshal(admin)
	if err != nil {
		return err
	}
	return askAdmin(ctx, data, "/bootstrap", body, nil)
}

// askAdmin asks the core over a socket that only the platform's user can open.
// out, if any, takes the answer.
func askAdmin(ctx context.Context, data platform.Folder, path string, body []byte, out any) error {
	socket := data.Run("admin.sock")
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return errs.Wrap(err, errs.KindUnavailable, "no platform runs on this data folder: start it with `slipway up`")
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNoContent:
		return nil
	case res.StatusCode == http.StatusOK && out != nil:
		return json.NewDecoder(res.Body).Decode(out)
	}
	var e wireError
	if err := json.NewDecoder(res.Body).Decode(&e); err != nil {
		return fmt.Errorf("the platform answers %s", res.Status)
	}
	return &errs.Error{Kind: errs.ParseKind(e.Kind), Message: e.Message, Fields: e.Fields}
}

// wireError is an error on the admin socket.
type wireError struct {
	Kind    string       `json:"kind"`
	Message string       `json:"message"`
	Fields  []errs.Field `json:"fields,omitempty"`
}
