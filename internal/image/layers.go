package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/proto/oci"
)

// emptyConfig is the configuration of a manifest that is no image.
const emptyConfig = "{}"

const emptyConfigType = "application/vnd.oci.empty.v1+json"

func (i *Images) has(name string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.layers[name]
	return ok
}

// Has implements engine.Layers.
func (i *Images) Has(_ context.Context, name string) (bool, error) {
	return engine.ValidName(name) && i.has(name), nil
}

// Put implements engine.Layers. Names that begin with .wh. are Invalid, for in
// an image they would hide files instead of being some.
func (i *Images) Put(ctx context.Context, name string, tar io.Reader) error {
	return i.put(ctx, name, tar, false)
}

// Keep stores what a task's program left in a folder, as Put does, but links
// may lead anywhere, as they did inside, and what is neither file nor folder
// nor link is left out.
func (i *Images) Keep(ctx context.Context, name string, tar io.Reader) error {
	return i.put(ctx, name, tar, true)
}

func (i *Images) put(ctx context.Context, name string, tar io.Reader, kept bool) error {
	if !engine.ValidName(name) {
		return errs.Invalid("%q is no name of a layer", name)
	}
	if i.has(name) {
		return nil
	}
	at := ""
	if i.opt.Hint != nil {
		at = i.opt.Hint(name)
	}
	_, err := i.store(ctx, name, at, tar, kept)
	return err
}

// store packs a folder below the path and notes it, unless it has come to be
// there meanwhile.
func (i *Images) store(ctx context.Context, name, at string, r io.Reader, kept bool) (layer, error) {
	l := layer{LayerInfo: engine.LayerInfo{Name: name, Created: time.Now().UTC().Truncate(time.Second)}, at: at}
	sp, err := spoolTar(ctx, r, kept)
	if err != nil {
		return layer{}, err
	}
	defer func() { _ = sp.Close() }()
	if err := i.pack(ctx, &l, func(w io.Writer) error { return sp.write(ctx, w, at) }); err != nil {
		return layer{}, err
	}
	i.mu.Lock()
	there, ok := i.layers[name]
	i.mu.Unlock()
	if ok && there.at == at {
		return there, nil
	}
	return l, i.note(ctx, l)
}

// pack stores what write writes as a compressed blob.
func (i *Images) pack(ctx context.Context, l *layer, write func(io.Writer) error) (err error) {
	sum := sha256.New()
	var size written
	l.blob, err = i.opt.Store.PutBlob(ctx, LayersRepo, func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
		if err != nil {
			return err
		}
		return errors.Join(write(io.MultiWriter(z, sum, &size)), z.Close())
	})
	l.Bytes, l.diffID = int64(size), "sha256:"+hex.EncodeToString(sum.Sum(nil))
	return err
}

type written int64

func (w *written) Write(p []byte) (int, error) {
	*w += written(len(p))
	return len(p), nil
}

// note makes the layer be there: its manifest is what counts.
func (i *Images) note(ctx context.Context, l layer) error {
	config, err := i.opt.Store.PutBlob(ctx, LayersRepo, func(w io.Writer) error { _, err := io.WriteString(w, emptyConfig); return err })
	if err != nil {
		return err
	}
	desc := func(mt types.MediaType, b oci.Blob) map[string]any {
		return map[string]any{"mediaType": mt, "digest": b.Digest, "size": b.Size}
	}
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": types.OCIManifestSchema1,
		"config": desc(emptyConfigType, config), "layers": []any{desc(zstdLayer, l.blob)},
		"annotations": map[string]string{
			noteAt: l.at, noteDiff: l.diffID, noteBytes: strconv.FormatInt(l.Bytes, 10), noteMade: l.Created.Format(time.RFC3339),
		},
	})
	if err != nil {
		return err
	}
	old, err := i.opt.Store.Manifest(ctx, LayersRepo, l.Name)
	if err != nil && !errs.Is(err, errs.KindNotFound) {
		return err
	}
	digest, err := i.opt.Store.PutManifest(ctx, LayersRepo, l.Name, string(types.OCIManifestSchema1), body)
	if err != nil {
		return err
	}
	if old.Digest != "" && old.Digest != digest { // packed anew, at another path
		if err := i.opt.Store.Drop(ctx, LayersRepo, old.Digest); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.layers[l.Name] = l
	return nil
}

func (i *Images) readLayer(ctx context.Context, name string) (layer, error) {
	m, err := i.opt.Store.Manifest(ctx, LayersRepo, name)
	if err != nil {
		return layer{}, err
	}
	var man v1.Manifest
	if err := json.Unmarshal(m.Body, &man); err != nil {
		return layer{}, err
	}
	if len(man.Layers) != 1 {
		return layer{}, errs.Invalid("the manifest is not ours")
	}
	n := man.Annotations
	size, err := strconv.ParseInt(n[noteBytes], 10, 64)
	if err != nil {
		return layer{}, err
	}
	at, err := time.Parse(time.RFC3339, n[noteMade])
	return layer{
		LayerInfo: engine.LayerInfo{Name: name, Bytes: size, Created: at}, at: n[noteAt],
		blob: oci.Blob{Digest: man.Layers[0].Digest.String(), Size: man.Layers[0].Size}, diffID: n[noteDiff],
	}, err
}

// at returns the layer packed below the path.
func (i *Images) at(ctx context.Context, name, at string) (layer, error) {
	i.mu.Lock()
	l, ok := i.layers[name]
	i.mu.Unlock()
	if !ok || l.at == at {
		return l, nil
	}
	r, err := i.Open(ctx, name)
	if err != nil {
		return layer{}, err
	}
	defer r.Close()
	again := layer{LayerInfo: l.LayerInfo, at: at}
	err = i.pack(ctx, &again, func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := writeParents(tw, at); err != nil {
			return err
		}
		if err := move(ctx, tar.NewReader(r), tw, "", strings.TrimPrefix(at, "/")); err != nil {
			return err
		}
		return tw.Close()
	})
	if err != nil {
		return layer{}, err
	}
	return again, i.note(ctx, again)
}

// Open implements engine.Layers.
func (i *Images) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	i.mu.Lock()
	l, ok := i.layers[name]
	i.mu.Unlock()
	if !ok {
		return nil, errs.NotFound("there is no layer %q", name)
	}
	blob, err := i.opt.Store.OpenBlob(ctx, LayersRepo, l.blob.Digest)
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(blob, zstd.WithDecoderConcurrency(1))
	if err != nil {
		_ = blob.Close()
		return nil, err
	}
	r, w := io.Pipe()
	g := loop.New(ctx, nil)
	g.Go("unpack", func(ctx context.Context) error {
		defer z.Close()
		tw := tar.NewWriter(w)
		err := move(ctx, tar.NewReader(z), tw, strings.TrimPrefix(l.at, "/"), "")
		if err == nil {
			err = tw.Close()
		}
		_ = blob.Close() // of a reader; it never says that all is well
		return w.CloseWithError(err)
	})
	return stream{r, g}, nil
}

// stream ends its writer when it is closed.
type stream struct {
	*io.PipeReader
	g *loop.Group
}

func (s stream) Close() error { return errors.Join(s.PipeReader.Close(), s.g.Stop()) }

// List implements engine.Layers.
func (i *Images) List(context.Context) ([]engine.LayerInfo, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all []engine.LayerInfo
	for name, l := range i.layers {
		if engine.ValidName(name) { // not our own
			all = append(all, l.LayerInfo)
		}
	}
	slices.SortFunc(all, func(a, b engine.LayerInfo) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Remove implements engine.Layers. Images that show the layer go with it.
func (i *Images) Remove(ctx context.Context, name string) error {
	i.making.Lock()
	defer i.making.Unlock()
	if !engine.ValidName(name) || !i.has(name) {
		return nil
	}
	if i.opt.Used != nil {
		if by := i.opt.Used(name); by != "" {
			return errs.Conflict("layer %q is used by %s", name, by)
		}
	}
	i.mu.Lock()
	var gone []made
	for _, m := range i.images {
		if slices.Contains(m.layers, name) {
			gone = append(gone, m)
		}
	}
	i.mu.Unlock()
	for _, m := range gone { // first: an image without its layer's name could not be found again
		if err := i.opt.Store.Untag(ctx, m.repo, m.tag); err != nil {
			return err
		}
		i.mu.Lock()
		delete(i.images, m.repo+":"+m.tag)
		i.mu.Unlock()
	}
	if err := i.opt.Store.Untag(ctx, LayersRepo, name); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.layers, name)
	return nil
}
