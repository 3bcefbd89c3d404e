// Command demo is what `make demo` runs: it starts Slipway on this machine,
// makes the first administrator, pushes a real Dash app with git and says
// where to open it. `demo cluster` does so on the Kubernetes of `make
// cluster-up`, which `make demo-cluster` starts. `demo check` does the same on free ports, opens the app
// in a browser, pushes a change, and tears everything down. `demo stage` sets
// the scene for the tests of the web UI.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	var err error
	switch {
	case len(args) > 0 && args[0] == "check":
		err = check(ctx, args[1:])
	case len(args) > 0 && args[0] == "cluster":
		err = onCluster(ctx, args[1:])
	case len(args) > 0 && args[0] == "stage":
		err = stage(ctx, args[1:])
	default:
		err = demo(ctx, args)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

const (
	appName = "iris"
	user    = "admin"
)

// show is a demonstration under way.
type show struct {
	root  string // of the checkout
	level string // of isolation; empty = the best that can be had
	// settings are more lines of slipway.yaml.
	settings string
	in       *rig.Instance
	who      rig.Person
	out      io.Writer
}

// step runs fn and prints its name and time.
func (s *show) step(name string, fn func() error) error {
	began := time.Now()
	tty := isTerminal()
	if tty {
		fmt.Fprintf(s.out, "  … %s", name)
	}
	err := fn()
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	if tty {
		fmt.Fprint(s.out, "\r\033[K")
	}
	fmt.Fprintf(s.out, "  %s %-44s %6.1f s\n", mark, name, time.Since(began).Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func isTerminal() bool {
	info, err := os.Stdout.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// credentials keeps the demo's password beside its data, so that a second
// start has the same.
func credentials(data string) (rig.Person, error) {
	file := filepath.Join(data, "demo.json")
	who := rig.Person{Name: user, Home: filepath.Join(data, "demo-home")}
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		who.Password = strings.ToLower(rand.Text()[:16])
		text, _ = json.Marshal(map[string]string{"password": who.Password}) // a map of strings always encodes
		err = errors.Join(os.MkdirAll(data, 0o700), os.WriteFile(file, text, 0o600))
	}
	var saved struct{ Password string }
	if err == nil {
		err = json.Unmarshal(text, &saved)
	}
	who.Password = saved.Password
	return who, err
}

// start starts the platform and makes the first administrator.
func (s *show) start(ctx context.Context, data string, args []string, log io.Writer) error {
	var err error
	if s.who, err = credentials(data); err != nil {
		return err
	}
	binary := filepath.Join(s.root, "bin", "slipway")
	isolation, err := s.isolation(ctx, data)
	if err != nil {
		return err
	}
	args = append(args, isolation...)
	err = s.step("start Slipway", func() error {
		s.in, err = rig.Start(ctx, rig.Options{Binary: binary, Data: data, Args: args, Out: log})
		return err
	})
	if err != nil {
		return err
	}
	err = s.step("first administrator", func() error {
		out, err := s.in.Run(ctx, "", s.who.Home, s.who.Password, binary, "bootstrap", "--data", data, "--name", user, "--password-stdin")
		if err != nil && strings.Contains(out, "already") {
			return nil // from an earlier start
		}
		return err
	})
	if err != nil {
		err = errors.Join(err, s.in.Stop())
	}
	return err
}

// serves reports whether the app has a release and answers.
func (s *show) serves(ctx context.Context) bool {
	c := s.in.Client()
	res, err := s.in.SignIn(ctx, c, user, s.who.Password, s.in.Hosts.App(appName, false))
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return res.StatusCode == 200 && strings.Contains(string(body), "_dash-config")
}

// repo returns the work tree of the demo's app, made anew when it is missing.
func (s *show) repo(ctx context.Context, data string) (*rig.Repo, error) {
	dir := filepath.Join(data, "demo-"+appName)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	return s.in.NewRepo(ctx, s.who, filepath.Join(s.root, "examples", appName), dir, appName)
}

// push pushes and shows what git says while it comes.
func (s *show) push(ctx context.Context, r *rig.Repo, args ...string) error {
	cmd, err := r.Command(ctx, append([]string{"push"}, args...)...)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = s.out, s.out
	return cmd.Run()
}

func demo(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	data := flags.String("data", "data/demo", "data folder, kept for the next start")
	listen := flags.String("listen", "127.0.0.1:8443", "address of the one port")
	level := flags.String("isolation", "", "full, rootless or none (default: the best that can be had)")
	_ = flags.Parse(args) // it exits on errors
	dir, err := filepath.Abs(*data)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	s := &show{root: root, level: *level, out: os.Stdout}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(dir, "slipway.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	up := []string{"--listen", *listen, "--thumbnails", "auto"}
	if err := s.start(ctx, dir, up, log); err != nil {
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\n%s\n(its log: %s)", err, tail(text, 1500), log.Name())
	}
	return s.run(ctx, dir, "Ctrl-C (everything is kept; a second start takes seconds)")
}

// run pushes the app unless it serves, tells where everything is and how to
// stop, and goes on until then.
func (s *show) run(ctx context.Context, data, stop string) error {
	if !s.serves(ctx) {
		r, err := s.repo(ctx, data)
		if err == nil {
			err = s.push(ctx, r, "--force", "slipway", "main")
		}
		if err != nil {
			return errors.Join(err, s.in.Stop())
		}
	}
	s.tell(stop)
	<-ctx.Done()
	fmt.Fprintln(s.out, "\nStopping …")
	return s.in.Stop()
}

// tell prints where everything is.
func (s *show) tell(stop string) {
	h := s.in.Hosts
	for _, row := range [][2]string{
		{"Portal", h.API() + "/portal"},
		{"App", h.App(appName, false)},
		{"User", user},
		{"Password", s.who.Password},
		{"Git remote", h.GitRemote("<app>")},
		{"Local CA", s.in.CAFile},
		{"Stop", stop},
	} {
		fmt.Fprintf(s.out, "  %-11s %s\n", row[0], row[1])
	}
}
