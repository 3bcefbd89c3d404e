package kube

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/inside"
)

// Keys of an object's Secret. Pods see keySpec, keyPasswd and keyGroup.
const (
	keyRecord  = "record.json"  // what was asked for, to tell a change
	keyObjects = "objects.json" // what was rendered then
	keySpec    = inside.SpecFile
	keyPasswd  = "passwd"
	keyGroup   = "group"
)

// record is what was asked for: everything that must not change later.
type record struct {
	Ref      engine.Ref
	Layers   []engine.Layer
	Command  []string
	Env      []string
	Port     int
	Limits   engine.Limits
	Mounts   []engine.Mount
	Links    []engine.Link
	Egress   engine.Egress
	Grace    time.Duration
	Labels   map[string]string
	Deadline time.Duration  `json:",omitempty"`
	Keep     []engine.Layer `json:",omitempty"`
}

func newRecord(w engine.Workload) record {
	r := record{
		Ref: w.ID, Layers: w.Layers, Command: w.Command, Port: w.Port, Limits: w.Limits, Mounts: w.Mounts,
		Links: w.Links, Egress: w.Egress, Grace: w.Grace, Labels: w.Labels,
	}
	r.Ref.Kind = engine.KindWorkload
	for _, v := range w.Env {
		r.Env = append(r.Env, v.Name+"="+v.Value.Reveal())
	}
	if r.Grace == 0 {
		r.Grace = 10 * time.Second
	}
	if r.Egress == "" {
		r.Egress = engine.EgressInternet
	}
	return r
}

func taskRecord(t engine.Task) record {
	r := newRecord(t.Workload)
	r.Ref.Kind, r.Port, r.Keep, r.Deadline = engine.KindTask, 0, t.Keep, t.Deadline
	if r.Deadline == 0 {
		r.Deadline = 30 * time.Minute
	}
	return r
}

func (r record) task() bool { return r.Ref.Kind == engine.KindTask }

// about is what is known of an object from its Secret's metadata alone.
type about struct {
	Labels map[string]string `json:"labels,omitempty"`
	Layers []string          `json:"layers,omitempty"`
	Mounts []engine.Ref      `json:"mounts,omitempty"`
	Port   int               `json:"port,omitempty"`
}

func (r record) about() about {
	a := about{Labels: r.Labels, Port: r.Port}
	for _, l := range r.Layers {
		a.Layers = append(a.Layers, l.Name)
	}
	for _, m := range r.Mounts {
		a.Mounts = append(a.Mounts, m.Volume)
	}
	return a
}

// environment is what the engine gives, then what was asked for.
func (r record) environment() []string {
	search := "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
	if slices.ContainsFunc(slices.Concat(r.Layers, r.Keep), func(l engine.Layer) bool { return l.At == "/env" }) {
		search = "/env/bin:" + search
	}
	env := []string{"HOME=" + home, "USER=app", "LOGNAME=app", "PATH=" + search, "TMPDIR=/tmp", "LANG=C.UTF-8"}
	for _, v := range r.Env {
		name, _, _ := strings.Cut(v, "=")
		env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		env = append(env, v)
	}
	return env
}

// spec tells the init what to run.
func (e *Engine) spec(r record) inside.Pod {
	p := inside.Pod{Spec: inside.Spec{
		Args: r.Command, Env: r.environment(), Dir: "/app", Port: r.Port, Grace: r.Grace, Deadline: r.Deadline, Once: r.task(),
	}}
	for _, l := range r.Links {
		p.Links = append(p.Links, inside.Link{Port: l.Port, To: "tcp://" + e.opt.Links[l.Target]})
	}
	if r.task() {
		p.Task = &inside.PodTask{Object: e.name(r.Ref), Inbox: e.opt.Inbox, Path: HandlerPath, Token: secret.Random(24).Reveal()}
		for _, k := range r.Keep {
			p.Task.Keep = append(p.Task.Keep, path.Clean(k.At))
		}
	}
	return p
}

// secret makes the record of a new object.
func (e *Engine) secret(r record, replicas int, objects []manifest) (*corev1.Secret, error) {
	note, err := json.Marshal(r.about())
	if err != nil {
		return nil, err
	}
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: e.name(r.Ref), Namespace: e.opt.Namespace, Labels: e.labels(r.Ref),
			Annotations: map[string]string{NoteRef: r.Ref.String(), noteAbout: string(note), noteReplicas: strconv.Itoa(replicas)},
		},
		Type: "slipway.dev/object",
		Data: map[string][]byte{},
	}
	for key, v := range map[string]any{keyRecord: r, keyObjects: objects, keySpec: e.spec(r)} {
		if s.Data[key], err = json.Marshal(v); err != nil {
			return nil, err
		}
	}
	id := uid(r.Ref.Scope)
	s.Data[keyPasswd] = fmt.Appendf(nil, "root:x:0:0:root:/root:/usr/sbin/nologin\napp:x:%d:%d:app:%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n", id, id, home)
	s.Data[keyGroup] = fmt.Appendf(nil, "root:x:0:\ntty:x:5:\napp:x:%d:\nnogroup:x:65534:\n", id)
	immutable := true
	s.Immutable = &immutable
	size := 0
	for _, b := range s.Data {
		size += len(b)
	}
	if size > corev1.MaxSecretSize {
		return nil, errs.Invalid("%s has %d KiB of variables and settings, but Kubernetes keeps at most %d KiB of one object: make its variables smaller",
			r.Ref, size>>10, corev1.MaxSecretSize>>10)
	}
	return s, nil
}

// same reports whether the Secret was made of the same record.
func same(s *corev1.Secret, r record) bool {
	b, err := json.Marshal(r)
	return err == nil && string(s.Data[keyRecord]) == string(b)
}

// known is what the Secret's metadata tell.
type known struct {
	ref      engine.Ref
	about    about
	replicas int
	began    string
	result   *result
}

// result is how a task ended.
type result struct {
	Lost bool         `json:"lost,omitempty"`
	Exit *engine.Exit `json:"exit,omitempty"`
	At   time.Time    `json:"at"`
	Node string       `json:"node,omitempty"`
}

func parseKnown(m metav1.Object) (known, bool) {
	notes := m.GetAnnotations()
	ref, ok := parseRef(notes[NoteRef])
	k := known{ref: ref, began: notes[noteBegan]}
	if !ok || json.Unmarshal([]byte(notes[noteAbout]), &k.about) != nil {
		return known{}, false
	}
	k.replicas, _ = strconv.Atoi(notes[noteReplicas])
	if t := notes[noteResult]; t != "" {
		k.result = &result{}
		if json.Unmarshal([]byte(t), k.result) != nil {
			k.result = &result{Lost: true}
		}
	}
	return k, true
}
