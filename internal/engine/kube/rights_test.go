package kube_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"slipway.dev/slipway/internal/engine/kube"
)

// rights records which verbs the engine uses, and which it lacks.
type rights struct {
	mu     sync.Mutex
	used   map[string]bool
	denied []string
}

// limited returns a client that may do what the rules say and nothing else.
func (l *lab) limited(t *testing.T, seen *rights) *rest.Config {
	t.Helper()
	ctx, rbac, name := context.Background(), l.client.RbacV1(), l.ns+"-engine"
	meta := metav1.ObjectMeta{Name: name, Namespace: l.ns}
	who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}}
	ref := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	_, err := rbac.Roles(l.ns).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: kube.Rules()}, metav1.CreateOptions{})
	if err == nil {
		_, err = rbac.RoleBindings(l.ns).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: who, RoleRef: ref("Role")}, metav1.CreateOptions{})
	}
	meta.Namespace = ""
	if err == nil {
		_, err = rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: kube.ClusterRules()}, metav1.CreateOptions{})
	}
	if err == nil {
		_, err = rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: who, RoleRef: ref("ClusterRole")}, metav1.CreateOptions{})
	}
	t.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(ctx, name, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, name, metav1.DeleteOptions{})
	})
	if err != nil {
		t.Fatal(err)
	}
	c := rest.CopyConfig(l.config)
	c.Impersonate.UserName = name
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return recorder{next, seen} })
	return c
}

type recorder struct {
	next http.RoundTripper
	seen *rights
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := r.next.RoundTrip(req)
	if err == nil {
		r.seen.note(req, res.StatusCode)
	}
	return res, err
}

func (r *rights) note(req *http.Request, status int) {
	p := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	group := ""
	switch {
	case len(p) > 3 && p[0] == "apis":
		group, p = p[1], p[3:]
	case len(p) > 2 && p[0] == "api":
		p = p[2:]
	default:
		return // discovery
	}
	if len(p) > 2 && p[0] == "namespaces" {
		p = p[2:]
	}
	resource := p[0]
	if len(p) > 2 {
		resource += "/" + p[2]
	}
	var verbs []string
	switch req.Method {
	case http.MethodGet:
		verbs = []string{"get"}
		if len(p) == 1 {
			verbs[0] = "list"
			if req.URL.Query().Get("watch") != "" {
				verbs[0] = "watch"
			}
			if req.URL.Query().Get("sendInitialEvents") != "" {
				verbs = append(verbs, "list") // with a cluster that cannot do both at once
			}
		}
		if resource == "pods/exec" { // the API server asks for both
			verbs = append(verbs, "create")
		}
	case http.MethodPost:
		verbs = []string{"create"}
	case http.MethodPatch:
		verbs = []string{"patch"}
		if status == http.StatusCreated {
			verbs = append(verbs, "create")
		}
	case http.MethodDelete:
		verbs = []string{"delete"}
	default:
		verbs = []string{strings.ToLower(req.Method)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range verbs {
		if status == http.StatusForbidden {
			r.denied = append(r.denied, v+" "+group+"/"+resource)
		}
		r.used[v+" "+group+"/"+resource] = true
	}
}

// check fails for a right that was missing, or that nothing used.
func (r *rights) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.denied)
	for _, d := range slices.Compact(r.denied) {
		t.Errorf("the rules lack: %s", d)
	}
	for _, rule := range append(kube.Rules(), kube.ClusterRules()...) {
		for _, v := range rule.Verbs {
			if what := v + " " + rule.APIGroups[0] + "/" + rule.Resources[0]; !r.used[what] {
				t.Errorf("the rules have what nothing needs: %s", what)
			}
		}
	}
}
