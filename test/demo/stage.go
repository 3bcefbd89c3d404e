package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/proto/gitd/gitdtest"
	"slipway.dev/slipway/test/rig"
)

// stage sets the platform up for the tests of the web UI: people, apps that
// run, that failed and that wait. It prints one line of JSON when all is there
// and goes on until its input ends. SIGUSR1 crashes the core.
func stage(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("stage", flag.ExitOnError)
	iris := flags.Bool("iris", false, "deploy the Dash example too, and wait for its picture, which takes longer")
	_ = flags.Parse(args) // it exits on errors
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "slipway-stage-")
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(data, "slipway.log"))
	if err != nil {
		return err
	}
	s := &show{root: root, out: os.Stderr}
	defer func() {
		log.Close()
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			err = fmt.Errorf("%w\nthe end of the platform's log:\n%s", err, tail(text, 6000))
		}
		err = errors.Join(err, os.RemoveAll(data))
	}()
	var remote *gitdtest.Remote
	if remote, s.settings, err = elsewhere(root, data); err != nil {
		return err
	}
	defer remote.Close()
	up := []string{"--listen", "127.0.0.1:0"}
	if *iris {
		up = append(up, "--thumbnails", "auto")
	}
	if err := s.start(ctx, data, up, log); err != nil {
		return err
	}
	set := &set{show: s, data: data, remote: remote, people: map[string]rig.Person{"admin": s.who}}
	if err = set.build(ctx, *iris); err == nil {
		_ = syscall.SetNonblock(syscall.Stdin, true) // else a read could not be ended; the new file notices
		err = set.serve(ctx, os.NewFile(uintptr(syscall.Stdin), "stdin"), os.Stdout)
	}
	return errors.Join(err, set.strike(context.WithoutCancel(ctx)))
}

// set is what is on the stage.
type set struct {
	*show
	data   string
	remote *gitdtest.Remote
	people map[string]rig.Person
	admin  *client.Client
}

func (s *set) build(ctx context.Context, iris bool) error {
	anyone, err := client.New(client.Options{Host: s.in.Hosts.API(), CAFile: s.in.CAFile})
	if err != nil {
		return err
	}
	token, err := anyone.Login(ctx, client.Login{Username: s.who.Name, Password: s.who.Password, Token: "stage"})
	if err != nil {
		return err
	}
	s.admin = anyone.WithToken(secret.New(token.Secret))
	for _, p := range []client.CreateUser{
		{Name: "alice", FullName: "Alice Ito", Email: "alice@example.com", Roles: []slipway.Role{slipway.RoleLicensed}},
		{Name: "bob", FullName: "Bob Sørensen", Email: "bob@example.com"},
		{Name: "carol", FullName: "Carol Nwosu", Email: "carol@example.com", Roles: []slipway.Role{slipway.RoleLicensed}},
	} {
		who := rig.Person{Name: p.Name, Password: p.Name + "-correct-horse", Home: filepath.Join(s.data, "home-"+p.Name)}
		p.Password = who.Password
		if _, err := s.admin.CreateUser(ctx, p, ""); err != nil {
			return err
		}
		s.people[p.Name] = who
	}
	token, err = anyone.Login(ctx, client.Login{Username: "alice", Password: s.people["alice"].Password, Token: "stage"})
	if err != nil {
		return err
	}
	return s.step("apps", func() error { return s.apps(ctx, anyone.WithToken(secret.New(token.Secret)), iris) })
}

func (s *set) apps(ctx context.Context, alice *client.Client, iris bool) error {
	for _, a := range []client.CreateApp{
		{Name: "sales", Title: "Sales by region", Description: "Where the quarter's revenue comes from, by region and product line."},
		{Name: "churn", Title: "Churn explorer", Description: "Which customers leave, when, and what they did before."},
		{Name: "fleet", Title: "Fleet telemetry"},
	} {
		if _, err := alice.CreateApp(ctx, a, ""); err != nil {
			return err
		}
	}
	r, err := s.in.NewRepo(ctx, s.people["alice"], filepath.Join(s.root, "test", "apps", "weather"), filepath.Join(s.data, "weather"), "weather")
	if err != nil {
		return err
	}
	push := func(message string) error {
		out, err := r.Push(ctx, message)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	if err := push("First version"); err != nil {
		return err
	}
	if err := errors.Join(r.Edit("app.py", "24 degrees", "25 degrees"), push("It got warmer")); err != nil {
		return err
	}
	if err := errors.Join(r.Edit("Procfile", "web: python app.py", "web: python missing.py"), push("Move the entry point")); err == nil {
		return errors.New("a deploy that should fail did not")
	}
	title, about := "Weather", "Observations of the day, and what the window says about tomorrow."
	if _, err := alice.UpdateApp(ctx, "weather", client.UpdateApp{Title: &title, Description: &about}); err != nil {
		return err
	}
	if err := errors.Join(alice.Share(ctx, "weather", "bob", slipway.GrantViewer), alice.PatchEnv(ctx, "weather", client.PatchEnv{Set: []slipway.EnvVar{
		{Key: "STATION", Value: "Kew"}, {Key: "API_KEY", Value: "not-to-be-seen", Secret: true},
	}})); err != nil {
		return err
	}
	if !iris {
		return nil
	}
	if r, err = s.in.NewRepo(ctx, s.people["alice"], filepath.Join(s.root, "examples", "iris"), filepath.Join(s.data, "iris"), "iris"); err != nil {
		return err
	}
	if err := push("The flowers of Anderson"); err != nil {
		return err
	}
	title, about = "Iris", "Three species of Anderson's flowers: sepals against petals."
	if _, err = alice.UpdateApp(ctx, "iris", client.UpdateApp{Title: &title, Description: &about}); err != nil {
		return err
	}
	return rig.Until(ctx, 5*time.Minute, func() error {
		portal, err := alice.Portal(ctx, client.PortalFilter{})
		if err == nil && !slices.ContainsFunc(portal.Items, func(c client.Card) bool { return c.Name == "iris" && c.Thumbnail != "" }) {
			err = errors.New("the Dash example has no picture yet")
		}
		return err
	})
}

// serve tells what there is, and stays until there is no more input.
func (s *set) serve(ctx context.Context, in *os.File, out io.Writer) error {
	passwords := map[string]string{}
	for name, p := range s.people {
		passwords[name] = p.Password
	}
	h := s.in.Hosts
	if err := json.NewEncoder(out).Encode(map[string]any{
		"api": h.API(), "auth": h.Auth(), "apps": h.Apps(), "git": h.Git(), "people": passwords, "remote": s.remote.URL, "remote_root": s.remote.Root,
	}); err != nil {
		return err
	}
	crash := make(chan os.Signal, 1)
	signal.Notify(crash, syscall.SIGUSR1)
	defer signal.Stop(crash)
	err := loop.Run(ctx, func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-crash:
				if err := s.in.KillChild("core"); err != nil {
					return err
				}
			}
		}
	}, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = in.SetReadDeadline(time.Now()) })()
		_, err := io.Copy(io.Discard, in)
		return errors.Join(err, io.EOF)
	})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// elsewhere serves an app's code as another git server does, once for all and
// once for those with a token, and returns settings that allow to fetch it.
func elsewhere(root, data string) (*gitdtest.Remote, string, error) {
	repos := filepath.Join(data, "elsewhere")
	if err := os.Mkdir(repos, 0o700); err != nil {
		return nil, "", err
	}
	remote, err := gitdtest.Serve(repos, nil)
	if err != nil {
		return nil, "", err
	}
	files := map[string]string{}
	for _, name := range []string{"app.py", "worker.py", "Procfile", "requirements.txt"} {
		text, rerr := os.ReadFile(filepath.Join(root, "test", "apps", "weather", name))
		err = errors.Join(err, rerr)
		files[name] = string(text)
	}
	for _, repo := range []string{"storms", "private-storms"} {
		_, cerr := remote.Commit(repo, "main", "Thunder", files)
		err = errors.Join(err, cerr)
	}
	ca := filepath.Join(data, "elsewhere.pem")
	return remote, fmt.Sprintf("git_hosts: [127.0.0.1]\ngit_ca_file: %s\n", ca), errors.Join(err, os.WriteFile(ca, remote.CA(), 0o600))
}

// strike takes everything down, sandboxes first.
func (s *set) strike(ctx context.Context) error {
	var err error
	if s.admin != nil {
		err = rig.Until(ctx, 30*time.Second, func() error { // the core may just have been crashed
			list, lerr := s.admin.Apps(ctx, client.AppFilter{})
			for _, a := range list {
				lerr = errors.Join(lerr, s.admin.DeleteApp(ctx, a.Name, a.Name))
			}
			return lerr
		})
	}
	return errors.Join(err, s.in.Stop())
}
