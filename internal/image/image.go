// Package image keeps the engine's layers as content of the registry, and makes
// images of them that kubelets can pull: the base image, slipway-init, and each
// layer at its path. What is kept is in the registry's storage alone, so that
// it is there after a restart, and nothing is ever copied: an image of layers
// that are there is two small files.
package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/engine/initbin"
	"slipway.dev/slipway/internal/proto/oci"
)

// Repositories of the registry that no app's name can reach, and the tag of the
// base image.
const (
	AppsRepo   = "apps" // apps/<scope>
	LayersRepo = "registry/layers"
	BaseRepo   = "registry/base"
	BaseTag    = "current"
)

// InitPath is where every image has slipway-init.
const InitPath = "/usr/local/bin/slipway-init"

// Annotations of the manifests.
const (
	noteAt     = "dev.slipway.layer.at"
	noteDiff   = "dev.slipway.layer.diff-id"
	noteBytes  = "dev.slipway.layer.bytes"
	noteMade   = "org.opencontainers.image.created"
	noteLayers = "dev.slipway.image.layers"
)

const zstdLayer = types.OCILayerZStd

// Options of Open.
type Options struct {
	Store *oci.Store
	Host  string // that kubelets pull from; "" = 127.0.0.1:5005
	// Used tells who uses a layer, "" for nobody. nil = nobody uses any.
	Used func(layer string) string
	// Hint guesses at which path a layer will be seen, so that it need not be
	// packed again for its first image; "" = no guess.
	Hint func(layer string) string
}

// Images implements engine.Layers and makes images.
type Images struct {
	opt Options

	making sync.Mutex // one image, and one removal, at a time
	mu     sync.Mutex
	layers map[string]layer
	images map[string]made // by repository:tag
	init   *layer
}

// layer is a kept layer.
type layer struct {
	engine.LayerInfo
	at     string // the path by which its entries begin
	blob   oci.Blob
	diffID string
}

// made is an image that was made.
type made struct {
	repo, tag, digest string
	layers            []string
}

// Open reads what is kept.
func Open(ctx context.Context, o Options) (*Images, error) {
	if o.Host == "" {
		o.Host = "127.0.0.1:5005"
	}
	i := &Images{opt: o, layers: map[string]layer{}, images: map[string]made{}}
	names, err := o.Store.Tags(ctx, LayersRepo)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		l, err := i.readLayer(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", name, err)
		}
		i.layers[name] = l
	}
	scopes, err := o.Store.Below(ctx, AppsRepo)
	if err != nil {
		return nil, err
	}
	for _, scope := range scopes {
		repo := AppsRepo + "/" + scope
		tags, err := o.Store.Tags(ctx, repo)
		if err != nil {
			return nil, err
		}
		for _, tag := range tags {
			m, err := o.Store.Manifest(ctx, repo, tag)
			if err != nil {
				return nil, err
			}
			notes, err := annotations(m.Body)
			if err != nil {
				return nil, err
			}
			i.images[repo+":"+tag] = made{repo, tag, m.Digest, strings.Fields(notes[noteLayers])}
		}
	}
	return i, nil
}

func annotations(manifest []byte) (map[string]string, error) {
	var m struct {
		Annotations map[string]string `json:"annotations"`
	}
	return m.Annotations, json.Unmarshal(manifest, &m)
}

// SetUsed sets Options.Used, for an engine that is made after its images.
func (i *Images) SetUsed(used func(layer string) string) {
	i.making.Lock()
	defer i.making.Unlock()
	i.opt.Used = used
}

// Image makes, once, the image that shows each layer at its path over the base
// image, and returns the reference by digest that a kubelet pulls. NotFound for
// a layer that is not there, Conflict as long as there is no base image. No
// layers are the base image with slipway-init.
func (i *Images) Image(ctx context.Context, scope string, layers []engine.Layer) (string, error) {
	i.making.Lock()
	defer i.making.Unlock()
	base, err := i.opt.Store.Manifest(ctx, BaseRepo, BaseTag)
	if errs.Is(err, errs.KindNotFound) {
		return "", errs.Conflict("there is no base image yet: make one with `slipway image base`, and push it as %s:%s", BaseRepo, BaseTag)
	}
	if err != nil {
		return "", err
	}
	first, err := i.initLayer(ctx)
	if err != nil {
		return "", err
	}
	key := base.Digest + "\n" + first.blob.Digest
	var names []string
	for _, l := range layers {
		if !i.has(l.Name) {
			return "", errs.NotFound("there is no layer %q", l.Name)
		}
		key += "\n" + l.Name + " " + l.At
		names = append(names, l.Name)
	}
	sum := sha256.Sum256([]byte(key))
	repo, tag := scopeRepo(scope), hex.EncodeToString(sum[:16])
	i.mu.Lock()
	m, ok := i.images[repo+":"+tag]
	i.mu.Unlock()
	if !ok {
		stack := []layer{first}
		for _, l := range layers {
			packed, err := i.at(ctx, l.Name, l.At)
			if err != nil {
				return "", err
			}
			stack = append(stack, packed)
		}
		m = made{repo, tag, "", names}
		if m.digest, err = i.write(ctx, m, base, stack); err != nil {
			return "", fmt.Errorf("making an image of %s: %w", scope, err)
		}
		i.mu.Lock()
		i.images[repo+":"+tag] = m
		i.mu.Unlock()
	}
	return i.opt.Host + "/" + repo + "@" + m.digest, nil
}

// write stores the image's two files and links what it is made of.
func (i *Images) write(ctx context.Context, m made, base oci.Manifest, stack []layer) (string, error) {
	s := i.opt.Store
	from, err := open(ctx, s, base)
	if err != nil {
		return "", err
	}
	var add []mutate.Addendum
	for _, l := range stack {
		add = append(add, mutate.Addendum{Layer: kept{l}, History: v1.History{CreatedBy: "slipway", Comment: l.Name}})
	}
	img, err := mutate.Append(mutate.MediaType(mutate.ConfigMediaType(from, types.OCIConfigJSON), types.OCIManifestSchema1), add...)
	if err != nil {
		return "", err
	}
	img = mutate.Annotations(img, map[string]string{noteLayers: strings.Join(m.layers, " ")}).(v1.Image)
	manifest, err := img.Manifest()
	if err != nil {
		return "", err
	}
	for n, d := range manifest.Layers {
		src := BaseRepo
		if n >= len(manifest.Layers)-len(stack) {
			src = LayersRepo
		}
		if err := s.Link(ctx, src, m.repo, oci.Blob{Digest: d.Digest.String(), Size: d.Size}); err != nil {
			return "", err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return "", err
	}
	if _, err := s.PutBlob(ctx, m.repo, func(w io.Writer) error { _, err := w.Write(config); return err }); err != nil {
		return "", err
	}
	body, err := img.RawManifest()
	if err != nil {
		return "", err
	}
	return s.PutManifest(ctx, m.repo, m.tag, string(types.OCIManifestSchema1), body)
}

var component = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// scopeRepo is where a scope's images are. A few names that a scope may have a
// repository may not.
func scopeRepo(scope string) string {
	if !component.MatchString(scope) {
		sum := sha256.Sum256([]byte(scope))
		scope = "scope-" + hex.EncodeToString(sum[:16])
	}
	return AppsRepo + "/" + scope
}

// Sweep removes the images of scopes that are no more, and gives back the space
// of all that nothing leads to any more, unless it is younger than grace.
func (i *Images) Sweep(ctx context.Context, alive func(scope string) bool, grace time.Duration) error {
	scopes, err := i.opt.Store.Below(ctx, AppsRepo)
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		if !alive(scope) {
			if err := i.RemoveScope(ctx, scope); err != nil {
				return err
			}
		}
	}
	return i.opt.Store.Collect(ctx, grace)
}

// RemoveScope removes a scope's images.
func (i *Images) RemoveScope(ctx context.Context, scope string) error {
	i.making.Lock()
	defer i.making.Unlock()
	repo := scopeRepo(scope)
	i.mu.Lock()
	for key, m := range i.images {
		if m.repo == repo {
			delete(i.images, key)
		}
	}
	i.mu.Unlock()
	return i.opt.Store.Remove(ctx, repo)
}

// initLayer is slipway-init and the folders that every image has.
func (i *Images) initLayer(ctx context.Context) (layer, error) {
	if i.init != nil {
		return *i.init, nil
	}
	program, err := initbin.Bytes()
	if err != nil {
		return layer{}, err
	}
	sum := sha256.Sum256(program)
	name := "_init-" + hex.EncodeToString(sum[:8])
	i.mu.Lock()
	l, ok := i.layers[name]
	i.mu.Unlock()
	if !ok {
		var t bytes.Buffer
		if err := writeInit(&t, program); err != nil {
			return layer{}, err
		}
		if l, err = i.store(ctx, name, "", &t, false); err != nil {
			return layer{}, err
		}
	}
	i.init = &l
	return l, nil
}

// SetBase makes an image the base of all that are made from now on.
func (i *Images) SetBase(ctx context.Context, img v1.Image) error {
	return Push(ctx, i.opt.Store, BaseRepo, BaseTag, img)
}

// Push writes an image into the storage; what is there already is not read.
func Push(ctx context.Context, s *oci.Store, repo, tag string, img v1.Image) error {
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	for _, d := range append(slices.Clone(manifest.Layers), manifest.Config) {
		if _, err := s.Blob(ctx, repo, d.Digest.String()); err == nil {
			continue
		}
		_, err := s.PutBlob(ctx, repo, func(w io.Writer) error {
			if d.Digest == manifest.Config.Digest {
				raw, err := img.RawConfigFile()
				if err == nil {
					_, err = w.Write(raw)
				}
				return err
			}
			l, err := img.LayerByDigest(d.Digest)
			if err != nil {
				return err
			}
			r, err := l.Compressed()
			if err != nil {
				return err
			}
			_, err = io.Copy(w, r)
			return errors.Join(err, r.Close())
		})
		if err != nil {
			return err
		}
	}
	raw, err := img.RawManifest()
	if err != nil {
		return err
	}
	mt, err := img.MediaType()
	if err != nil {
		return err
	}
	_, err = s.PutManifest(ctx, repo, tag, string(mt), raw)
	return err
}
