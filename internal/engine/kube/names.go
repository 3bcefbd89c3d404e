package kube

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"slipway.dev/slipway/internal/engine"
)

// Labels of everything that the engine makes. Those of a workload's Service are
// on its EndpointSlices too.
const (
	LabelOwner  = "slipway.dev/owner"
	LabelKind   = "slipway.dev/kind"   // of the object: workload, task, volume
	LabelScope  = "slipway.dev/scope"  // as far as a label can say it
	LabelName   = "slipway.dev/name"   // as far as a label can say it
	LabelObject = "slipway.dev/object" // the name of the Deployment or Job, and of what belongs to it
	labelEgress = "slipway.dev/egress"
	labelVolume = "slipway.dev/volume-" // and a claim: its pods run on one node
)

// Annotations.
const (
	NoteRef      = "slipway.dev/ref"      // the ref, exactly: kind/scope/name
	noteAbout    = "slipway.dev/about"    // of the Secret: what Observe and Layers need to know
	noteReplicas = "slipway.dev/replicas" // of the Secret: how many are wanted
	noteBegan    = "slipway.dev/began"    // of a task's Secret: the one start that was let go
	noteResult   = "slipway.dev/result"   // of a task's Secret: how it ended, for good
	noteIndex    = "slipway.dev/index"    // of a workload's pod
	noteEnded    = "slipway.dev/ended"    // of a workload's pod: the life that Restart ended, and why
)

// fieldManager is the engine's name in server-side apply.
const fieldManager = "slipway"

// objectName is the name of everything that is made for a ref: readable, valid
// wherever Kubernetes wants a name, and never the same for two refs.
func objectName(owner string, ref engine.Ref) string {
	b := []byte(ref.Scope + "-" + ref.Name)
	for i, c := range b {
		if c == '_' || c == '.' {
			b[i] = '-'
		}
	}
	if b[0] >= '0' && b[0] <= '9' { // a Service must begin with a letter
		b = append([]byte("x"), b...)
	}
	s := strings.TrimRight(string(b[:min(len(b), 40)]), "-")
	sum := sha256.Sum256([]byte(owner + "\x00" + ref.String()))
	return s + "-" + hex.EncodeToString(sum[:5])
}

// labelValue says s in a label; what a label cannot say becomes a digest.
func labelValue(s string) string {
	if len(validation.IsValidLabelValue(s)) == 0 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "x" + hex.EncodeToString(sum[:16])
}

// uid is the user of a scope's programs: apps must not read each other's
// volumes. It follows from the scope, so that nothing has to be remembered.
func uid(scope string) int64 {
	sum := sha256.Sum256([]byte(scope))
	return 100_000 + int64(binary.BigEndian.Uint64(sum[:8])%(1<<30))
}

func (e *Engine) name(ref engine.Ref) string { return objectName(e.opt.Owner, ref) }

func parseRef(s string) (engine.Ref, bool) {
	p := strings.SplitN(s, "/", 3)
	if len(p) != 3 {
		return engine.Ref{}, false
	}
	return engine.Ref{Kind: engine.Kind(p[0]), Scope: p[1], Name: p[2]}, true
}

func (e *Engine) labels(ref engine.Ref) map[string]string {
	return map[string]string{
		"app.kubernetes.io/managed-by": fieldManager,
		LabelOwner:                     e.opt.Owner,
		LabelKind:                      string(ref.Kind),
		LabelScope:                     labelValue(ref.Scope),
		LabelName:                      labelValue(ref.Name),
		LabelObject:                    e.name(ref),
	}
}
