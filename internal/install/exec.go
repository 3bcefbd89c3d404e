package install

import (
	"bytes"
	"context"
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"

	"slipway.dev/slipway/internal/base/errs"
)

// toPod finds a running pod of the part and returns a request for something of it.
func (i *Installer) toPod(ctx context.Context, namespace, part, what string) (string, *rest.Request, error) {
	c, err := kubernetes.NewForConfig(i.config)
	if err != nil {
		return "", nil, err
	}
	pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.SelectorFromSet(selector(part)).String(), FieldSelector: "status.phase=Running",
	})
	if err != nil {
		return "", nil, refused(err)
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			return p.Name, c.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(p.Name).SubResource(what), nil
		}
	}
	return "", nil, errs.Unavailable("no pod of the part %s runs: see `slipway install status`", part)
}

// exec runs a command in a running pod of the part and returns its exit code
// and what it wrote.
func (i *Installer) exec(ctx context.Context, namespace, part, in string, command ...string) (code int, said string, err error) {
	pod, ask, err := i.toPod(ctx, namespace, part, "exec")
	if err != nil {
		return 0, "", err
	}
	url := ask.VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec).URL()
	e, err := remotecommand.NewWebSocketExecutor(i.config, "GET", url.String())
	if err != nil {
		return 0, "", err
	}
	var out bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &out})
	said = strings.TrimSpace(out.String())
	var exit utilexec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitStatus(), said, nil
	}
	if err != nil {
		return 0, said, errs.Wrap(err, errs.KindUnavailable, "a command in the pod %s broke off", pod)
	}
	return 0, said, nil
}
