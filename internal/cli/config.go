package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// config is ~/.config/slipway/config.json. Tokens are kept by host, and go to
// no other.
type config struct {
	Current string             `json:"current,omitempty"`
	Hosts   map[string]account `json:"hosts,omitempty"`

	file string
}

// account is how one is signed in to a host.
type account struct {
	User    string          `json:"user"`
	Token   string          `json:"token"`
	TokenID slipway.TokenID `json:"token_id"`
	CAFile  string          `json:"ca_file,omitempty"`
}

func readConfig() (*config, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "cannot tell where your settings are: set HOME")
	}
	c := &config{file: filepath.Join(dir, "slipway", "config.json"), Hosts: map[string]account{}}
	data, err := os.ReadFile(c.file)
	if errors.Is(err, os.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(data, c)
	}
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "cannot read %s: repair or remove it", c.file)
	}
	if c.Hosts == nil {
		c.Hosts = map[string]account{}
	}
	return c, nil
}

// write replaces the file whole; nobody else may read it.
func (c *config) write() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.file), ".config-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// apiHost makes the API's origin of what people type: the platform's base
// domain will do. Addresses and localhost are left alone.
func apiHost(s string) (string, error) {
	origin, err := client.ParseHost(s)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(origin)
	if err != nil {
		return "", err
	}
	name := u.Hostname()
	if net.ParseIP(name) != nil || name == "localhost" || strings.HasPrefix(name, "api-") {
		return origin, nil
	}
	u.Host = "api-" + u.Host
	return u.Scheme + "://" + u.Host, nil
}

// target is the platform that a command talks to.
func (p *program) target(cfg *config) (string, error) {
	for _, s := range []string{p.host, os.Getenv("SLIPWAY_HOST"), os.Getenv("DASH_ENTERPRISE_HOST"), cfg.Current} {
		if s != "" {
			return apiHost(s)
		}
	}
	return "", errs.Unauthenticated("you have not signed in to any Slipway yet")
}

func (p *program) authority(a account) string {
	for _, s := range []string{p.caFile, os.Getenv("SLIPWAY_CA_FILE"), a.CAFile} {
		if s != "" {
			return s
		}
	}
	return ""
}

// open returns a client of the platform for host, with a token or without.
func (p *program) open(host, caFile string, token secret.String) error {
	c, err := client.New(client.Options{Host: host, Token: token, CAFile: caFile, UserAgent: "slipway-cli/" + version()})
	p.client = c
	return err
}

// connect returns a client that is signed in.
func (p *program) connect(ctx context.Context) (*client.Client, error) {
	cfg, err := readConfig()
	if err != nil {
		return nil, err
	}
	host, err := p.target(cfg)
	if err != nil {
		return nil, err
	}
	saved := cfg.Hosts[host]
	token := secret.New(os.Getenv("SLIPWAY_TOKEN"))
	if token.Empty() {
		token = secret.New(saved.Token)
	}
	if err := p.open(host, p.authority(saved), token); err != nil {
		return nil, err
	}
	user, password := os.Getenv("DASH_ENTERPRISE_USERNAME"), os.Getenv("DASH_ENTERPRISE_PASSWORD")
	if token.Empty() && user != "" && password != "" {
		return p.client, p.borrow(ctx, user, password)
	}
	if token.Empty() {
		return nil, errs.Unauthenticated("you are not signed in to %s", host)
	}
	return p.client, nil
}

// borrow signs in for this one command, as scripts written for Dash Enterprise
// expect, and gives the token back at its end.
func (p *program) borrow(ctx context.Context, user, password string) error {
	t, err := p.client.Login(ctx, client.Login{Username: user, Password: password, Token: "one command on " + hostname()})
	if err != nil {
		return err
	}
	p.client = p.client.WithToken(secret.New(t.Secret))
	p.done = append(p.done, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := p.client.RevokeToken(ctx, t.ID); err != nil {
			fmt.Fprintln(p.Err, "slipway: the token of this command could not be given back:", errs.Message(err))
		}
	})
	return nil
}
