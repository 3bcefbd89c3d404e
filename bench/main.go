// Command bench measures Slipway on one machine against its targets and writes
// the table to bench/README.md. Every figure is taken in this one run, the
// app's own start beside ours.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/bench/measure"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/test/rig"
)

type row struct {
	name, value, target string
	ok                  bool
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
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
	o := rig.Options{Binary: filepath.Join(root, "bin", "slipway"), Data: data, Args: []string{"--listen", "127.0.0.1:0"}, Out: log}
	b := &bench{root: root, data: data, who: rig.Person{Name: "admin", Password: "bench-password-of-admin", Home: filepath.Join(data, "home")}}
	if err := b.startup(ctx, o); err != nil {
		return err
	}
	err = b.measure(ctx)
	if serr := b.in.Stop(); err == nil {
		err = serr
	}
	if err != nil {
		return err
	}
	return b.report(root)
}

// idleAfter is when a platform that was asked for one page does nothing more.
const idleAfter = 5 * time.Second

type bench struct {
	root, data string
	who        rig.Person
	in         *rig.Instance
	rows       []row
}

// startup measures a start on a data folder that exists, and the memory of
// our processes without any app.
func (b *bench) startup(ctx context.Context, o rig.Options) error {
	in, err := rig.Start(ctx, o)
	if err != nil {
		return err
	}
	if err := in.Stop(); err != nil {
		return err
	}
	began := time.Now()
	if b.in, err = rig.Start(ctx, o); err != nil {
		return err
	}
	res, err := b.in.Follow(ctx, b.in.Client(), b.in.Hosts.API()+"/portal")
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	d := time.Since(began)
	b.add("P9 start to first page", seconds(d), "≤ 1 s", d <= time.Second && res.StatusCode == http.StatusOK)
	var own []int
	for _, name := range []string{"gateway", "core"} {
		pid, err := b.in.Child(name)
		if err != nil {
			return err
		}
		own = append(own, pid)
	}
	if err := loop.Sleep(ctx, idleAfter); err != nil {
		return err
	}
	pss, err := pssOf(append(own, b.in.PID))
	if err != nil {
		return err
	}
	b.add("P9 idle memory", mib(pss), "≤ 100 MiB", pss <= 100<<20)
	return nil
}

func (b *bench) measure(ctx context.Context) error {
	if _, err := b.in.Run(ctx, "", b.who.Home, b.who.Password, b.in.Binary, "bootstrap", "--data", b.data, "--name", "admin", "--password-stdin"); err != nil {
		return err
	}
	repo, err := b.in.NewRepo(ctx, b.who, filepath.Join(b.root, "examples", "iris"), filepath.Join(b.data, "iris"), "iris")
	if err != nil {
		return err
	}
	if out, err := repo.Push(ctx, "first"); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if err := b.idleCost(ctx); err != nil {
		return err
	}
	client := b.in.Client()
	app := b.in.Hosts.App("iris", false)
	res, err := b.in.SignIn(ctx, client, "admin", b.who.Password, app)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	load := rig.StartLoad(ctx, client, app+"_dash-layout", 50)
	var pushes []time.Duration
	for n := range 5 {
		if err := repo.Edit("app.py", "import", fmt.Sprintf("# change %d\nimport", n)); err != nil {
			return err
		}
		began := time.Now()
		if out, err := repo.Push(ctx, fmt.Sprint("change ", n)); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		pushes = append(pushes, time.Since(began))
	}
	own, err := b.importTime(ctx)
	if err != nil {
		return err
	}
	p := measure.Median(pushes)
	b.add("P3 push → live, code only", seconds(p), fmt.Sprintf("≤ import %s + 1 s", seconds(own)), p <= own+time.Second)
	err = load.Stop()
	b.add("P7 failed, 50 requests a second", fmt.Sprintf("%d of %d", load.Failed.Load(), load.Sent.Load()), "0", err == nil)
	return nil
}

// idleCost is what a replica costs beyond the app itself: its init. Three of
// them share the program's pages, as apps on one machine do.
func (b *bench) idleCost(ctx context.Context) error {
	const replicas = 3
	for _, args := range [][]string{{"login", "--user", "admin", "--password-stdin"}, {"ps", "scale", "iris", "web=3"}} {
		if _, err := b.in.Run(ctx, "", b.who.Home, b.who.Password, append([]string{b.in.Binary}, args...)...); err != nil {
			return err
		}
	}
	var pids []int
	err := rig.Until(ctx, time.Minute, func() (err error) {
		if pids, err = b.in.Sandboxes(); err == nil && len(pids) != replicas {
			err = fmt.Errorf("%d sandboxes, not %d", len(pids), replicas)
		}
		return err
	})
	if err != nil {
		return err
	}
	pss, err := pssOf(pids)
	if err != nil {
		return err
	}
	each := pss / replicas
	b.add("P9 cost of an idle app", mib(each), "≤ 3 MiB", each <= 3<<20)
	_, err = b.in.Run(ctx, "", b.who.Home, "", b.in.Binary, "ps", "scale", "iris", "web=1")
	return err
}

// importTime is how long the app's own interpreter takes to import it, with
// the environment that was built, without a sandbox around it.
func (b *bench) importTime(ctx context.Context) (time.Duration, error) {
	envs, err := filepath.Glob(filepath.Join(b.data, "engine", "layers", "env-*", "lib", "python*", "site-packages"))
	if err != nil || len(envs) == 0 {
		return 0, fmt.Errorf("no environment found: %w", err)
	}
	var times []time.Duration
	for range 5 {
		cmd := exec.CommandContext(ctx, "/usr/bin/python3", "-c", "import app, gunicorn.app.wsgiapp")
		cmd.Dir = filepath.Join(b.data, "iris")
		cmd.Env = append(os.Environ(), "PYTHONPATH="+envs[0], "DASH_APP_NAME=iris", "PYTHONDONTWRITEBYTECODE=1")
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("import the app: %w\n%s", err, out)
		}
		times = append(times, time.Since(began))
	}
	return measure.Median(times), nil
}

func (b *bench) add(name, value, target string, ok bool) {
	b.rows = append(b.rows, row{name, value, target, ok})
	fmt.Fprintln(os.Stdout, b.rows[len(b.rows)-1])
}

func (r row) String() string {
	verdict := "ok"
	if !r.ok {
		verdict = "MISSED"
	}
	return fmt.Sprintf("%-32s %12s  target %-22s %s", r.name, r.value, r.target, verdict)
}

func (b *bench) report(root string) error {
	var s strings.Builder
	host := fmt.Sprintf("%s, %d cores, Go %s", measure.CPU(), runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(&s, "# Measurements\n\nMade by `make bench` on %s (%s).\n\n| measure | value | target | |\n|---|---|---|---|\n", time.Now().Format(time.DateOnly), host)
	for _, r := range b.rows {
		verdict := map[bool]string{true: "ok", false: "missed"}[r.ok]
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", r.name, r.value, r.target, verdict)
	}
	return os.WriteFile(filepath.Join(root, "bench", "README.md"), []byte(s.String()), 0o644)
}

// pssOf is the proportional memory of processes: what they share is divided.
func pssOf(pids []int) (sum int64, err error) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "Pss:"); ok {
				kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
				if err != nil {
					return 0, err
				}
				sum += kb << 10
			}
		}
	}
	return sum, nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func mib(n int64) string             { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
