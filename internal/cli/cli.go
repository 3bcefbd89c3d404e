// Package cli is the command line: it turns arguments into calls of package
// client and answers into text for people, or JSON. It decides nothing about
// apps or rights; the platform does. Server verbs are handed in by the caller,
// so that this package does not know how the platform is run.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
)

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes beside those of the error kinds.
const (
	exitOK           = 0
	exitDeployFailed = 9
	exitInterrupted  = 130
)

// exitCodes are by error kind; scripts depend on them.
var exitCodes = map[errs.Kind]int{
	errs.KindInternal:        1,
	errs.KindInvalid:         2,
	errs.KindUnsupported:     2,
	errs.KindUnauthenticated: 3,
	errs.KindDenied:          4,
	errs.KindNotFound:        5,
	errs.KindConflict:        6,
	errs.KindExhausted:       7,
	errs.KindUnavailable:     8,
}

// errDeployFailed is an end of a deploy other than live. Its reason was shown.
var errDeployFailed = errors.New("the deploy did not go live")

// program is one run of the command line.
type program struct {
	Streams
	json   bool
	host   string // --host
	caFile string // --ca-file

	client *client.Client // once connected
	done   []func()       // run at the end
}

// Main runs the command line and returns its exit code. extra are commands
// that the caller brings.
func Main(ctx context.Context, args []string, s Streams, extra ...*cobra.Command) int {
	p := &program{Streams: s}
	defer p.close()
	root := p.root(extra)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return p.fail(err)
}

func (p *program) close() {
	for _, fn := range p.done {
		fn()
	}
	if p.client != nil {
		p.client.Close()
	}
}

// fail tells what went wrong and returns the exit code.
func (p *program) fail(err error) int {
	if errors.Is(err, errDeployFailed) {
		return exitDeployFailed
	}
	var e *errs.Error
	if !errors.As(err, &e) {
		// Errors of our own, of the system, or of cobra, which are about usage.
		fmt.Fprintln(p.Err, "slipway:", err)
		var u usageError
		if errors.As(err, &u) {
			return exitCodes[errs.KindInvalid]
		}
		return exitCodes[errs.KindOf(err)]
	}
	text := e.Message
	for _, f := range e.Fields {
		text += "\n  " + f.Name + ": " + f.Message
	}
	if e.Kind == errs.KindInternal && e.Err != nil {
		text += " (" + e.Err.Error() + ")"
	}
	fmt.Fprintln(p.Err, "slipway:", text)
	if e.Kind == errs.KindUnauthenticated {
		fmt.Fprintln(p.Err, "Sign in with: slipway login")
	}
	return exitCodes[e.Kind]
}

// usageError is a mistake in the arguments.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

const rootLong = `Slipway builds, runs and shares data apps.

Sign in once, then deploy the folder that you are in:

  slipway login slipway.example.com
  slipway deploy --name iris

Every command takes --json: one JSON document, or one JSON object a line where
output is a stream. Exit codes: 0 done, 1 internal error, 2 wrong usage or
input, 3 not signed in, 4 denied, 5 not found, 6 conflict, 7 a limit is
reached, 8 unavailable (try again), 9 the deploy did not go live.

Environment: SLIPWAY_HOST (address of the API), SLIPWAY_TOKEN, SLIPWAY_CA_FILE;
DASH_ENTERPRISE_HOST, DASH_ENTERPRISE_USERNAME and DASH_ENTERPRISE_PASSWORD are
understood too.`

func (p *program) root(extra []*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use: "slipway", Short: "Build, run and share data apps", Long: rootLong,
		SilenceErrors: true, SilenceUsage: true, Version: version(),
		Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetIn(p.In)
	root.SetOut(p.Out)
	root.SetErr(p.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w\nSee: %s --help", err, c.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: "client", Title: "Apps and people:"})
	for _, c := range []*cobra.Command{
		p.loginCommand(), p.logoutCommand(), p.whoamiCommand(), p.statusCommand(),
		p.deployCommand(), p.appsCommand(), p.deploysCommand(), p.releasesCommand(), p.rollbackCommand(),
		p.logsCommand(), p.envCommand(), p.psCommand(), p.pauseCommand(), p.resumeCommand(), p.restartCommand(), p.openCommand(),
		p.filesCommand(), p.templatesCommand(), p.portalCommand(), p.metricsCommand(),
		p.tokensCommand(), p.keysCommand(), p.sessionsCommand(), p.adminCommand(),
	} {
		c.GroupID = "client"
		p.flags(c.PersistentFlags())
		root.AddCommand(c)
	}
	if len(extra) > 0 {
		root.AddGroup(&cobra.Group{ID: "server", Title: "Server:"})
		for _, c := range extra {
			c.GroupID = "server"
			c.Args = noArgs // with the exit code that mistakes in arguments have here
			root.AddCommand(c)
		}
	}
	return root
}

// flags are those of every command that talks to the platform.
func (p *program) flags(f *pflag.FlagSet) {
	f.BoolVar(&p.json, "json", false, "print JSON")
	f.StringVar(&p.host, "host", "", "address of the API (default: SLIPWAY_HOST, or where you signed in last)")
	f.StringVar(&p.caFile, "ca-file", "", "PEM file of an authority to trust (default: SLIPWAY_CA_FILE)")
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// noArgs is cobra.NoArgs with our exit code.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown command or argument %q\nSee: %s --help", args[0], c.CommandPath())
	}
	return nil
}

// wants checks the number of arguments; names are those of Use, and max < 0 is
// any number.
func wants(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return usagef("usage: %s", c.UseLine())
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(subs...)
	return c
}

// examples indents lines the way cobra prints them.
func examples(lines ...string) string { return "  " + strings.Join(lines, "\n  ") }

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return "this machine"
	}
	return h
}
