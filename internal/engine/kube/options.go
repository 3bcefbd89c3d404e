package kube

import (
	"context"
	"io"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/engine"
)

// InitPath is where every image has the program slipway-init. An image also has
// /bin/sh and the folders /app and /home/app.
const InitPath = "/usr/local/bin/slipway-init"

// HandlerPath is the path below which Engine.Handler answers.
const HandlerPath = "/engine/"

// Images keeps layers and makes images of them that kubelets can pull.
type Images interface {
	engine.Layers
	// Keep stores what a task's program left in a folder, as Put does, but links
	// may lead anywhere, as they did inside: an environment's python is a link
	// to /usr/bin/python3.
	Keep(ctx context.Context, name string, tar io.Reader) error
	// Image makes, once, the image that shows each layer at its path over the
	// base image, and returns the reference by digest that a kubelet pulls, such
	// as 127.0.0.1:5005/apps/<scope>@sha256:…. NotFound for a layer that is not
	// there. No layers are the base image.
	Image(ctx context.Context, scope string, layers []engine.Layer) (string, error)
}

// Options of New.
type Options struct {
	Log    *slog.Logger // required
	Images Images       // required
	Data   string       // folder for the pods' logs; made when missing

	Config    *rest.Config // nil = the pod's own service account, or $KUBECONFIG
	Namespace string       // of apps, tasks and volumes; "" = slipway-apps
	Platform  string       // the platform's namespace, which may connect to apps; "" = slipway
	Owner     string       // value of the owner label: the engine sees nothing else; "" = slipway

	Links map[string]string // platform endpoints: name to host:port
	Inbox string            // host:port where pods reach Handler; "" = Links["platform"]
	From  []string          // CIDRs beside the platform's namespace that may connect to apps
	Shut  []string          // CIDRs that apps must not reach, beside nodes, other pods, services and link-local addresses

	Memory             int64             // default limit of a replica; 0 = 512 MiB
	VolumeBytes        int64             // size of a volume without a quota; 0 = 10 GiB
	PullPolicy         corev1.PullPolicy // "" = IfNotPresent
	StorageClass       string            // of volumes; "" = the cluster's default
	SharedStorageClass string            // of volumes on several nodes at once; "" = there is none
	Pythons            []string          // minor versions that the base image has; nil = 3.11
	NoPolicies         string            // why NetworkPolicies do not hold in this cluster, for administrators; "" = they do
}
