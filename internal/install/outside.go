package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// outside tells the core from where packages come and which authorities to
// trust there. pip and Go read it from their own variables.
func (p *plan) outside() (env []corev1.EnvVar, mark string) {
	s := p.secrets[secretCore]
	add := func(key string, names ...string) {
		for _, name := range names {
			if len(s[key]) > 0 {
				env = append(env, corev1.EnvVar{Name: name, Value: secretsDir + "/" + key})
			}
		}
	}
	add(keyPip, "PIP_CONFIG_FILE")
	add(keyOutside, "SSL_CERT_FILE", "PIP_CERT")
	if len(env) == 0 {
		return nil, ""
	}
	sum := sha256.Sum256(slices.Concat(s[keyPip], []byte{0}, s[keyOutside]))
	return env, "-" + hex.EncodeToString(sum[:4])
}

// inner finds what of the cluster itself apps must not reach, besides nodes and
// pods: its API server and the addresses of services. What this cluster's
// version does not tell, or not to us, stays out.
func (i *Installer) inner(ctx context.Context) ([]string, error) {
	var out []string
	for _, l := range []struct {
		in       schema.GroupVersionResource
		selector string
		of       func(o map[string]any) []string
	}{
		{schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "servicecidrs"}, "", func(o map[string]any) []string {
			nets, _, _ := unstructured.NestedStringSlice(o, "spec", "cidrs")
			return nets
		}},
		{schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}, "kubernetes.io/service-name=kubernetes", addresses},
	} {
		r := i.cluster.Resource(l.in)
		from := r.List
		if l.selector != "" {
			from = r.Namespace(metav1.NamespaceDefault).List
		}
		list, err := from(ctx, metav1.ListOptions{LabelSelector: l.selector})
		if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			continue
		}
		if err != nil {
			return nil, refused(err)
		}
		for _, o := range list.Items {
			out = append(out, l.of(o.Object)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// podNetworks are the networks of pods that the engine does not read from the
// nodes: what the values say, or else what the cluster's network does. Where
// nobody tells, an administrator is warned.
func (i *Installer) podNetworks(ctx context.Context, v Values) ([]string, error) {
	if len(v.PodNetworks) > 0 {
		return v.PodNetworks, nil
	}
	nodes, err := i.cluster.Resource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, refused(err)
	}
	told := !slices.ContainsFunc(nodes.Items, func(n unstructured.Unstructured) bool {
		nets, _, _ := unstructured.NestedStringSlice(n.Object, "spec", "podCIDRs")
		return len(nets) == 0
	})
	if told {
		return nil, nil
	}
	var out []string
	for _, l := range []struct {
		in    schema.GroupVersionResource
		field []string
	}{
		{schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: "ippools"}, []string{"spec", "cidr"}},
		{schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnodes"}, []string{"spec", "ipam", "podCIDRs"}},
	} {
		list, err := i.cluster.Resource(l.in).List(ctx, metav1.ListOptions{})
		if err != nil {
			continue // not this network
		}
		for _, o := range list.Items {
			if one, ok, _ := unstructured.NestedString(o.Object, l.field...); ok {
				out = append(out, one)
			}
			many, _, _ := unstructured.NestedStringSlice(o.Object, l.field...)
			out = append(out, many...)
		}
	}
	if len(out) == 0 {
		fmt.Fprintln(i.out, "Warning: neither the nodes nor the network of this cluster tell which addresses pods have. Name their networks in pod_networks, or apps may reach pods of kube-system.")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func addresses(slice map[string]any) []string {
	var out []string
	all, _, _ := unstructured.NestedSlice(slice, "endpoints")
	for _, e := range all {
		e, _ := e.(map[string]any)
		found, _, _ := unstructured.NestedStringSlice(e, "addresses")
		for _, a := range found {
			if ip, err := netip.ParseAddr(a); err == nil {
				out = append(out, netip.PrefixFrom(ip, ip.BitLen()).String())
			}
		}
	}
	return out
}
