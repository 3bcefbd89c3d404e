package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/test/cluster"
	"slipway.dev/slipway/test/installed"
	"slipway.dev/slipway/test/rig"
)

// onCluster tells whether the stories are told on a Kubernetes instead of on
// one machine: the same scripts, unchanged.
func onCluster() bool { return os.Getenv(cluster.Variable) != "" }

// oneMachine passes over a test on a cluster, and says why.
func oneMachine(t *testing.T, why string) {
	t.Helper()
	if onCluster() {
		t.Skip("only on one machine: " + why)
	}
}

// patience is how long to wait on this platform for what takes d on one
// machine: pods start, stop and are pulled by other hands than ours.
func patience(d time.Duration) time.Duration {
	if onCluster() {
		return max(10*d, 2*time.Minute)
	}
	return d
}

// shared is the installation of this run, made by whoever needs it first.
var shared struct {
	sync.Mutex
	world    *world
	platform *installed.Platform
	dir      string
	err      error
	log      rig.Output
}

func installedWorld(t *testing.T, args []string) *world {
	t.Helper()
	if len(args) > 0 {
		t.Fatalf("%v are arguments of `slipway up`: say with oneMachine why the test is not for clusters", args)
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.world == nil && shared.err == nil {
		shared.err = errors.New("the platform was not installed: see the first test")
		w, err := install(t)
		if err != nil {
			t.Fatalf("%v\n%s", err, shared.log.String())
		}
		t.Logf("installed in %s\n%s", shared.platform.Took.Round(time.Second), shared.log.String())
		shared.world, shared.err = w, nil
	}
	ok(t, shared.err)
	w := *shared.world
	t.Cleanup(func() {
		w.deleteApps(t)
		ok(t, shared.platform.Ready(context.WithoutCancel(t.Context())))
		if err := rig.Until(context.Background(), patience(time.Minute), func() error {
			left, err := shared.platform.Left(context.Background())
			if err == nil && strings.TrimSpace(left) != "" {
				err = fmt.Errorf("after all apps were deleted there is still:\n%s", left)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		checkLog(t, shared.platform.Log())
	})
	w.connect = rig.Connect(t)
	return &w
}

func install(t *testing.T) (*world, error) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	if shared.dir, err = os.MkdirTemp("", "slipway-e2e-"); err != nil { // it outlives the test
		return nil, err
	}
	shared.platform, err = installed.Install(context.WithoutCancel(t.Context()), installed.Options{
		Root: root, Cluster: cluster.Shared(t), Admin: "admin", Password: adminPassword, Dir: shared.dir, Out: &shared.log,
	})
	if err != nil {
		return nil, err
	}
	w := &world{in: shared.platform.Instance, root: root, home: filepath.Join(shared.dir, "homes"), mu: new(sync.Mutex), clients: map[string]*http.Client{}}
	w.invite(t)
	return w, nil
}

func uninstall() error {
	if shared.dir == "" {
		return nil
	}
	var err error
	if shared.platform != nil && os.Getenv("SLIPWAY_TEST_KEEP") == "" {
		if err = shared.platform.Stop(); err != nil {
			err = fmt.Errorf("%w\n%s", err, shared.log.String())
		}
	}
	return errors.Join(err, os.RemoveAll(shared.dir))
}

// notOnClusters are the scripts that only one machine can tell, with the
// reason. It is empty: all of them run unchanged.
var notOnClusters = map[string]string{}

// scripts are the files of a folder of testdata that this platform is told.
func scripts(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	ok(t, err)
	if len(files) == 0 {
		t.Fatalf("no scripts in %s", dir)
	}
	if onCluster() {
		files = slices.DeleteFunc(files, func(f string) bool {
			why := notOnClusters[filepath.Base(f)]
			if why != "" {
				t.Logf("%s is not told: %s", f, why)
			}
			return why != ""
		})
	}
	return files
}
