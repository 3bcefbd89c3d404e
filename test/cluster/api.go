package cluster

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
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
