package oci

import (
	"context"
	"path"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"slipway.dev/slipway/internal/base/errs"
)

// Collect deletes content that no manifest leads to, unless it is younger than
// grace or a push relied on it since: a push is many requests, and its manifest
// comes last. While it runs, pushes wait; pulls do not.
func (s *Store) Collect(ctx context.Context, grace time.Duration) error {
	s.sweep.Lock()
	defer s.sweep.Unlock()
	since := time.Now().Add(-grace)
	s.mu.Lock()
	for d, at := range s.touched {
		if at.Before(since) {
			delete(s.touched, d)
		}
	}
	s.mu.Unlock()
	for _, dir := range []string{"repositories", "blobs"} { // made by the first push
		_, err := s.driver.Stat(ctx, path.Join(root, dir))
		if err = found(err, "gone"); errs.Is(err, errs.KindNotFound) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return storage.MarkAndSweep(ctx, s.driver, sparing{s.registry, s, since}, storage.GCOpts{Quiet: true})
}

// young reports whether a blob is to be spared.
func (s *Store) young(ctx context.Context, d digest.Digest, since time.Time) bool {
	s.mu.Lock()
	_, touched := s.touched[d]
	s.mu.Unlock()
	if touched || d.Algorithm() != digest.SHA256 {
		return touched
	}
	f, err := s.driver.Stat(ctx, blobPath(d.Encoded()))
	return err == nil && f.ModTime().After(since)
}

// sparing is the registry as the sweep sees it: without what is to be spared.
// What manifests lead to is found by the real one.
type sparing struct {
	distribution.Namespace
	s     *Store
	since time.Time
}

func (n sparing) Enumerate(ctx context.Context, ingest func(string) error) error {
	return n.Namespace.(distribution.RepositoryEnumerator).Enumerate(ctx, ingest)
}

func (n sparing) Blobs() distribution.BlobEnumerator {
	return sparingBlobs{n.Namespace.Blobs(), n}
}

func (n sparing) Repository(ctx context.Context, name reference.Named) (distribution.Repository, error) {
	r, err := n.Namespace.Repository(ctx, name)
	return sparingRepo{r, n}, err
}

type sparingBlobs struct {
	distribution.BlobEnumerator
	n sparing
}

func (b sparingBlobs) Enumerate(ctx context.Context, ingest func(digest.Digest) error) error {
	return b.BlobEnumerator.Enumerate(ctx, b.n.filter(ctx, ingest))
}

type sparingRepo struct {
	distribution.Repository
	n sparing
}

func (r sparingRepo) Blobs(ctx context.Context) distribution.BlobStore {
	return sparingLayers{r.Repository.Blobs(ctx), r.n}
}

type sparingLayers struct {
	distribution.BlobStore
	n sparing
}

func (l sparingLayers) Enumerate(ctx context.Context, ingest func(digest.Digest) error) error {
	return l.BlobStore.(distribution.ManifestEnumerator).Enumerate(ctx, l.n.filter(ctx, ingest))
}

func (n sparing) filter(ctx context.Context, ingest func(digest.Digest) error) func(digest.Digest) error {
	return func(d digest.Digest) error {
		if n.s.young(ctx, d, n.since) {
			return nil
		}
		return ingest(d)
	}
}
