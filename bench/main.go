// Command bench measures Slipway on one machine against its targets and writes
// the table to bench/README.md. Every figure is taken in this one run, the
// app's own start beside ours.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

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
	d := time.Since(began)
	b.add("P9 start", seconds(d), "≤ 1 s", d <= time.Second)
	pss, err := b.platformPSS()
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
	if err := b.idleCost(); err != nil {
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
	p := median(pushes)
	b.add("P3 push → live, code only", seconds(p), fmt.Sprintf("≤ import %s + 1 s", seconds(own)), p <= own+time.Second)
	err = load.Stop()
	b.add("P7 failed requests", fmt.Sprintf("%d of %d", load.Failed.Load(), load.Sent.Load()), "0", err == nil)
	return nil
}

// idleCost is what one replica costs beyond the app itself: its init.
func (b *bench) idleCost() error {
	pss, n, err := pssOf(func(args string) bool {
		return strings.Contains(args, "slipway-init") || strings.HasPrefix(args, "/init")
	})
	if err != nil || n == 0 {
		return fmt.Errorf("no init found: %w", err)
	}
	b.add("P9 cost of an idle app", mib(pss/int64(n)), "≤ 3 MiB", pss/int64(n) <= 3<<20)
	return nil
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
	return median(times), nil
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
	return fmt.Sprintf("%-28s %12s  target %-22s %s", r.name, r.value, r.target, verdict)
}

func (b *bench) report(root string) error {
	var s strings.Builder
	host := fmt.Sprintf("%s, %d cores, Go %s", cpu(), runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(&s, "# Measurements\n\nMade by `make bench` on %s (%s).\n\n| measure | value | target | |\n|---|---|---|---|\n", time.Now().Format(time.DateOnly), host)
	for _, r := range b.rows {
		verdict := map[bool]string{true: "ok", false: "missed"}[r.ok]
		fmt.Fprintf(&s, "| %s | %s | %s | %s |\n", r.name, r.value, r.target, verdict)
	}
	return os.WriteFile(filepath.Join(root, "bench", "README.md"), []byte(s.String()), 0o644)
}

// platformPSS is the proportional memory of supervisor, gateway and core.
func (b *bench) platformPSS() (int64, error) {
	sum, _, err := pssOf(func(args string) bool {
		return strings.HasPrefix(args, b.in.Binary+" ") && strings.Contains(args, b.data)
	})
	return sum, err
}

func pssOf(match func(args string) bool) (sum int64, n int, err error) {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, 0, err
	}
	for _, p := range procs {
		args, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil || !match(strings.ReplaceAll(string(args), "\x00", " ")) {
			continue
		}
		f, err := os.Open(filepath.Join(p, "smaps_rollup"))
		if err != nil {
			continue // it has ended
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			if v, ok := strings.CutPrefix(sc.Text(), "Pss:"); ok {
				kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
				sum += kb << 10
			}
		}
		_ = f.Close()
		n++
	}
	return sum, n, nil
}

func cpu() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

func median(d []time.Duration) time.Duration {
	for i := range d {
		for j := i; j > 0 && d[j] < d[j-1]; j-- {
			d[j], d[j-1] = d[j-1], d[j]
		}
	}
	return d[len(d)/2]
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }
func mib(n int64) string             { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
