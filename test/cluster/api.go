package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// API starts a Kubernetes API for the test: the real kube-apiserver on the
// real etcd, and nothing else, so that objects are stored, defaulted, validated
// and watched, but no controller acts on them: Deployments make no pods,
// ServiceAccounts are not made, owners' deletion deletes nothing. It needs no
// root, and takes some seconds once the two programs are built. The
// configuration is an administrator's; the end of the test ends it.
func API(t testing.TB) *rest.Config {
	t.Helper()
	dir, err := Build(context.Background(), os.Stderr, OnlyAPI)
	if err != nil {
		t.Fatal("build the API server: ", err)
	}
	log.SetLogger(logr.Discard())
	env := &envtest.Environment{
		BinaryAssetsDirectory:    dir + "/bin",
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  time.Minute,
	}
	cfg, err := env.Start()
	if err != nil {
		t.Fatal("start the API server: ", err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error("stop the API server: ", err)
		}
	})
	return cfg
}

// Variable of the environment that asks for tests on a whole cluster: the
// folder of the running one that they share, or 1 for that of DefaultDir.
const Variable = "SLIPWAY_TEST_CLUSTER"

// Shared returns the running cluster that tests share: each uses namespaces of
// its own. Without Variable the test is skipped; with it, a cluster that does
// not run fails the test.
func Shared(t testing.TB) *Cluster {
	t.Helper()
	dir := os.Getenv(Variable)
	switch dir {
	case "":
		t.Skip("set " + Variable + "=1 after `make cluster-up` to test on a real Kubernetes")
	case "1":
		dir = DefaultDir()
	}
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Config is an administrator's.
func (c *Cluster) Config() (*rest.Config, error) {
	return clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
}
