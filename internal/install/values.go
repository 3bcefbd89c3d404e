// Package install puts the platform on a Kubernetes cluster, tells how it is
// there, and takes it away. What it makes are plain objects, applied on the
// server's side with one owner; every run brings them to what the values say,
// so a run that was killed at any point is finished by the next.
package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"regexp"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/platform"
)

// Values are install.yaml: what an installation is made of. The zero value of
// every key means its default.
type Values struct {
	// Base is the domain of the platform. Required.
	Base string `yaml:"base"`
	// Namespace is the platform's own. Default slipway.
	Namespace string `yaml:"namespace"`
	// AppsNamespace is where apps, their tasks and volumes are. Default slipway-apps.
	AppsNamespace string `yaml:"apps_namespace"`
	// Image is the platform's image. Required.
	Image string `yaml:"image"`
	// BaseImage is what apps' images are made of: a file or the name of an image
	// in a registry, given to the core by the installer. Default: what it has.
	BaseImage string `yaml:"base_image"`
	// PullPolicy of the platform's images: IfNotPresent (default), Always, Never.
	PullPolicy string `yaml:"pull_policy"`
	// PullSecret names a Secret in the platform's namespace with which nodes
	// pull the platform's images.
	PullSecret string `yaml:"pull_secret"`
	// Gateways is the number of gateways. Default 2.
	Gateways int32 `yaml:"gateways"`
	// Service is how browsers reach the gateways.
	Service Service `yaml:"service"`
	// TLSSecret names a Secret of type kubernetes.io/tls in the platform's
	// namespace; without one a CA is made.
	TLSSecret string `yaml:"tls_secret"`
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// GitHosts are git servers in networks of your own that apps may be fetched
	// from: host names, whose addresses may then be private, or networks.
	GitHosts []string `yaml:"git_hosts"`
	// Storage is where data lies.
	Storage Storage `yaml:"storage"`
	// Database is the platform's.
	Database Database `yaml:"database"`
	// S3 keeps the registry's images in a bucket instead of the core's volume.
	S3 S3 `yaml:"s3"`
	// PipConfigFile says from where builds get packages, as pip reads it. It may
	// hold passwords and is kept in a Secret.
	PipConfigFile string `yaml:"pip_config_file"`
	// OutsideCAFile holds all authorities that the core and builds trust outside
	// of the cluster. Default: Debian's.
	OutsideCAFile string `yaml:"outside_ca_file"`
	// PodNetworks are those of all pods, where nodes do not tell them: apps reach
	// none of them. Default: what nodes, Calico or Cilium say.
	PodNetworks []string `yaml:"pod_networks"`
	// PullPort is where each node's pull proxy listens, on loopback. Default 5005.
	PullPort int32 `yaml:"pull_port"`
	// NodeSelector and Tolerations place the platform's own pods.
	NodeSelector map[string]string `yaml:"node_selector"`
	Tolerations  []Toleration      `yaml:"tolerations"`
	// AppMemoryMB is the memory of one replica when the app says nothing. Default 1024.
	AppMemoryMB int64 `yaml:"app_memory_mb"`
}

// Service is how browsers reach the gateways.
type Service struct {
	Type        string            `yaml:"type"`        // LoadBalancer (default), NodePort or ClusterIP
	Annotations map[string]string `yaml:"annotations"` // for the load balancer
	Class       string            `yaml:"class"`       // loadBalancerClass
	HTTPSPort   int32             `yaml:"https_port"`  // that browsers use. Default 443
	HTTPSNode   int32             `yaml:"https_node_port"`
	HTTPNode    int32             `yaml:"http_node_port"`
	SSHPort     int32             `yaml:"ssh_port"` // of git over SSH. Default 22; less than 0 = there is none
	SSHNode     int32             `yaml:"ssh_node_port"`
	// Traffic is Local or Cluster: whether only nodes with a gateway take
	// connections, so that gateways see the viewers' addresses, or all nodes do.
	// Default: Local with a LoadBalancer, which finds out; otherwise Cluster.
	Traffic string `yaml:"traffic"`
}

// Storage is where data lies.
type Storage struct {
	Class       string `yaml:"class"`        // of every claim. Default: the cluster's default class
	SharedClass string `yaml:"shared_class"` // of apps' volumes that several nodes use at once. Default: none
	CoreSize    string `yaml:"core_size"`    // git, logs, images. Default 20Gi
}

// Database is the platform's: an external PostgreSQL, or a bundled single one.
type Database struct {
	URL          string `yaml:"url"`           // postgres://user@host:5432/slipway?sslmode=verify-full. Default: bundled
	PasswordFile string `yaml:"password_file"` // on the machine of the installer
	Image        string `yaml:"image"`         // of the bundled one. Default postgres:17
	Size         string `yaml:"size"`          // of its claim. Default 10Gi
}

// Bundled tells whether the database is installed too.
func (d Database) Bundled() bool { return d.URL == "" }

// S3 is a bucket.
type S3 struct {
	Bucket        string `yaml:"bucket"`
	Region        string `yaml:"region"`
	Endpoint      string `yaml:"endpoint"`
	Prefix        string `yaml:"prefix"`
	AccessKeyFile string `yaml:"access_key_file"` // on the machine of the installer
	SecretKeyFile string `yaml:"secret_key_file"`
}

// Toleration lets the platform's pods run on tainted nodes.
type Toleration struct {
	Key      string `yaml:"key"`
	Operator string `yaml:"operator"`
	Value    string `yaml:"value"`
	Effect   string `yaml:"effect"`
}

// ReadValues reads install.yaml; an empty path gives the zero Values.
func ReadValues(path string) (Values, error) {
	var v Values
	if path == "" {
		return v, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return v, errs.Wrap(err, errs.KindInvalid, "cannot read the values: %v", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&v); err != nil && !errors.Is(err, io.EOF) {
		return v, errs.Wrap(err, errs.KindInvalid, "the values in %s have problems: %v", path, err)
	}
	return v, nil
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Complete fills in the defaults and checks everything, all problems at once.
func (v *Values) Complete() error {
	def := func(p *string, d string) {
		if *p == "" {
			*p = d
		}
	}
	def(&v.Namespace, "slipway")
	def(&v.AppsNamespace, "slipway-apps")
	def(&v.PullPolicy, string(corev1.PullIfNotPresent))
	def(&v.Service.Type, string(corev1.ServiceTypeLoadBalancer))
	if v.Service.Type == string(corev1.ServiceTypeLoadBalancer) {
		def(&v.Service.Traffic, string(corev1.ServiceExternalTrafficPolicyLocal))
	}
	def(&v.Service.Traffic, string(corev1.ServiceExternalTrafficPolicyCluster))
	def(&v.Storage.CoreSize, "20Gi")
	def(&v.Database.Image, "postgres:17")
	def(&v.Database.Size, "10Gi")
	for p, d := range map[*int32]int32{&v.Gateways: 2, &v.PullPort: 5005, &v.Service.HTTPSPort: 443, &v.Service.SSHPort: 22} {
		if *p == 0 {
			*p = d
		}
	}

	var bad []errs.Field
	check := func(ok bool, name, format string, args ...any) {
		if !ok {
			bad = append(bad, errs.Field{Name: name, Message: fmt.Sprintf(format, args...)})
		}
	}
	check(v.Base != "", "base", "is needed: the domain of the platform, such as slipway.example.com")
	if v.Base != "" {
		cfg := platform.Config{Base: v.Base, TrustedProxies: v.TrustedProxies, GitHosts: v.GitHosts, AppMemoryMB: v.AppMemoryMB}
		err := cfg.Complete()
		bad = append(bad, errs.FieldsOf(err)...)
		v.Base = cfg.Base
	}
	check(v.Image != "", "image", "is needed: the platform's image, which nodes can pull")
	for name, ns := range map[string]string{"namespace": v.Namespace, "apps_namespace": v.AppsNamespace} {
		check(dnsLabel.MatchString(ns), name, "%q is no name of a namespace", ns)
	}
	check(v.Namespace != v.AppsNamespace, "apps_namespace", "the platform and its apps need namespaces of their own")
	check(v.Gateways >= 1, "gateways", "%d is too few", v.Gateways)
	check(oneOf(v.PullPolicy, "Always", "IfNotPresent", "Never"), "pull_policy", "%q is none of Always, IfNotPresent, Never", v.PullPolicy)
	check(oneOf(v.Service.Type, "LoadBalancer", "NodePort", "ClusterIP"), "service.type", "%q is none of LoadBalancer, NodePort, ClusterIP", v.Service.Type)
	check(oneOf(v.Service.Traffic, "Local", "Cluster"), "service.traffic", "%q is neither Local nor Cluster", v.Service.Traffic)
	check(v.Service.SSHPort != v.Service.HTTPSPort && v.Service.SSHPort != 80, "service.ssh_port", "%d is the port of browsers", v.Service.SSHPort)
	for _, n := range v.PodNetworks {
		_, err := netip.ParsePrefix(n)
		check(err == nil, "pod_networks", "%q is no network such as 10.244.0.0/16", n)
	}
	for name, size := range map[string]string{"storage.core_size": v.Storage.CoreSize, "database.size": v.Database.Size} {
		_, err := resource.ParseQuantity(size)
		check(err == nil, name, "%q is no size such as 20Gi", size)
	}
	u, err := url.Parse(v.Database.URL)
	check(v.Database.Bundled() || err == nil && oneOf(u.Scheme, "postgres", "postgresql"), "database.url", "is not of the form postgres://user@host:5432/slipway?sslmode=verify-full")
	if err == nil && u.User != nil {
		_, inURL := u.User.Password()
		check(!inURL, "database.url", "holds a password: give it in database.password_file, for an argument can be read by others")
	}
	check(v.Database.PasswordFile == "" || !v.Database.Bundled(), "database.password_file", "goes with database.url: the bundled database's password is made")
	check((v.S3.AccessKeyFile == "") == (v.S3.SecretKeyFile == ""), "s3", "access_key_file and secret_key_file go together")
	check(v.S3.Bucket != "" || v.S3 == S3{}, "s3.bucket", "is needed with the other keys of s3")
	return errs.Fields("the values have problems", bad...)
}

func oneOf(s string, all ...string) bool {
	for _, a := range all {
		if s == a {
			return true
		}
	}
	return false
}
