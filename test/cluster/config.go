package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// inside is the path of a file of the cluster's folder as machines see it.
func inside(parts ...string) string { return filepath.Join(append([]string{insideDir}, parts...)...) }

// apiPort is that of the API server on the control plane's address.
const apiPort = "6443"

func (c *Cluster) server() string { return "https://" + c.control().String() + ":" + apiPort }

// programs are those of the machine, in the order in which they are started.
func (m machine) programs() []program {
	run := func(name string, flags ...string) program {
		return program{name, append([]string{filepath.Join(insideParts, "bin", name)}, flags...)}
	}
	switch m.name {
	case host:
		return []program{run("coredns", "-conf", inside("host", "Corefile"))}
	case Control:
		return []program{
			run("etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296",
				"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
				"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380"),
			run("kube-apiserver", m.c.apiFlags()...),
			run("kube-controller-manager", "--kubeconfig="+inside("pki", "kube-controller-manager.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false",
				"--use-service-account-credentials", "--service-account-private-key-file="+inside("pki", "sa.key"), "--root-ca-file="+inside("pki", "ca.crt"),
				"--cluster-signing-cert-file="+inside("pki", "ca.crt"), "--cluster-signing-key-file="+inside("pki", "ca.key"), "--authentication-skip-lookup",
				"--flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins", // the default would be made on the host
				"--node-monitor-grace-period=20s", "--kube-api-qps=300", "--kube-api-burst=400", "--concurrent-deployment-syncs=10"),
			run("kube-scheduler", "--kubeconfig="+inside("pki", "kube-scheduler.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false",
				"--authentication-skip-lookup", "--kube-api-qps=300", "--kube-api-burst=400"),
		}
	default:
		return []program{
			run("containerd", "--config", inside(m.name, "containerd.toml")),
			run("kube-proxy", "--config="+inside(m.name, "kube-proxy.yaml")),
			run("kubelet", "--config="+inside(m.name, "kubelet.yaml"), "--kubeconfig="+inside("pki", m.name+".kubeconfig"),
				"--hostname-override="+m.name, "--node-ip="+m.ip.String(), fmt.Sprintf("--node-labels=topology.kubernetes.io/zone=zone-%d", m.number)),
		}
	}
}

func (c *Cluster) apiFlags() []string {
	pki := func(name string) string { return inside("pki", name) }
	return []string{
		"--etcd-servers=http://127.0.0.1:2379", "--bind-address=" + c.control().String(), "--advertise-address=" + c.control().String(), "--secure-port=" + apiPort,
		"--service-cluster-ip-range=" + c.services().String(), "--authorization-mode=Node,RBAC", "--allow-privileged", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("apiserver.crt"), "--tls-private-key-file=" + pki("apiserver.key"),
		"--kubelet-client-certificate=" + pki("kubelet-client.crt"), "--kubelet-client-key=" + pki("kubelet-client.key"),
		"--kubelet-certificate-authority=" + pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + pki("ca.crt"), "--requestheader-allowed-names=front-proxy", "--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + pki("front-proxy.crt"), "--proxy-client-key-file=" + pki("front-proxy.key"), "--enable-aggregator-routing",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + pki("sa.pub"), "--service-account-signing-key-file=" + pki("sa.key"),
	}
}

// writePKI makes every certificate and everybody's kubeconfig.
func (c *Cluster) writePKI() error {
	a, err := newAuthority(filepath.Join(c.Dir, "pki"), c.server())
	if err != nil {
		return err
	}
	if err := a.serviceAccounts(); err != nil {
		return err
	}
	type holder struct {
		file, user, group string
		hosts             []string
	}
	api := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", c.control().String(), c.in(128, 1).String()}
	for _, h := range []holder{{"apiserver", "kube-apiserver", "", api}, {"kubelet-client", "kubelet-client", "system:masters", nil}, {"front-proxy", "front-proxy", "", nil}} {
		if _, _, err := a.issue(h.file, h.user, h.group, h.hosts...); err != nil {
			return err
		}
	}
	holders := []holder{
		{"../kubeconfig", "admin", "system:masters", nil},
		{"kube-controller-manager.kubeconfig", "system:kube-controller-manager", "", nil},
		{"kube-scheduler.kubeconfig", "system:kube-scheduler", "", nil},
		{"kube-proxy.kubeconfig", "system:kube-proxy", "", nil},
	}
	for _, m := range c.nodes() {
		holders = append(holders, holder{m.name + ".kubeconfig", "system:node:" + m.name, "system:nodes", []string{m.name, m.ip.String()}})
	}
	for _, h := range holders {
		if err := a.kubeconfig(filepath.Join(a.dir, h.file), h.user, h.group, h.hosts...); err != nil {
			return err
		}
	}
	return nil
}

// files are the configurations of a machine.
var files = map[string]string{
	"containerd.toml": `version = 3
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{{.Pause}}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true # we may lack the right to go below our own score
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{{.Parts}}/bin"]
    conf_dir = "{{.Folder}}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{{.Parts}}/bin/runc"
        SystemdCgroup = false
`,
	"cni/10-pods.conflist": `{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "mtu": {{.MTU}}, "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.Pods}}"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`,
	"resolv.conf": "nameserver {{.Gateway}}\n",
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: {{.Cgroup}}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
address: {{.IP}}
healthzBindAddress: 127.0.0.1
resolvConf: {{.Folder}}/resolv.conf
clusterDNS: ["{{.DNS}}"]
clusterDomain: cluster.local
failSwapOn: false
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: {{.PKI}}/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: {{.PKI}}/{{.Name}}.kubeconfig.crt
tlsPrivateKeyFile: {{.PKI}}/{{.Name}}.kubeconfig.key
protectKernelDefaults: true
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s
serializeImagePulls: false
volumePluginDir: /var/lib/kubelet/volumeplugins
`,
	"kube-proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: {{.PKI}}/kube-proxy.kubeconfig}
clusterCIDR: {{.AllPods}}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
hostnameOverride: {{.Name}}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`,
}

func (m machine) configure() error {
	dir := filepath.Join(m.c.Dir, m.name)
	if err := os.MkdirAll(filepath.Join(dir, "cni"), 0o755); err != nil {
		return err
	}
	switch m.name {
	case Control:
		return nil
	case host:
		return os.WriteFile(filepath.Join(dir, "Corefile"), []byte(m.c.corefile()), 0o644)
	}
	data := map[string]any{
		"Name": m.name, "IP": m.ip, "Pods": m.c.podsOf(m.number), "AllPods": m.c.Pods(), "Gateway": m.c.gateway(), "DNS": m.c.dns(), "MTU": mtu(),
		"Pause": PauseImage, "Parts": insideParts, "Folder": inside(m.name), "PKI": inside("pki"), "Cgroup": m.cgroup(),
	}
	for name, text := range files {
		out, err := fill(text, data)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), []byte(out), 0o644)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

func fill(text string, data any) (string, error) {
	t, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.Execute(&b, data)
	return b.String(), err
}

// corefile is for the forwarder on the bridge. It is in the host's network, so
// that resolvers on the host's loopback serve pods too.
func (c *Cluster) corefile() string {
	forward := ""
	if up := resolvers(); len(up) > 0 {
		forward = "\tforward . " + strings.Join(up, " ") + "\n\tcache 30\n"
	}
	return fmt.Sprintf(".:53 {\n\tbind %s\n\terrors\n%s}\n", c.gateway(), forward)
}
