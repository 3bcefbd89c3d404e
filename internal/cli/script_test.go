package cli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway.dev/slipway/internal/api/apitest"
	"slipway.dev/slipway/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slipway": func() {
		os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
	}})
}

// TestScripts runs the stories in testdata, each against a platform of its own
// with the people ada, bob (both with a seat) and root, an administrator.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			rig := apitest.New(env.T().(testing.TB))
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("SLIPWAY_HOST", rig.URL)
			env.Setenv("remote", rig.Remote.URL)
			if strings.HasPrefix(filepath.Base(env.WorkDir), "script-upstream") {
				for _, repo := range []string{"iris", "private-iris"} {
					if _, err := rig.Remote.Commit(repo, "main", "from elsewhere", map[string]string{
						"Procfile": "web: python -m http.server $PORT\n", "app.py": "print('hello')\n",
					}); err != nil {
						return err
					}
				}
			}
			for _, name := range []string{"ada", "bob", "carol", "root"} {
				env.Setenv("token_"+name, rig.Token(name))
			}
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exitcode": exitcode, "signin": signin, "private": private},
	})
}

// exitcode runs a command and wants this code: exitcode 5 slipway apps info x [< file]
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N COMMAND… [< FILE]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	if n := len(args); n > 2 && args[n-2] == "<" {
		// testscript feeds the standard input of the next exec.
		ts.Setenv("PASSWORD_FILE", ts.MkAbs(args[n-1]))
		args = []string{"sh", "-c", strings.Join(args[:n-2], " ") + ` < "$PASSWORD_FILE"`}
	}
	err = ts.Exec(args[0], args[1:]...)
	got := 0
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// signin makes the command line act as a person from now on.
func signin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: signin PERSON")
	}
	ts.Setenv("SLIPWAY_TOKEN", ts.Getenv("token_"+args[0]))
}

// private wants a file that only its owner may read.
func private(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if neg || info.Mode().Perm() != 0o600 {
		ts.Fatalf("%s has mode %s", args[0], info.Mode())
	}
}
