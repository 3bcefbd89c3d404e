// Command web measures the web UI on a platform of many apps: what a first
// visit transfers, how soon there is something to read, what lists of the API
// take, and what holds a page up while it is scrolled. It prints the table.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/test/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{who: rig.Person{Name: "admin", Password: "bench-password-of-admin"}}
	flag.IntVar(&b.apps, "apps", 5000, "apps in the App Manager")
	flag.IntVar(&b.cards, "cards", 2000, "of them in the Portal")
	flag.Parse()
	if err := b.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	apps, cards int
	who         rig.Person
	in          *rig.Instance
	token       string // of the administrator's
	page        *rig.Page
}

func (b *bench) run(ctx context.Context) (err error) {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	log, err := os.Create(filepath.Join(data, "slipway.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	b.who.Home = filepath.Join(data, "home")
	if b.in, err = rig.Start(ctx, rig.Options{Binary: filepath.Join(root, "bin", "slipway"), Data: data, Args: []string{"--listen", "127.0.0.1:0"}, Out: log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.in.Stop()) }()
	if err := b.seed(ctx, data); err != nil {
		return err
	}
	if err := b.lists(ctx); err != nil {
		return err
	}
	if b.page, err = rig.Browse(ctx); err != nil {
		return err
	}
	defer b.page.Close()
	return b.pages()
}

// seed makes the apps: first those of the Portal, then those that it does not show.
func (b *bench) seed(ctx context.Context, data string) error {
	if _, err := b.in.Run(ctx, "", b.who.Home, b.who.Password, b.in.Binary, "bootstrap", "--data", data, "--name", b.who.Name, "--password-stdin"); err != nil {
		return err
	}
	anyone, err := client.New(client.Options{Host: b.in.Hosts.API(), CAFile: b.in.CAFile})
	if err != nil {
		return err
	}
	token, err := anyone.Login(ctx, client.Login{Username: b.who.Name, Password: b.who.Password, Token: "bench"})
	if err != nil {
		return err
	}
	b.token = token.Secret
	api := anyone.WithToken(secret.New(b.token))
	began := time.Now()
	for n := range b.apps {
		if n == b.cards {
			if _, err := api.UpdateDefaults(ctx, client.UpdateDefaults{InPortal: new(bool)}); err != nil {
				return err
			}
		}
		name := fmt.Sprintf("app-%04d", n)
		if _, err := api.CreateApp(ctx, client.CreateApp{
			Name: name, Title: fmt.Sprintf("%s %d", []string{"Sales", "Churn", "Fleet", "Weather", "Energy"}[n%5], n),
			Description: "What happened last week in this part of the business, and what comes next.",
		}, ""); err != nil {
			return err
		}
		if n%10 == 0 {
			if _, err := api.UpdateApp(ctx, name, client.UpdateApp{Tags: &[]string{fmt.Sprintf("team-%d", n%70)}}); err != nil {
				return err
			}
		}
	}
	verdict(fmt.Sprintf("%d apps are made, each", b.apps), millis(time.Since(began)/time.Duration(b.apps)), "", true)
	return nil
}

// lists measures the lists as the pages ask for them, alone and while others ask too.
func (b *bench) lists(ctx context.Context) error {
	for _, l := range []struct {
		name  string
		paths []string
	}{
		{fmt.Sprintf("list of %d apps", b.apps), []string{"/v1/apps?limit=50&sort=name", "/v1/apps?limit=50&sort=-updated", "/v1/apps?limit=50&q=fleet+4", "/v1/apps?limit=50&sort=state&state=empty"}},
		{fmt.Sprintf("Portal of %d apps", b.cards), []string{"/v1/portal?limit=60", "/v1/portal?limit=60&q=churn", "/v1/portal?limit=60&tag=team-10"}},
	} {
		for _, people := range []int{1, 4} {
			took, err := b.ask(ctx, people, 400, l.paths)
			if err != nil {
				return err
			}
			p99 := took[len(took)*99/100]
			verdict(fmt.Sprintf("%s, %d at once, p50", l.name, people), millis(took[len(took)/2]), "", true)
			verdict(fmt.Sprintf("%s, %d at once, p99", l.name, people), millis(p99), "≤ 100 ms", p99 <= 100*time.Millisecond)
		}
	}
	return nil
}

// ask asks for the paths n times, so many people at once, and returns how long each took, the shortest first.
func (b *bench) ask(ctx context.Context, people, n int, paths []string) ([]time.Duration, error) {
	web := b.in.Client()
	var mu sync.Mutex
	var all []time.Duration
	each := make([]func(context.Context) error, people)
	for p := range people {
		each[p] = func(ctx context.Context) error {
			for i := range n / people {
				began := time.Now()
				if err := b.get(ctx, web, paths[(i+p)%len(paths)]); err != nil {
					return err
				}
				mu.Lock()
				all = append(all, time.Since(began))
				mu.Unlock()
			}
			return nil
		}
	}
	err := loop.Run(ctx, each...)
	slices.Sort(all)
	return all, err
}

func (b *bench) get(ctx context.Context, web *http.Client, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.in.Hosts.API()+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+b.token)
	res, err := web.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err = io.Copy(io.Discard, res.Body); err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", path, res.StatusCode)
	}
	return err
}

// verdict prints a row of the table.
func verdict(name, value, target string, ok bool) {
	word := "ok"
	switch {
	case target == "":
		word = ""
	case !ok:
		word = "MISSED"
	}
	fmt.Fprintf(os.Stdout, "%-44s %10s  %-10s %s\n", name, value, target, word)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
