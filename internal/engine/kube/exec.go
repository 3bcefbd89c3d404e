package kube

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
)

// Exec implements engine.Engine.
func (e *Engine) Exec(ctx context.Context, id engine.ReplicaRef, c engine.Command, s engine.Streams) (engine.Exit, error) {
	if len(c.Args) == 0 {
		return engine.Exit{}, errs.Invalid("there is no command to run")
	}
	p := e.podOf(id)
	switch {
	case p == nil:
		return engine.Exit{}, errs.NotFound("there is no replica %d of %s", id.Index, id.Ref)
	case status(p).State.Running == nil:
		return engine.Exit{}, errs.Conflict("replica %d of %s does not run", id.Index, id.Ref)
	}
	args := []string{InitPath, "exec"}
	if len(c.Env) > 0 {
		// By a file, because arguments can be read by others and are audited.
		file := "/tmp/.slipway-" + rand.Text()
		if err := e.putEnv(ctx, p, file, c.Env); err != nil {
			return engine.Exit{}, err
		}
		args = append(args, "-env", file)
	}
	what := slices.Clone(c.Args)
	if what[0] == engine.Init {
		what[0] = InitPath
	}
	code, err := e.run(ctx, p, append(args, what...), c.TTY, s)
	exit := engine.Exit{Code: code, At: time.Now().UTC()}
	if code > 128 {
		exit.Signal = code - 128
	}
	return exit, err
}

// podOf finds a replica's pod, or nil.
func (e *Engine) podOf(id engine.ReplicaRef) *corev1.Pod {
	name := e.name(id.Ref)
	k, ok := e.knownOf(name)
	if !ok {
		return nil
	}
	if id.Ref.Kind != engine.KindTask {
		return e.indexed(name, k.replicas)[id.Index]
	}
	if id.Index != 0 {
		return nil
	}
	return e.taskPod(name, k)
}

func (e *Engine) putEnv(ctx context.Context, p *corev1.Pod, file string, vars []engine.Var) error {
	env := make([]string, 0, len(vars))
	for _, v := range vars {
		env = append(env, v.Name+"="+v.Value.Reveal())
	}
	b, err := json.Marshal(env)
	if err != nil {
		return err
	}
	var said bytes.Buffer
	code, err := e.run(ctx, p, []string{InitPath, "put", file}, false, engine.Streams{In: bytes.NewReader(b), Err: &said})
	if err == nil && code != 0 {
		err = fmt.Errorf("the variables could not be handed over: %s", said.String())
	}
	return err
}

// run runs a command in a pod, by websocket, or by SPDY where the way to the
// cluster knows no websockets.
func (e *Engine) run(ctx context.Context, p *corev1.Pod, args []string, tty bool, s engine.Streams) (code int, err error) {
	out := s.Out
	if out == nil {
		out = io.Discard
	}
	o := remotecommand.StreamOptions{Stdin: s.In, Stdout: out, Stderr: s.Err, Tty: tty}
	if tty {
		o.Stderr = nil // a terminal has one stream
	} else if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	url := e.client.CoreV1().RESTClient().Post().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: container, Command: args, Stdin: o.Stdin != nil, Stdout: true, Stderr: o.Stderr != nil, TTY: tty,
		}, scheme.ParameterCodec).URL()
	ws, err := remotecommand.NewWebSocketExecutor(e.config, "GET", url.String())
	if err != nil {
		return 0, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(e.config, "POST", url)
	if err != nil {
		return 0, err
	}
	x, err := remotecommand.NewFallbackExecutor(ws, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return 0, err
	}
	err = x.StreamWithContext(ctx, o)
	var status exec.ExitError
	if errors.As(err, &status) && status.Exited() {
		return status.ExitStatus(), nil
	}
	return 0, failed(err)
}
