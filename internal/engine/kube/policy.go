package kube

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// The policies are the same for all apps and come before them: four in the
// namespace, chosen by the pods' labels, not one per app, which would have to
// be there before its pods and go after them.
//
// What no policy lets through is shut, so apps cannot reach each other: into a
// pod leads only what comes from the platform.

// localOnly is what is never reached: the machine itself, and metadata services.
var localOnly = []string{"127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10", "fd00:ec2::/64"}

const nameOfNamespace = "kubernetes.io/metadata.name"

// applyPolicies makes the policies as they should be, and returns what they shut.
func (e *Engine) applyPolicies(ctx context.Context) ([]string, error) {
	shut, err := e.shut(ctx)
	if err != nil {
		return nil, err
	}
	return shut, e.putPolicies(ctx, shut)
}

func (e *Engine) putPolicies(ctx context.Context, shut []string) error {
	for _, p := range e.policies(shut) {
		m, err := newManifest("networkpolicies", p)
		if err != nil {
			return err
		}
		if _, err := e.put(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// watchNodes makes them again when the nodes, or the API's own addresses, have
// changed.
func (e *Engine) watchNodes(ctx context.Context, have []string) error {
	for loop := time.NewTicker(10 * time.Second); ; {
		select {
		case <-loop.C:
		case <-ctx.Done():
			loop.Stop()
			return nil
		}
		want, err := e.shut(ctx)
		if err == nil && slices.Equal(have, want) {
			continue
		}
		if err == nil {
			err = e.putPolicies(ctx, want)
		}
		if err != nil {
			e.log.Error("the network policies are not as they should be; trying again", "error", err)
			continue
		}
		have = want
	}
}

// shut lists what apps must not reach, besides what has no route: the nodes and
// what runs on them, other pods as far as nodes tell their networks, the
// cluster's API, and what the options add.
func (e *Engine) shut(ctx context.Context) ([]string, error) {
	all := append(slices.Clone(localOnly), e.opt.Shut...)
	for _, o := range e.cache.node.GetStore().List() {
		n := o.(*corev1.Node)
		all = append(all, n.Spec.PodCIDRs...)
		for _, a := range n.Status.Addresses {
			if a.Type != corev1.NodeHostName {
				all = appendHost(all, a.Address)
			}
		}
	}
	// Policies see the addresses behind the API's Service, which need not be nodes.
	api, err := e.client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, failed(err)
	}
	for _, p := range api.Endpoints {
		for _, a := range p.Addresses {
			all = appendHost(all, a)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// appendHost adds one address, unless it is a name.
func appendHost(all []string, addr string) []string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return all
	}
	return append(all, netip.PrefixFrom(ip, ip.BitLen()).String())
}

func (e *Engine) policies(shut []string) []*networkingv1.NetworkPolicy {
	ours := map[string]string{LabelOwner: e.opt.Owner}
	internet := map[string]string{LabelOwner: e.opt.Owner, labelEgress: string(engine.EgressInternet)}
	port := func(p intstr.IntOrString, protocols ...corev1.Protocol) (ps []networkingv1.NetworkPolicyPort) {
		for _, proto := range protocols {
			ps = append(ps, networkingv1.NetworkPolicyPort{Protocol: &proto, Port: &p})
		}
		return ps
	}
	from := []networkingv1.NetworkPolicyPeer{namespace(metav1.LabelSelectorOpIn, e.opt.Platform)}
	for _, c := range e.opt.From {
		from = append(from, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: c}})
	}
	dns := networkingv1.NetworkPolicyEgressRule{
		Ports: port(intstr.FromInt(53), corev1.ProtocolUDP, corev1.ProtocolTCP),
		To:    []networkingv1.NetworkPolicyPeer{namespace(metav1.LabelSelectorOpIn, metav1.NamespaceSystem)},
	}
	outside := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{
		block("0.0.0.0/0", shut), block("::/0", shut),
		// Databases in the cluster are somebody's; the platform's and the cluster's own are not an app's.
		namespace(metav1.LabelSelectorOpNotIn, e.opt.Platform, e.opt.Namespace, metav1.NamespaceSystem),
	}}
	return []*networkingv1.NetworkPolicy{
		e.policy("shut", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: ours},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
		}),
		e.policy("in", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: ours},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: from, Ports: append(port(intstr.FromString(portApp), corev1.ProtocolTCP), port(intstr.FromInt(inside.UsagePort), corev1.ProtocolTCP)...),
			}},
		}),
		e.policy("platform", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: ours},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      append(e.endpoints(), dns),
		}),
		e.policy("internet", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: internet},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress:      []networkingv1.NetworkPolicyEgressRule{outside},
		}),
	}
}

func (e *Engine) policy(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Name: e.opt.Owner + "-apps-" + name, Namespace: e.opt.Namespace,
			Labels: map[string]string{"app.kubernetes.io/managed-by": fieldManager, LabelOwner: e.opt.Owner},
		},
		Spec: spec,
	}
}

func namespace(op metav1.LabelSelectorOperator, names ...string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
		MatchExpressions: []metav1.LabelSelectorRequirement{{Key: nameOfNamespace, Operator: op, Values: names}},
	}}
}

// block is everything of a family but what is shut.
func block(cidr string, shut []string) networkingv1.NetworkPolicyPeer {
	b := &networkingv1.IPBlock{CIDR: cidr}
	for _, s := range shut {
		if strings.Contains(s, ":") == strings.Contains(cidr, ":") {
			b.Except = append(b.Except, s)
		}
	}
	return networkingv1.NetworkPolicyPeer{IPBlock: b}
}

// endpoints lead to the platform: to its pods on the endpoints' ports, or to
// an address.
func (e *Engine) endpoints() []networkingv1.NetworkPolicyEgressRule {
	var rules []networkingv1.NetworkPolicyEgressRule
	seen := map[string]bool{}
	targets := []string{e.opt.Inbox}
	for _, t := range e.opt.Links {
		targets = append(targets, t)
	}
	slices.Sort(targets)
	for _, t := range targets {
		i := strings.LastIndexByte(t, ':')
		if i < 0 || seen[t] {
			continue
		}
		seen[t] = true
		n, err := strconv.Atoi(t[i+1:])
		if err != nil {
			continue
		}
		peer := namespace(metav1.LabelSelectorOpIn, e.opt.Platform)
		if ip, err := netip.ParseAddr(strings.Trim(t[:i], "[]")); err == nil {
			peer = networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: netip.PrefixFrom(ip, ip.BitLen()).String()}}
		}
		rules = append(rules, networkingv1.NetworkPolicyEgressRule{
			To:    []networkingv1.NetworkPolicyPeer{peer},
			Ports: []networkingv1.NetworkPolicyPort{{Protocol: to(corev1.ProtocolTCP), Port: to(intstr.FromInt(n))}},
		})
	}
	return rules
}
