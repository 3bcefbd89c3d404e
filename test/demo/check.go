package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"slipway.dev/slipway/test/rig"
)

// check is the demo with a browser instead of a person.
func check(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("check", flag.ExitOnError)
	pictures := flags.String("pictures", "", "folder for screenshots")
	_ = flags.Parse(args) // it exits on errors
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "slipway-demo-")
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(data, "slipway.log"))
	if err != nil {
		return err
	}
	s := &show{root: root, out: os.Stdout}
	defer func() {
		log.Close()
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			err = fmt.Errorf("%w\nthe end of the platform's log:\n%s", err, tail(text, 6000))
		}
		err = errors.Join(err, os.RemoveAll(data))
	}()
	if err := s.start(ctx, data, []string{"--listen", "127.0.0.1:0"}, log); err != nil {
		return err
	}
	err = s.perform(ctx, data, *pictures)
	return errors.Join(err, s.step("stop", func() error {
		_, derr := s.in.Run(ctx, "", s.who.Home, s.who.Password, filepath.Join(root, "bin", "slipway"),
			"login", "--user", user, "--password-stdin")
		if derr == nil {
			_, derr = s.in.Run(ctx, "", s.who.Home, "", filepath.Join(root, "bin", "slipway"), "apps", "delete", appName, "--confirm", appName)
		}
		return errors.Join(derr, s.in.Stop())
	}))
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// perform is the play: push, open, change a dropdown, push a change, see it.
func (s *show) perform(ctx context.Context, data, pictures string) error {
	r, err := s.repo(ctx, data)
	if err != nil {
		return err
	}
	if err := s.step("first push", func() error { return s.push(ctx, r, "slipway", "main") }); err != nil {
		return err
	}
	page, err := rig.Browse(ctx)
	if err != nil {
		return err
	}
	defer page.Close()
	picture := func(name string) error {
		if pictures == "" {
			return nil
		}
		return errors.Join(os.MkdirAll(pictures, 0o755), page.Screenshot(filepath.Join(pictures, name+".png")))
	}
	steps := []struct {
		name string
		fn   func() error
	}{
		{"open the app: sign-in asked", func() error { return page.Goto(s.in.Hosts.App(appName, false)) }},
		{"sign in", func() error { return errors.Join(picture("sign-in"), page.SignIn(user, s.who.Password)) }},
		{"see the viewer's name", func() error { return page.See("#viewer", user) }},
		{"see the chart", func() error { return page.See("#chart .main-svg", "") }},
		{"change the dropdown", func() error { return choose(page, "virginica") }},
		{"see chart and summary change", func() error { return errors.Join(page.See("#summary", "50 flowers of virginica"), picture("app")) }},
		{"push a code change", func() error {
			if err := r.Edit("app.py", `H1("Iris explorer")`, `H1("Iris, second edition")`); err != nil {
				return err
			}
			out, err := r.Push(ctx, "second edition")
			if err != nil {
				return fmt.Errorf("%w\n%s", err, out)
			}
			return nil
		}},
		{"see it live", func() error {
			return errors.Join(page.Goto(s.in.Hosts.App(appName, false)), page.See("h1", "Iris, second edition"), page.See("#viewer", user))
		}},
		{"see it in the Portal", func() error {
			return errors.Join(page.Goto(s.in.Hosts.API()+"/portal"), page.See("body", appName), picture("portal"))
		}},
	}
	for _, st := range steps {
		if err := s.step(st.name, st.fn); err != nil {
			return errors.Join(err, picture("failed"))
		}
	}
	return nil
}

// choose opens the dropdown and picks an option by its text.
func choose(page *rig.Page, option string) error {
	return errors.Join(page.Click("#species"), page.ClickText(option))
}
