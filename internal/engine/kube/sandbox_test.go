package kube_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/enginetest"
	"slipway.dev/slipway/internal/engine/fake"
	"slipway.dev/slipway/internal/engine/inside"
	"slipway.dev/slipway/internal/engine/kube"
)

// metadata is where clouds tell a machine who it is, with its credentials.
const metadata = "169.254.169.254"

// serveAll answers HTTP on each ADDRESS:PORT of its arguments.
const serveAll = `
import http.server, sys, threading
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(s):
        s.send_response(200); s.end_headers(); s.wfile.write(b'platform')
    def log_message(s, *a): pass
for a in sys.argv[1:]:
    host, port = a.rsplit(':', 1)
    h = http.server.ThreadingHTTPServer((host, int(port)), H)
    threading.Thread(target=h.serve_forever).start()
`

// reach prints which targets in its arguments accept a connection.
const reach = `
import socket, sys
for t in sys.argv[1:]:
    host, port = t.rsplit(':', 1)
    try:
        socket.create_connection((host, int(port)), timeout=5); print(t)
    except OSError: pass
`

// platform is a namespace like the platform's own, without policies.
type platform struct {
	l     *lab
	ns    string
	image string
}

func (l *lab) platform(t *testing.T) platform {
	t.Helper()
	ctx := context.Background()
	image, err := images{fake.New(fake.Options{}).Layers(), l}.Image(ctx, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := platform{l, l.ns + "-core", image}
	if _, err := l.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.client.CoreV1().Namespaces().Delete(ctx, p.ns, metav1.DeleteOptions{}) })
	return p
}

// pod runs serveAll and returns the pod's address.
func (p platform) pod(t *testing.T, name string, addrs ...string) string {
	t.Helper()
	pods := p.l.client.CoreV1().Pods(p.ns)
	_, err := pods.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "app", Image: p.image, ImagePullPolicy: corev1.PullNever,
				Command: append([]string{"/usr/bin/python3", "-c", serveAll}, addrs...),
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ip string
	enginetest.Await(t, "pod "+name+" runs", func() bool {
		got, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ip = got.Status.PodIP
		return got.Status.Phase == corev1.PodRunning && ip != ""
	})
	return ip
}

// reaches lists which targets a pod of the platform can connect to.
func (p platform) reaches(t *testing.T, pod string, targets []string) []string {
	t.Helper()
	out, err := p.l.c.Kubectl(t.Context(), append([]string{"-n", p.ns, "exec", pod, "--", "/usr/bin/python3", "-c", reach}, targets...)...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// fakeMetadata gives every node a metadata service beyond it, as clouds do: in a
// network of its own. Of what is on the node itself, policies see nothing here.
func (l *lab) fakeMetadata(t *testing.T) {
	t.Helper()
	for _, node := range []string{"n1", "n2"} {
		on := func(argv ...string) *exec.Cmd {
			cmd, err := l.c.Command(context.Background(), node, argv...)
			if err != nil {
				t.Fatal(err)
			}
			return cmd
		}
		if out, err := on("sh", "-ec", `ip netns delete metadata 2>/dev/null || true
			ip netns add metadata; ip link add md0 type veth peer name md1 netns metadata
			ip address add 169.254.169.253/30 dev md0; ip link set md0 up
			ip -n metadata address add `+metadata+`/30 dev md1; ip -n metadata link set md1 up
			ip -n metadata route add default via 169.254.169.253`).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Cleanup(func() {
			if out, err := on("ip", "netns", "delete", "metadata").CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		// It ends with its input, because a signal would not reach it.
		server := on("ip", "netns", "exec", "metadata", "python3", "-c", serveAll+"sys.stdin.read(); import os; os._exit(0)", metadata+":80")
		in, err := server.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(in.Close(), server.Wait()); err != nil {
				t.Errorf("the metadata service: %v", err)
			}
		})
	}
}

// doors lets the apps' pods into the platform's by one port, as `slipway install`
// does: policies see where a connection arrives, too.
func (p platform) doors(t *testing.T) {
	t.Helper()
	port := intstr.FromInt(7500)
	if _, err := p.l.client.NetworkingV1().NetworkPolicies(p.ns).Create(t.Context(), &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "doors"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "core"}}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}},
				{
					From:  []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: p.l.ns}}}},
					Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
				},
			},
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestPodsKeepIn attacks from a pod. Every target that must be closed is open
// to a pod without policies.
func TestPodsKeepIn(t *testing.T) {
	l := useLab(t)
	p := l.platform(t)
	p.doors(t)
	core, tester := p.pod(t, "core", "0.0.0.0:7500", "0.0.0.0:7443"), "tester"
	p.pod(t, tester, "0.0.0.0:1")
	l.fakeMetadata(t)
	outside := net.JoinHostPort(l.host, "0")
	ln := listen(t, outside)
	defer ln.Close()
	outside = ln.Addr().String()
	if _, err := l.client.CoreV1().Services(p.ns).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "core"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "core"}, Ports: []corev1.ServicePort{{Port: 7500}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h := l.harness(t, l.config, func(o *kube.Options) {
		o.Platform, o.Links = p.ns, map[string]string{"platform": "core." + p.ns + ".svc:7500"}
	})
	other := enginetest.Workload("other", "web", enginetest.ProgramServe)
	other.Egress = engine.EgressInternet
	apply(t, h.Engine, other)
	web := strings.TrimPrefix(running(t, h.Engine, other.ID, 1)[0].Endpoint, "tcp://")
	host, _, err := net.SplitHostPort(web)
	if err != nil {
		t.Fatal(err)
	}
	closed := []string{
		net.JoinHostPort(core, "7443"), metadata + ":80", web, net.JoinHostPort(host, strconv.Itoa(inside.UsagePort)), "kubernetes.default.svc:443",
	}
	nodes, err := l.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes.Items {
		closed = append(closed, net.JoinHostPort(n.Status.Addresses[0].Address, "10250")) // its kubelet
	}
	var open []string
	enginetest.Await(t, "a pod without policies reaches all targets", func() bool {
		open = p.reaches(t, tester, append(slices.Clone(closed), outside))
		if len(open) <= len(closed) {
			t.Logf("of %q it reaches %q", closed, open)
		}
		return len(open) == len(closed)+1
	})
	tries := strings.ReplaceAll(reach, "sys.argv[1:]", "['"+outside+"']")
	k := enginetest.Python("attack", enginetest.Attack+`
import urllib.request
print(urllib.request.urlopen('http://127.0.0.1:7500/').read().decode())
`+tries)
	k.Links = []engine.Link{{Port: 7500, Target: "platform"}}
	k.Env = append(k.Env, engine.Var{Name: "CLOSED", Value: secret.New(strings.Join(closed, " "))})
	out, exit := enginetest.RunTask(t, h.Engine, k)
	// A pod sees its orders, its cgroup and its own addresses; and what is on its
	// own node, this cluster's policies do not decide on.
	fine := []string{"private folder", "spec", "cgroups", "ipv6", "connect " + l.pods(t, k.ID)[0].Status.HostIP + ":10250"}
	var worked []string
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); !slices.ContainsFunc(fine, func(s string) bool { return strings.HasPrefix(line+" ", "ALLOWED "+s+" ") }) {
			worked = append(worked, line)
		}
	}
	if want := []string{"done", "platform", outside}; exit == nil || exit.Failed() || !slices.Equal(worked, want) {
		t.Errorf("it ended as %+v, and printed\n%s", exit, out)
	}
	none := enginetest.Python("alone", tries+"print('done')")
	none.Egress = engine.EgressNone
	if out, exit := enginetest.RunTask(t, h.Engine, none); exit == nil || out != "done" {
		t.Errorf("without egress: %+v, %s", exit, out)
	}
	if res, err := http.Get("http://" + web); err != nil {
		t.Errorf("the other app does not answer: %v", err)
	} else {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}
