package install

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/platform"
)

// Address is where the platform's names must lead: a name or an address of the
// load balancer, empty while there is none.
func (i *Installer) Address(ctx context.Context, p *Plan) (string, error) {
	u, err := i.cluster.of("Service", p.plan.Namespace).Get(ctx, nameEdge, metav1.GetOptions{})
	if err != nil {
		return "", refused(err)
	}
	var s corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		return "", err
	}
	if ingress := s.Status.LoadBalancer.Ingress; len(ingress) > 0 {
		at := ingress[0]
		if at.Hostname != "" {
			return at.Hostname, nil
		}
		return at.IP, nil
	}
	return "", nil
}

// WebCA is the SHA-256 of the CA that was made for browsers; empty with the
// administrator's certificate.
func (p *Plan) WebCA() string {
	block, _ := pem.Decode(p.plan.secrets[secretWebCA][platform.IdentityCA])
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// ParseToleration reads KEY=VALUE:EFFECT or KEY:EFFECT.
func ParseToleration(s string) (Toleration, error) {
	rest, effect, ok := strings.Cut(s, ":")
	key, value, equal := strings.Cut(rest, "=")
	if !ok || key == "" || !oneOf(effect, "NoSchedule", "PreferNoSchedule", "NoExecute") {
		return Toleration{}, errs.Invalid("%q is no toleration such as dedicated=slipway:NoSchedule", s)
	}
	t := Toleration{Key: key, Value: value, Effect: effect, Operator: "Exists"}
	if equal {
		t.Operator = "Equal"
	}
	return t, nil
}

// portOf is the port of an address that was checked.
func portOf(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err)
	}
	return port
}

// resource is where an object is, also one of a kind that only the engine makes.
func (i *Installer) resource(u *unstructured.Unstructured) dynamic.ResourceInterface {
	for _, k := range made {
		if k.GroupVersionKind == u.GroupVersionKind() {
			return i.cluster.Resource(k.GroupVersion().WithResource(k.resource)).Namespace(u.GetNamespace())
		}
	}
	return i.cluster.of(u.GetKind(), u.GetNamespace())
}
