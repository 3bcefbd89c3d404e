package platform

import "net"

// Engines that run apps.
const (
	EngineProc = "proc" // sandboxes on this machine
	EngineKube = "kube" // pods of a Kubernetes cluster
)

// Kube are the settings of the engine kube, with which the core, the gateways
// and the apps are pods. Most are set by `slipway install`.
type Kube struct {
	// Namespace is where the platform's own parts run. Default slipway.
	Namespace string `yaml:"namespace" json:"namespace"`
	// AppsNamespace is where apps, their tasks and volumes are. Default slipway-apps.
	AppsNamespace string `yaml:"apps_namespace" json:"apps_namespace"`
	// Core is the host by which the other parts and apps' tasks reach the core.
	// Default slipway-core.<namespace>.svc.
	Core string `yaml:"core" json:"core"`
	// Identity is the folder with this part's certificate of the internal CA:
	// tls.crt, tls.key and ca.crt. Default /etc/slipway/identity.
	Identity string `yaml:"identity" json:"identity"`
	// PullHost is the registry as kubelets see it. Default 127.0.0.1:5005, the
	// pull proxy of each node.
	PullHost string `yaml:"pull_host" json:"pull_host"`
	// StorageClass of apps' volumes. Default: the cluster's default class.
	StorageClass string `yaml:"storage_class" json:"storage_class"`
	// SharedStorageClass is for volumes that several nodes use at once. Default:
	// there is none, and an app with such a volume stays on one node.
	SharedStorageClass string `yaml:"shared_storage_class" json:"shared_storage_class"`
	// Shut are networks that apps must not reach beside nodes and pods: services
	// and the API server.
	Shut []string `yaml:"shut" json:"shut"`
	// LingerSeconds is how long a gateway that stops goes on serving, until no
	// balancer sends it anybody new. Default 8.
	LingerSeconds int `yaml:"linger_seconds" json:"linger_seconds"`
	// Ports are where the core listens, and the gateways for apps.
	Ports Ports `yaml:"ports" json:"ports"`
}

// Ports are the core's and, for apps, the gateways', each on all addresses.
type Ports struct {
	Core     string `yaml:"core" json:"core"`         // sign-in, API, git; for gateways. Default 7443
	Link     string `yaml:"link" json:"link"`         // policy; for gateways. Default 7444
	Registry string `yaml:"registry" json:"registry"` // images; for gateways and pull proxies. Default 7445
	SSH      string `yaml:"ssh" json:"ssh"`           // git over SSH; for gateways. Default 7446
	Platform string `yaml:"platform" json:"platform"` // plain HTTP. Of gateways: keys and userinfo, for apps. Of the core: for apps' tasks. Default 7500
}

func (k *Kube) defaults() {
	for _, d := range []struct {
		to *string
		v  string
	}{
		{&k.Namespace, "slipway"},
		{&k.AppsNamespace, "slipway-apps"},
		{&k.Identity, "/etc/slipway/identity"},
		{&k.PullHost, "127.0.0.1:5005"},
		{&k.Ports.Core, "7443"},
		{&k.Ports.Link, "7444"},
		{&k.Ports.Registry, "7445"},
		{&k.Ports.SSH, "7446"},
		{&k.Ports.Platform, "7500"},
	} {
		if *d.to == "" {
			*d.to = d.v
		}
	}
	if k.LingerSeconds == 0 {
		k.LingerSeconds = 8
	}
	if k.Core == "" {
		k.Core = "slipway-core." + k.Namespace + ".svc"
	}
}

// At is the address of one of the core's ports.
func (k Kube) At(port string) string { return net.JoinHostPort(k.Core, port) }

// AtGateways is the address of one of the gateways' ports, for apps.
func (k Kube) AtGateways(port string) string {
	return net.JoinHostPort("slipway-gateway."+k.Namespace+".svc", port)
}
