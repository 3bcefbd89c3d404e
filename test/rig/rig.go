// Package rig starts the real binary on free ports and drives it as people
// do: the CLI, git, HTTP and a browser. Tests, the demo and the benchmarks
// share it.
package rig

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway"
)

// Options of Start.
type Options struct {
	Binary string    // bin/slipway
	Data   string    // data folder
	Args   []string  // more arguments of `slipway up`
	Out    io.Writer // its output
}

// Place is where an instance runs that is not a `slipway up` of ours.
type Place interface {
	// Kill kills the gateway or the core as a crash would; it is started again.
	Kill(part string) error
	// Stop takes the platform away.
	Stop() error
}

// Instance is a running platform: `slipway up`, or what Attach found elsewhere.
type Instance struct {
	Options
	PID     int           `json:"pid"`
	Hosts   slipway.Hosts `json:"hosts"`
	CAFile  string        `json:"ca_file"`
	Metrics string        `json:"metrics"`

	cmd   *exec.Cmd     // nil: it runs at place
	done  chan struct{} // closed when the process has ended
	place Place
	roots *x509.CertPool
}

// Attach returns a platform that runs elsewhere. Its names are below localhost,
// and a port of this machine leads to it.
func Attach(o Options, hosts slipway.Hosts, caFile string, place Place) (*Instance, error) {
	in := &Instance{Options: o, Hosts: hosts, CAFile: caFile, place: place}
	return in, in.trust()
}

// trust makes clients trust the platform's own CA.
func (in *Instance) trust() error {
	if in.CAFile == "" {
		return nil
	}
	root, err := os.ReadFile(in.CAFile)
	if err != nil {
		return err
	}
	in.roots = x509.NewCertPool()
	if !in.roots.AppendCertsFromPEM(root) {
		return fmt.Errorf("%s holds no certificate", in.CAFile)
	}
	return nil
}

// Start runs `slipway up` and waits until it serves.
func Start(ctx context.Context, o Options) (*Instance, error) {
	in := &Instance{Options: o, done: make(chan struct{})}
	file := filepath.Join(o.Data, "run", "up.json")
	_ = os.Remove(file)
	// Browsers that take pictures of apps would take the machine's time; o.Args may say otherwise.
	args := append([]string{"up", "--data", o.Data, "--thumbnails", "off"}, o.Args...)
	in.cmd = exec.CommandContext(context.WithoutCancel(ctx), o.Binary, args...)
	in.cmd.Stdout, in.cmd.Stderr = o.Out, o.Out
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on
	if err := in.cmd.Start(); err != nil {
		return nil, err
	}
	ended := in.waiter()
	err := Until(ctx, 90*time.Second, func() error {
		select {
		case <-ended:
			return Permanent(errors.New("slipway up ended before it served"))
		default:
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return json.Unmarshal(data, in)
	})
	if err == nil {
		err = in.trust()
	}
	if err != nil {
		return nil, errors.Join(err, in.Stop())
	}
	return in, nil
}

// Stop ends the platform like Ctrl-C and waits for it.
func (in *Instance) Stop() error {
	if in.place != nil {
		return in.place.Stop()
	}
	_ = in.cmd.Process.Signal(syscall.SIGINT)
	t := time.AfterFunc(60*time.Second, func() { _ = in.cmd.Process.Kill() })
	defer t.Stop()
	<-in.done
	if code := in.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("slipway up ended with %d", code)
	}
	return nil
}

// Kill kills the supervisor at once; its children end with it.
func (in *Instance) Kill() {
	_ = in.cmd.Process.Kill()
	<-in.done
}

// Child returns the process id of the gateway or the core.
func (in *Instance) Child(name string) (int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, p := range procs {
		stat, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if ppid, _ := strconv.Atoi(fields[1]); ppid != in.PID || fields[0] == "Z" {
			continue
		}
		args, _ := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		if bytes.Contains(args, []byte("\x00"+name+"\x00")) {
			return strconv.Atoi(filepath.Base(filepath.Dir(p)))
		}
	}
	return 0, fmt.Errorf("no child %q", name)
}

// firstProcess is PID 1 of a namespace below ours.
var firstProcess = regexp.MustCompile(`(?m)^NSpid:\t\d+\t1$`)

// Sandboxes returns the process ids of the inits that run from the data folder.
func (in *Instance) Sandboxes() ([]int, error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, p := range procs {
		mounts, err := os.ReadFile(filepath.Join(p, "mountinfo"))
		status, serr := os.ReadFile(filepath.Join(p, "status"))
		if err == nil && serr == nil && firstProcess.Match(status) && bytes.Contains(mounts, []byte(in.Data)) {
			pid, _ := strconv.Atoi(filepath.Base(p))
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// KillChild kills the gateway or the core as a crash would.
func (in *Instance) KillChild(name string) error {
	if in.place != nil {
		return in.place.Kill(name)
	}
	pid, err := in.Child(name)
	if err != nil {
		return err
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// Env is the environment in which git, curl and the CLI reach the instance.
func (in *Instance) Env(home string) []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LANG=C.UTF-8",
		"GIT_SSL_CAINFO=" + in.CAFile, "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
		"SLIPWAY_HOST=" + in.Hosts.API(), "SLIPWAY_CA_FILE=" + in.CAFile,
	}
}

// Run runs a command in dir and returns what it printed on both streams.
func (in *Instance) Run(ctx context.Context, dir, home, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, in.Env(home)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(args[:min(len(args), 3)], " "), err, out)
	}
	return string(out), err
}

// Client returns an HTTP client that trusts the instance, reaches its names on
// loopback, keeps cookies and does not follow redirects.
func (in *Instance) Client() *http.Client {
	jar, _ := cookiejar.New(nil) // never fails without options
	var d net.Dialer
	return &http.Client{
		Jar: jar, Timeout: 60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: in.roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: 64,
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				_, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
			},
		},
	}
}

// SignIn signs the client in through the sign-in page and opens target, an
// app's or a page's address, as a browser would: by following redirects.
func (in *Instance) SignIn(ctx context.Context, c *http.Client, user, password, target string) (*http.Response, error) {
	res, err := in.Follow(ctx, c, target)
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	asked := res.Request.URL.Query()
	form := url.Values{"username": {user}, "password": {password}, "to": {asked.Get("to")}, "state": {asked.Get("state")}}
	if asked.Get("to") == "" {
		form.Set("to", target)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.Hosts.Auth()+"/login", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", in.Hosts.Auth())
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if res, err = c.Do(req); err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 3 {
		return res, nil
	}
	_ = res.Body.Close()
	next, err := res.Location()
	if err != nil {
		return nil, err
	}
	return in.Follow(ctx, c, next.String())
}

// Follow gets an address as a browser navigates: through redirects.
func (in *Instance) Follow(ctx context.Context, c *http.Client, target string) (*http.Response, error) {
	for range 12 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "text/html")
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		res, err := c.Do(req)
		if err != nil || res.StatusCode/100 != 3 {
			return res, err
		}
		_ = res.Body.Close()
		next, err := res.Location()
		if err != nil {
			return nil, err
		}
		target = next.String()
	}
	return nil, fmt.Errorf("too many redirects, at last to %s", target)
}

type permanent struct{ error }

// Permanent marks an error that Until does not wait out.
func Permanent(err error) error { return permanent{err} }

// Until calls ok every 50 ms until it returns nil, for at most d.
func Until(ctx context.Context, d time.Duration, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		var p permanent
		if err == nil || errors.As(err, &p) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s: %w", d, err)
		case <-tick.C:
		}
	}
}
