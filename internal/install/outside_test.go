package install

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// What reaches the outside is told to the core alone, out of a Secret, and the
// core's pods are replaced when it changes.
func TestOutside(t *testing.T) {
	pip, ca := filepath.Join(t.TempDir(), "pip.conf"), filepath.Join(t.TempDir(), "ca.pem")
	with := func(index string) *corev1.PodTemplateSpec {
		t.Helper()
		for file, text := range map[string]string{pip: "[global]\nindex-url = " + index, ca: "authorities"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, objects := planned(t, values(t, func(v *Values) { v.PipConfigFile, v.OutsideCAFile = pip, ca }))
		if got := string(p.secrets[secretCore][keyPip]); !strings.HasSuffix(got, index) {
			t.Errorf("the Secret has %q", got)
		}
		i := slices.IndexFunc(objects, func(o object) bool { d, ok := o.(*appsv1.Deployment); return ok && d.Name == nameCore })
		return &objects[i].(*appsv1.Deployment).Spec.Template
	}
	one, two := with("https://ada:secret@pypi.example.com/one"), with("https://ada:secret@pypi.example.com/two")
	env := map[string]string{}
	for _, v := range one.Spec.Containers[0].Env {
		env[v.Name] = v.Value
	}
	for name, want := range map[string]string{"PIP_CONFIG_FILE": keyPip, "PIP_CERT": keyOutside, "SSL_CERT_FILE": keyOutside} {
		if env[name] != secretsDir+"/"+want {
			t.Errorf("%s is %q", name, env[name])
		}
	}
	if one.Annotations[annotationConfig] == two.Annotations[annotationConfig] {
		t.Error("the core would not hear of another index")
	}
}
