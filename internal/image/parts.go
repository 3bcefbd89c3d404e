package image

import (
	"context"
	"errors"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/proto/oci"
)

var errContent = errors.New("the content stays in the registry")

// kept is a layer of ours as go-containerregistry wants it: by its description.
type kept struct{ l layer }

func (k kept) Digest() (v1.Hash, error)             { return v1.NewHash(k.l.blob.Digest) }
func (k kept) DiffID() (v1.Hash, error)             { return v1.NewHash(k.l.diffID) }
func (k kept) Size() (int64, error)                 { return k.l.blob.Size, nil }
func (k kept) MediaType() (types.MediaType, error)  { return zstdLayer, nil }
func (k kept) Compressed() (io.ReadCloser, error)   { return nil, errContent }
func (k kept) Uncompressed() (io.ReadCloser, error) { return nil, errContent }

// stored is an image in the registry's storage.
type stored struct {
	m      oci.Manifest
	config []byte
}

// open reads an image's two files.
func open(ctx context.Context, s *oci.Store, m oci.Manifest) (v1.Image, error) {
	img := stored{m: m}
	man, err := partial.Manifest(img)
	if err != nil {
		return nil, err
	}
	r, err := s.OpenBlob(ctx, BaseRepo, man.Config.Digest.String())
	if err != nil {
		return nil, err
	}
	img.config, err = io.ReadAll(io.LimitReader(r, 8<<20))
	_ = r.Close() // of a reader; it never says that all is well
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(img)
}

func (s stored) RawManifest() ([]byte, error)        { return s.m.Body, nil }
func (s stored) RawConfigFile() ([]byte, error)      { return s.config, nil }
func (s stored) MediaType() (types.MediaType, error) { return types.MediaType(s.m.MediaType), nil }
func (s stored) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	man, err := partial.Manifest(s)
	if err != nil {
		return nil, err
	}
	for _, d := range man.Layers {
		if d.Digest == h {
			return described{d}, nil
		}
	}
	return nil, errContent
}

// described is a layer of the base image.
type described struct{ v1.Descriptor }

func (d described) Digest() (v1.Hash, error)            { return d.Descriptor.Digest, nil }
func (d described) Size() (int64, error)                { return d.Descriptor.Size, nil }
func (d described) MediaType() (types.MediaType, error) { return d.Descriptor.MediaType, nil }
func (d described) Compressed() (io.ReadCloser, error)  { return nil, errContent }
