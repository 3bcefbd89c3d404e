package install

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"slipway.dev/slipway/internal/endpoints"
	"slipway.dev/slipway/internal/engine/kube"
)

// rights are what the platform may ask of Kubernetes: the core what its engine
// needs in the apps' namespace, the gateways to read where replicas are, the
// pull proxies and the database nothing.
func (p *plan) rights() []object {
	out := []object{
		p.role(partCore, kube.Rules()), p.roleBinding(partCore),
		p.role(partGateway, endpoints.Rules()), p.roleBinding(partGateway),
	}
	// Nodes belong to no namespace.
	name := nameCore + "-" + p.Namespace
	role := &rbacv1.ClusterRole{TypeMeta: typeMeta("ClusterRole"), ObjectMeta: p.metaIn("", partCore, name), Rules: kube.ClusterRules()}
	binding := &rbacv1.ClusterRoleBinding{
		TypeMeta: typeMeta("ClusterRoleBinding"), ObjectMeta: p.metaIn("", partCore, name),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}, Subjects: p.subject(partCore),
	}
	return append(out, role, binding)
}

func (p *plan) role(part string, rules []rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{TypeMeta: typeMeta("Role"), ObjectMeta: p.metaIn(p.AppsNamespace, part, "slipway-"+part), Rules: rules}
}

func (p *plan) roleBinding(part string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		TypeMeta: typeMeta("RoleBinding"), ObjectMeta: p.metaIn(p.AppsNamespace, part, "slipway-"+part),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "slipway-" + part}, Subjects: p.subject(part),
	}
}

func (p *plan) subject(part string) []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: p.Namespace, Name: "slipway-" + part}}
}

// policies shut the platform's namespace, and open each door for those who
// need it. The pull proxies are outside of them: they use the nodes' network.
func (p *plan) policies() []object {
	here := func(part string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: selector(part)}}
	}
	apps := networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: p.AppsNamespace}}}
	inner, outer := []string{"core", "link"}, []string{"edge"}
	if p.Service.SSHPort > 0 {
		inner, outer = append(inner, "ssh"), append(outer, "ssh")
	}
	shut := p.policy(partPlatform, "slipway-shut", metav1.LabelSelector{})
	out := []object{
		shut,
		p.policy(partCore, nameCore, metav1.LabelSelector{MatchLabels: selector(partCore)},
			from(inner, here(partGateway)),
			from([]string{"platform"}, apps),
			// The kubelets' proxies come from the nodes' addresses, which no policy
			// can name; who has no certificate is refused.
			from([]string{"registry"})),
		p.policy(partGateway, nameGateway, metav1.LabelSelector{MatchLabels: selector(partGateway)}, from(outer), from([]string{"platform"}, apps)),
	}
	if p.Database.Bundled() {
		db := p.policy(partDatabase, nameDatabase, metav1.LabelSelector{MatchLabels: selector(partDatabase)}, from([]string{"postgres"}, here(partCore)))
		db.Spec.PolicyTypes = append(db.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) // it opens no connection
		out = append(out, db)
	}
	return out
}

func (p *plan) policy(part, name string, pods metav1.LabelSelector, rules ...networkingv1.NetworkPolicyIngressRule) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: typeMeta("NetworkPolicy"), ObjectMeta: p.meta(part, name),
		Spec: networkingv1.NetworkPolicySpec{PodSelector: pods, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules},
	}
}

// from opens ports for peers; for everybody when none are named.
func from(ports []string, peers ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicyIngressRule {
	r := networkingv1.NetworkPolicyIngressRule{From: peers}
	for _, name := range ports {
		r.Ports = append(r.Ports, networkingv1.NetworkPolicyPort{Protocol: ptr(corev1.ProtocolTCP), Port: ptr(intstr.FromString(name))})
	}
	return r
}
