package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// slipway runs the binary in dir and returns its exit code and output.
func slipway(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	binary, err := filepath.Abs("../../bin/slipway")
	ok(t, err)
	var out, problems bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &problems
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), problems.String()
}

// TestUpRefuses: what cannot work is told at once, in words that say what to
// do, with the documented exit code, and leaves nothing half made.
func TestUpRefuses(t *testing.T) {
	oneMachine(t, "it is about `slipway up`")
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	t.Cleanup(func() { ok(t, taken.Close()) })
	for _, tt := range []struct {
		name   string
		config string // slipway.yaml, unless empty
		args   []string
		code   int
		want   []string // on standard error
		made   bool     // empty folders are left
	}{
		{name: "unknown keys", config: "bse: a.example\ntls: {cert: x}\n", code: 2, want: []string{`line 1: there is no setting bse\n`, `line 2: there is no setting cert\n`}},
		{name: "a wrong type", config: "app_memory_mb: much\n", code: 2, want: []string{`slipway.yaml: line 1: .*much`}},
		{name: "no YAML", config: "{", code: 2, want: []string{`slipway.yaml is not YAML`}},
		{name: "all at once", config: "isolation: some\nlog: {level: loud}\n", args: []string{"--base", "x"}, code: 2, want: []string{
			`isolation: "some" is none of full, rootless, none`, `log.level: "loud" is none of`, `base: "x" is not a domain name`,
		}},
		{name: "no such file", args: []string{"--config", "none.yaml"}, code: 2, want: []string{`none.yaml: no such file`}},
		{name: "a password in the open", args: []string{"--database", "postgres://u:p@db/slipway"}, code: 2, want: []string{`database: a password does not belong into it.*database_password_file`}},
		{name: "no password", args: []string{"--database", "postgres://u@127.0.0.1:1/slipway", "--database-password-file", "none"}, code: 2, want: []string{`database_password_file cannot be read: .*none: no such file`}},
		{name: "no address", args: []string{"--listen", "nowhere"}, code: 2, want: []string{`listen: "nowhere" is not an address such as 0.0.0.0:8443`}},
		{name: "another machine's address", args: []string{"--listen", "192.0.2.1:0"}, code: 2, want: []string{`listen: cannot listen on 192.0.2.1:0: .*assign`}, made: true},
		{name: "a taken port", args: []string{"--listen", taken.Addr().String()}, code: 6, want: []string{`listen: the address ` + taken.Addr().String() + ` is taken: .*choose another`}, made: true},
		{name: "a taken port for SSH", args: []string{"--ssh-listen", taken.Addr().String()}, code: 6, want: []string{`ssh_listen: the address .* is taken: .*choose another`}, made: true},
		{name: "no address of SSH", args: []string{"--ssh-listen", "on"}, code: 2, want: []string{`ssh_listen: "on" is not an address such as 0.0.0.0:2222, nor off`}},
		{name: "a taken port for metrics", args: []string{"--metrics", taken.Addr().String()}, code: 6, want: []string{`metrics: the address .* is taken`}, made: true},
		{name: "half a certificate", config: "tls: {cert_file: a.pem}\n", code: 2, want: []string{`tls: cert_file and key_file go together`}},
		{name: "no certificate", config: "tls: {cert_file: a.pem, key_file: b.pem}\n", code: 2, want: []string{`tls.cert_file a.pem .*no such file.*PEM files`}},
		{name: "no PEM", config: "tls: {cert_file: slipway.yaml, key_file: slipway.yaml}\n", code: 2, want: []string{`tls.cert_file slipway.yaml .*failed to find any PEM data`}},
		{name: "a certificate and plain HTTP", config: "tls: {cert_file: a.pem, key_file: b.pem}\n", args: []string{"--http"}, code: 2, want: []string{`http: plain HTTP and tls exclude each other`}},
		{name: "rootless", config: "isolation: rootless\n", code: 2, want: []string{`isolation "rootless" is not available here.*set it to full`}},
		{name: "none, where no script can say the path", config: "isolation: none\n", args: []string{"--data", "a b"}, code: 2, want: []string{`with isolation "none" .*letters.*--data`}},
		{name: "a long path", args: []string{"--data", strings.Repeat("long", 20)}, code: 2, want: []string{`at most 60 characters long.*shorter one with --data`}},
		{name: "a file for a folder", args: []string{"--data", "file"}, code: 2, want: []string{`cannot make the data folder .*/file`}},
		{name: "an argument", args: []string{"now"}, code: 2, want: []string{`unknown command or argument "now"`, `slipway up --help`}},
		{name: "an unknown flag", args: []string{"--prot", "1"}, code: 2, want: []string{`unknown flag: --prot`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "up-") // a short path, whatever the name of the case
			ok(t, err)
			t.Cleanup(func() { ok(t, os.RemoveAll(dir)) })
			args := []string{"up", "--data", "d", "--listen", "127.0.0.1:0"}
			ok(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
			if tt.config != "" {
				ok(t, os.WriteFile(filepath.Join(dir, "slipway.yaml"), []byte(tt.config), 0o600))
				args = append(args, "--config", "slipway.yaml")
			}
			code, stdout, stderr := slipway(t, dir, append(args, tt.args...)...)
			if code != tt.code || stdout != "" {
				t.Errorf("exit code %d, not %d; it says %q", code, tt.code, stdout)
			}
			for _, w := range tt.want {
				if !regexp.MustCompile(w).MatchString(stderr) {
					t.Errorf("no match for %q in:\n%s", w, stderr)
				}
			}
			if strings.Contains(stderr, "level=") || strings.Contains(stderr, "platform.") {
				t.Errorf("words of the program:\n%s", stderr)
			}
			left(t, filepath.Join(dir, "d"), tt.made)
		})
	}
}

// left checks that at most empty folders and the lock are there.
func left(t *testing.T, data string, made bool) {
	t.Helper()
	if _, err := os.Stat(data); (err == nil) != made {
		t.Errorf("the data folder: %v", err)
	}
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "lock" {
			t.Errorf("%s is left", path)
		}
		return nil
	})
	ok(t, err)
}

// TestUpTwice: a second one on the same folder goes away and harms nothing.
func TestUpTwice(t *testing.T) {
	oneMachine(t, "it is about `slipway up`")
	w := newWorld(t)
	code, stdout, stderr := slipway(t, t.TempDir(), "up", "--data", w.in.Data, "--listen", "127.0.0.1:0")
	if code != 6 || stdout != "" || !strings.Contains(stderr, "another slipway runs on this data folder") || !strings.Contains(stderr, "--data") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	text, err := w.fetch([]string{"alice", w.in.Hosts.API() + "/portal"})
	if err == nil {
		err = matches(text, []string{"^HTTP 200"})
	}
	ok(t, err)
	if _, err := os.Stat(filepath.Join(w.in.Data, "run", "up.json")); err != nil {
		t.Error(err)
	}
}

// TestConfigPrintsWhatIsInForce: a flag wins over the file, which wins over
// the default, and what is printed is a file that means the same.
func TestConfigPrintsWhatIsInForce(t *testing.T) {
	oneMachine(t, "it is about `slipway up`")
	dir := t.TempDir()
	ok(t, os.WriteFile(filepath.Join(dir, "slipway.yaml"), []byte("base: a.example\nlisten: 127.0.0.1:1\ntrusted_proxies: [10.0.0.0/8]\n"), 0o600))
	code, first, stderr := slipway(t, dir, "config", "--config", "slipway.yaml", "--listen", "127.0.0.1:2", "--http")
	if code != 0 {
		t.Fatal(code, stderr)
	}
	ok(t, matches(first, []string{
		`^base: a.example$`, `^listen: 127.0.0.1:2$`, `^public_port: "2"$`, `^data: ` + regexp.QuoteMeta(dir) + `/slipway-data$`, `^http: true$`,
		`^trusted_proxies:\n\s+- 10.0.0.0/8$`, `^isolation: full$`, `^app_memory_mb: 1024$`, `^app_silent_seconds: 120$`, `^address_connections: 1024$`, `^body_rate: 240$`, `^metrics: 127.0.0.1:0$`, `^\s+level: info$`,
	}))
	ok(t, os.WriteFile(filepath.Join(dir, "again.yaml"), []byte(first), 0o600))
	if _, again, stderr := slipway(t, dir, "config", "--config", "again.yaml"); again != first {
		t.Errorf("printed\n%s\nread again\n%s%s", first, again, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "slipway-data")); err == nil {
		t.Error("it made the data folder")
	}
}
