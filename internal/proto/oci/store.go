// Package oci keeps container images and serves them by the protocol of the
// OCI distribution specification, which distribution/v3 implements. It knows no
// product: callbacks say who somebody is and what they may do, and programs in
// the same process read and write the Store without HTTP.
package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/manifest/manifestlist" // registers its form
	_ "github.com/distribution/distribution/v3/manifest/ocischema"
	_ "github.com/distribution/distribution/v3/manifest/schema2"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/distribution/distribution/v3/registry/storage/driver/factory"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/s3-aws"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
)

// root is where distribution/v3 keeps everything, seen from its drivers.
const root = "/docker/registry/v2"

// Storage says where images are kept: a folder, or a bucket.
type Storage struct {
	Folder string
	S3     *S3
}

// S3 is a bucket of any service that speaks S3. Without keys the machine's own
// role is used.
type S3 struct {
	Bucket, Region, Prefix string
	Endpoint               string // with its scheme; empty = AWS
	AccessKey              string
	SecretKey              secret.String
}

func (s Storage) config() configuration.Storage {
	common := configuration.Storage{
		"delete":   {"enabled": true},
		"redirect": {"disable": true}, // a bucket need not be reachable for clients
	}
	if s.S3 == nil {
		common["filesystem"] = configuration.Parameters{"rootdirectory": s.Folder}
		return common
	}
	p := configuration.Parameters{"bucket": s.S3.Bucket, "region": s.S3.Region, "rootdirectory": s.S3.Prefix}
	if s.S3.AccessKey != "" {
		p["accesskey"], p["secretkey"] = s.S3.AccessKey, s.S3.SecretKey.Reveal()
	}
	if s.S3.Endpoint != "" {
		p["regionendpoint"], p["forcepathstyle"] = s.S3.Endpoint, true
		p["secure"] = !strings.HasPrefix(s.S3.Endpoint, "http://")
	}
	common["s3"] = p
	return common
}

// Store is the images' storage. All methods may be called at once, also while
// a Server serves the same Store.
type Store struct {
	where    Storage
	driver   driver.StorageDriver
	registry distribution.Namespace

	// sweep is held by Collect, and shared by whoever relies on what is there.
	sweep   sync.RWMutex
	mu      sync.Mutex
	touched map[digest.Digest]time.Time // by pushes: Collect spares them for a while
}

// Open opens the storage. Invalid when the settings cannot be right.
func Open(ctx context.Context, where Storage) (*Store, error) {
	quiet()
	c := where.config()
	d, err := factory.Create(ctx, c.Type(), c.Parameters())
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "the registry's storage cannot be used: %v", err)
	}
	r, err := storage.NewRegistry(ctx, d, storage.EnableDelete)
	if err != nil {
		return nil, err
	}
	return &Store{where: where, driver: d, registry: r, touched: map[digest.Digest]time.Time{}}, nil
}

// Blob is a piece of content.
type Blob struct {
	Digest string // sha256:…
	Size   int64
}

// Manifest is what a reference leads to.
type Manifest struct {
	Digest, MediaType string
	Body              []byte
}

func (s *Store) repo(ctx context.Context, name string) (distribution.Repository, error) {
	named, err := reference.WithName(name)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "%q is no name of a repository", name)
	}
	return s.registry.Repository(ctx, named)
}

// touch keeps a blob from being collected for a while; during a collection it waits.
func (s *Store) touch(d digest.Digest) {
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	s.spare(d)
}

func (s *Store) spare(d digest.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched[d] = time.Now()
}

// PutBlob stores what write writes, whole or not at all.
func (s *Store) PutBlob(ctx context.Context, repo string, write func(w io.Writer) error) (Blob, error) {
	r, err := s.repo(ctx, repo)
	if err != nil {
		return Blob{}, err
	}
	up, err := r.Blobs(ctx).Create(ctx)
	if err != nil {
		return Blob{}, err
	}
	defer up.Close()
	sum, size := digest.Canonical.Digester(), new(counter)
	if err := write(io.MultiWriter(up, sum.Hash(), size)); err != nil {
		return Blob{}, errors.Join(err, up.Cancel(context.WithoutCancel(ctx)))
	}
	s.sweep.RLock() // a blob that is there already must stay until it is touched
	defer s.sweep.RUnlock()
	s.spare(sum.Digest())
	got, err := up.Commit(ctx, v1.Descriptor{Digest: sum.Digest(), Size: int64(*size)})
	if err != nil {
		return Blob{}, fmt.Errorf("storing a blob in %s: %w", repo, err)
	}
	return Blob{got.Digest.String(), int64(*size)}, nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// Blob describes a blob of the repository. NotFound when there is none.
func (s *Store) Blob(ctx context.Context, repo, dgst string) (Blob, error) {
	r, err := s.repo(ctx, repo)
	if err != nil {
		return Blob{}, err
	}
	d, err := r.Blobs(ctx).Stat(ctx, digest.Digest(dgst))
	if err != nil {
		return Blob{}, found(err, "%s has no blob %s", repo, dgst)
	}
	return Blob{d.Digest.String(), d.Size}, nil
}

// OpenBlob reads a blob of the repository. NotFound when there is none.
func (s *Store) OpenBlob(ctx context.Context, repo, dgst string) (io.ReadSeekCloser, error) {
	r, err := s.repo(ctx, repo)
	if err != nil {
		return nil, err
	}
	b, err := r.Blobs(ctx).Open(ctx, digest.Digest(dgst))
	return b, found(err, "%s has no blob %s", repo, dgst)
}

// Link makes a blob of one repository a blob of another too; nothing is copied.
func (s *Store) Link(ctx context.Context, from, to string, b Blob) error {
	s.touch(digest.Digest(b.Digest))
	src, err := reference.WithName(from)
	if err != nil {
		return err
	}
	at, err := reference.WithDigest(src, digest.Digest(b.Digest))
	if err != nil {
		return err
	}
	r, err := s.repo(ctx, to)
	if err != nil {
		return err
	}
	up, err := r.Blobs(ctx).Create(ctx, storage.WithMountFrom(at))
	var mounted distribution.ErrBlobMounted
	switch {
	case errors.As(err, &mounted):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(errs.NotFound("%s has no blob %s", from, b.Digest), up.Cancel(ctx), up.Close())
}

// PutManifest stores a manifest, whose blobs the repository must have, under a
// tag, and returns its digest.
func (s *Store) PutManifest(ctx context.Context, repo, tag, mediaType string, body []byte) (string, error) {
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	r, err := s.repo(ctx, repo)
	if err != nil {
		return "", err
	}
	m, desc, err := distribution.UnmarshalManifest(mediaType, body)
	if err != nil {
		return "", errs.Wrap(err, errs.KindInvalid, "this is no manifest")
	}
	ms, err := r.Manifests(ctx)
	if err != nil {
		return "", err
	}
	d, err := ms.Put(ctx, m)
	if err != nil {
		return "", fmt.Errorf("storing a manifest in %s: %w", repo, err)
	}
	desc.Digest = d
	return d.String(), r.Tags(ctx).Tag(ctx, tag, desc)
}

// Manifest returns what the tag or digest leads to. NotFound when there is none.
func (s *Store) Manifest(ctx context.Context, repo, ref string) (Manifest, error) {
	r, err := s.repo(ctx, repo)
	if err != nil {
		return Manifest{}, err
	}
	d := digest.Digest(ref)
	if d.Validate() != nil {
		desc, err := r.Tags(ctx).Get(ctx, ref)
		if err != nil {
			return Manifest{}, found(err, "%s has no %s", repo, ref)
		}
		d = desc.Digest
	}
	ms, err := r.Manifests(ctx)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ms.Get(ctx, d)
	if err != nil {
		return Manifest{}, found(err, "%s has no %s", repo, ref)
	}
	mt, body, err := m.Payload()
	return Manifest{d.String(), mt, body}, err
}

// Tags lists a repository's tags, sorted; none when there is no repository.
func (s *Store) Tags(ctx context.Context, repo string) ([]string, error) {
	r, err := s.repo(ctx, repo)
	if err != nil {
		return nil, err
	}
	tags, err := r.Tags(ctx).All(ctx)
	if err = found(err, "%s is not there", repo); errs.Is(err, errs.KindNotFound) {
		return nil, nil
	}
	slices.Sort(tags)
	return tags, err
}

// Untag removes a tag and the manifest that it leads to. What is not there is
// no error. Content goes with the next Collect.
func (s *Store) Untag(ctx context.Context, repo, tag string) error {
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	r, err := s.repo(ctx, repo)
	if err != nil {
		return err
	}
	desc, err := r.Tags(ctx).Get(ctx, tag)
	if err = found(err, "gone"); errs.Is(err, errs.KindNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	if err := r.Tags(ctx).Untag(ctx, tag); err != nil {
		return err
	}
	return drop(ctx, r, desc)
}

// Drop removes a manifest that no tag leads to any more. What is not there, or
// has a tag, stays as it is.
func (s *Store) Drop(ctx context.Context, repo, dgst string) error {
	s.sweep.RLock()
	defer s.sweep.RUnlock()
	r, err := s.repo(ctx, repo)
	if err != nil {
		return err
	}
	return drop(ctx, r, v1.Descriptor{Digest: digest.Digest(dgst)})
}

func drop(ctx context.Context, r distribution.Repository, desc v1.Descriptor) error {
	others, err := r.Tags(ctx).Lookup(ctx, desc)
	if err != nil || len(others) > 0 {
		return err
	}
	ms, err := r.Manifests(ctx)
	if err != nil {
		return err
	}
	if err = found(ms.Delete(ctx, desc.Digest), "gone"); errs.Is(err, errs.KindNotFound) {
		return nil
	}
	return err
}

// Below lists the names that come next below a repository's name, "" for the
// first parts of all: apps, shop.
func (s *Store) Below(ctx context.Context, prefix string) ([]string, error) {
	dirs, err := s.driver.List(ctx, path.Join(root, "repositories", prefix))
	if err = found(err, "nothing there"); errs.Is(err, errs.KindNotFound) {
		return nil, nil
	}
	var names []string
	for _, d := range dirs {
		if n := path.Base(d); !strings.HasPrefix(n, "_") {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, err
}

// Remove deletes a repository and all below it. What is not there is no error.
// Content goes with the next Collect.
func (s *Store) Remove(ctx context.Context, prefix string) error {
	if _, err := reference.WithName(prefix); err != nil {
		return errs.Wrap(err, errs.KindInvalid, "%q is no name of a repository", prefix)
	}
	s.sweep.Lock()
	defer s.sweep.Unlock()
	err := found(s.driver.Delete(ctx, path.Join(root, "repositories", prefix)), "gone")
	if errs.Is(err, errs.KindNotFound) {
		return nil
	}
	return err
}

// Usage counts the bytes that a repository and all below it keep, content that
// several share once, and uploads under way.
func (s *Store) Usage(ctx context.Context, prefix string) (int64, error) {
	var total int64
	seen := map[string]bool{}
	err := s.driver.Walk(ctx, path.Join(root, "repositories", prefix), func(f driver.FileInfo) error {
		switch dir, name := path.Split(f.Path()); {
		case f.IsDir():
		case name == "data": // of an upload
			total += f.Size()
		case name == "link" && strings.Contains(dir, "/_layers/sha256/") && !seen[path.Base(dir)]:
			hex := path.Base(dir)
			seen[hex] = true
			b, err := s.driver.Stat(ctx, blobPath(hex))
			if err = found(err, "gone"); errs.Is(err, errs.KindNotFound) {
				return nil
			} else if err != nil {
				return err
			}
			total += b.Size()
		}
		return nil
	})
	if err = found(err, "nothing there"); errs.Is(err, errs.KindNotFound) {
		return 0, nil
	}
	return total, err
}

// Size counts the bytes of all content, whoever uses it.
func (s *Store) Size(ctx context.Context) (total int64, err error) {
	err = s.driver.Walk(ctx, path.Join(root, "blobs"), func(f driver.FileInfo) error {
		if !f.IsDir() {
			total += f.Size()
		}
		return nil
	})
	if err = found(err, "nothing there"); errs.Is(err, errs.KindNotFound) {
		return 0, nil
	}
	return total, err
}

func blobPath(hex string) string { return path.Join(root, "blobs", "sha256", hex[:2], hex, "data") }

// found turns the many ways in which distribution says that something is not
// there into NotFound.
func found(err error, format string, args ...any) error {
	var (
		noPath driver.PathNotFoundError
		noTag  distribution.ErrTagUnknown
		noRepo distribution.ErrRepositoryUnknown
		noRev  distribution.ErrManifestUnknownRevision
		noMan  distribution.ErrManifestUnknown
	)
	if errors.Is(err, distribution.ErrBlobUnknown) || errors.As(err, &noPath) || errors.As(err, &noTag) ||
		errors.As(err, &noRepo) || errors.As(err, &noRev) || errors.As(err, &noMan) {
		return errs.Wrap(err, errs.KindNotFound, format, args...)
	}
	return err
}
