// Command cluster measures Slipway on the Kubernetes of test/cluster: what a
// push takes, what viewers see of changes and of faults. It installs a platform
// of its own, prints the tables and, of a whole run, writes README.md; then it
// takes the platform away.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/bench/measure"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/installed"
	"slipway.dev/slipway/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder := flag.String("cluster", "", "folder of the cluster (default: the shared one)")
	only := flag.String("only", everything, "what to measure; away: without the API server or a kubelet, which all on the cluster feel")
	flag.Parse()
	if err := run(ctx, *folder, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const everything = "push,changes,faults,away"

const (
	app      = "busy"
	user     = "admin"
	password = "bench-password-of-admin"
)

// bench is the platform that is measured, with one app of the user's.
type bench struct {
	*report
	p       *installed.Platform
	who     rig.Person
	repo    *rig.Repo
	viewer  *http.Client // signed in, with the app's session
	api     *client.Client
	version int // of the app, in its source
}

func run(ctx context.Context, folder string, only []string) (err error) {
	c, err := cluster.Open(folder)
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := newReport()
	p, err := installed.Install(ctx, installed.Options{Root: root, Cluster: c, Admin: user, Password: password, Dir: dir, Out: os.Stderr})
	if err != nil {
		return err
	}
	b := &bench{report: r, p: p, who: rig.Person{Name: user, Password: password, Home: filepath.Join(dir, "home")}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, p.Log())
		}
		err = errors.Join(err, p.Stop())
	}()
	b.measure("install, images on the nodes", seconds(p.Took), "", true)
	if err := b.objects(ctx); err != nil {
		return err
	}
	if err := b.open(ctx, root, dir); err != nil {
		return err
	}
	parts := map[string]func(context.Context) error{"push": b.pushes, "changes": b.changes, "faults": b.faults, "away": b.away}
	var failures []error
	for _, name := range only {
		measure := parts[name]
		if measure == nil {
			return fmt.Errorf("there is nothing to measure called %q", name)
		}
		began := time.Now()
		if err := measure(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", name, err))
		}
		fmt.Fprintf(os.Stdout, "(%s took %s)\n", name, seconds(time.Since(began)))
	}
	if strings.Join(only, ",") == everything {
		failures = append(failures, b.write(root))
	}
	return errors.Join(failures...)
}

// objects counts what the platform is made of.
func (b *bench) objects(ctx context.Context) error {
	for _, o := range []struct {
		kind      string
		reference int // of Dash Enterprise, as its documents count them
	}{{"services", 35}, {"pods", 79}} {
		n := 0
		for _, ns := range []string{b.p.Namespace, b.p.Namespace + "-pull"} {
			out, err := b.p.Cluster.Kubectl(ctx, "-n", ns, "get", o.kind, "-o", "name")
			if err != nil {
				return err
			}
			n += len(strings.Fields(out))
		}
		b.measure(o.kind+" of the platform", fmt.Sprint(n), fmt.Sprintf("reference %d", o.reference), n < o.reference)
	}
	return nil
}

// open pushes the app for the first time and signs in.
func (b *bench) open(ctx context.Context, root, dir string) error {
	anyone, err := client.New(client.Options{Host: b.p.Hosts.API(), CAFile: b.p.CAFile})
	if err != nil {
		return err
	}
	token, err := anyone.Login(ctx, client.Login{Username: user, Password: password, Token: "bench"})
	if err != nil {
		return err
	}
	b.api = anyone.WithToken(secret.New(token.Secret))
	if _, err := b.p.Run(ctx, "", b.who.Home, password, b.p.Binary, "login", "--user", user, "--password-stdin"); err != nil {
		return err
	}
	if b.repo, err = b.p.NewRepo(ctx, b.who, filepath.Join(root, "test", "apps", "fastapi"), filepath.Join(dir, app), app); err != nil {
		return err
	}
	if err := b.repo.Edit("main.py", `VERSION = "one"`, `VERSION = "0"`); err != nil {
		return err
	}
	began := time.Now()
	if out, err := b.repo.Push(ctx, "first"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	b.measure("first push, with its environment", seconds(time.Since(began)), "", true)
	b.viewer = b.p.Client()
	res, err := b.p.SignIn(ctx, b.viewer, user, password, b.url())
	if err != nil {
		return err
	}
	return res.Body.Close()
}

func (b *bench) url() string { return b.p.Hosts.App(app, false) + "version" }

// change makes a new version of the app; push is still to come.
func (b *bench) change() error {
	b.version++
	return b.repo.Edit("main.py", fmt.Sprintf(`VERSION = "%d"`, b.version-1), fmt.Sprintf(`VERSION = "%d"`, b.version))
}

// push pushes a change of the code and waits until viewers see it.
func (b *bench) push(ctx context.Context) (time.Duration, error) {
	if err := b.change(); err != nil {
		return 0, err
	}
	began := time.Now()
	if out, err := b.repo.Push(ctx, fmt.Sprint("version ", b.version)); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	return time.Since(began), b.shows(ctx, fmt.Sprint(b.version))
}

// shows waits until viewers see the version.
func (b *bench) shows(ctx context.Context, version string) error {
	return rig.Until(ctx, 3*time.Minute, func() error {
		text, err := b.ask(ctx, b.url())
		if err == nil && text != version {
			err = fmt.Errorf("the app shows %q, not %q", text, version)
		}
		return err
	})
}

// pushes measures changes of the code, with the times of their steps.
func (b *bench) pushes(ctx context.Context) error {
	var all []time.Duration
	for range 5 {
		d, err := b.push(ctx)
		if err != nil {
			return err
		}
		all = append(all, d)
		list, err := b.api.Deploys(ctx, app, 1)
		if err != nil {
			return err
		}
		whole, err := b.api.GetDeploy(ctx, list[0].ID)
		if err != nil {
			return err
		}
		var steps []string
		for _, s := range whole.Steps {
			if s.Ended != nil {
				steps = append(steps, fmt.Sprintf("%s %.2f", s.Name, s.Ended.Sub(s.Started).Seconds()))
			}
		}
		b.report.push(seconds(d), strings.Join(steps, ", "))
	}
	d := measure.Median(all)
	b.measure("push → live, code only", seconds(d), "≤ 5 s", d <= 5*time.Second)
	return nil
}
