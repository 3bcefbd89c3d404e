package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	remotetransport "github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/base/errs"
)

// Written describes an image in a file.
type Written struct {
	File   string   `json:"file"`
	Image  string   `json:"image"` // the name that loading it gives
	Digest string   `json:"digest"`
	Bytes  int64    `json:"bytes"`
	Layers []string `json:"layers"`
}

// FromDebian makes the base image of a layer that DebianLayer made.
func FromDebian(layer string) (v1.Image, error) {
	l, err := tarball.LayerFromFile(layer, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.AppendLayers(img, l); err != nil {
		return nil, err
	}
	return configure(img, func(c *v1.ConfigFile) {
		c.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	})
}

func configure(img v1.Image, change func(*v1.ConfigFile)) (v1.Image, error) {
	c, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	c = c.DeepCopy()
	if c.OS == "" || c.Architecture == "" {
		c.OS, c.Architecture = "linux", runtime.GOARCH
	}
	change(c)
	return mutate.ConfigFile(img, c)
}

// Platform puts the program slipway over a base image that has git and the
// authorities' certificates.
func Platform(base v1.Image, program string) (v1.Image, error) {
	body, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	var t bytes.Buffer
	tw := tar.NewWriter(&t)
	err = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "usr/local/bin/slipway", Mode: 0o755, Size: int64(len(body)), ModTime: time.Unix(0, 0)})
	if err == nil {
		_, err = tw.Write(body)
	}
	if err = errors.Join(err, tw.Close()); err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(t.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(base, l)
	if err != nil {
		return nil, err
	}
	return configure(img, func(c *v1.ConfigFile) {
		c.Config.Entrypoint, c.Config.Cmd = []string{"/usr/local/bin/slipway"}, nil
		c.Config.User, c.Config.WorkingDir = "65532:65532", "/"
	})
}

// Read reads an image: a file as docker or slipway saves it, or else a
// reference in a registry, with the passwords of docker's configuration.
func Read(ctx context.Context, from string) (v1.Image, error) {
	if st, err := os.Stat(from); err == nil && st.Mode().IsRegular() {
		img, err := tarball.ImageFromPath(from, nil)
		if err != nil {
			return nil, errs.Wrap(err, errs.KindInvalid, "%s holds no single image as `docker save` or `slipway image` write it: %v", from, err)
		}
		return img, nil
	}
	ref, err := name.ParseReference(from)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "%q is neither a file nor the name of an image", from)
	}
	img, err := remote.Image(ref, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}))
	if err != nil {
		return nil, errs.Wrap(err, errs.KindUnavailable, "%s cannot be read: %v", from, err)
	}
	return img, nil
}

// WriteFile writes an image as docker saves it, whole or not at all.
func WriteFile(img v1.Image, file, as string) (Written, error) {
	tag, err := name.NewTag(as)
	if err != nil {
		return Written{}, errs.Wrap(err, errs.KindInvalid, "%q is no name of an image", as)
	}
	if err := tarball.WriteToFile(file+".new", tag, img); err != nil {
		return Written{}, errors.Join(err, os.Remove(file+".new"))
	}
	if err := os.Rename(file+".new", file); err != nil {
		return Written{}, err
	}
	out := Written{File: file, Image: tag.Name()}
	st, err := os.Stat(file)
	if err != nil {
		return out, err
	}
	d, err := img.Digest()
	if err != nil {
		return out, err
	}
	out.Bytes, out.Digest = st.Size(), d.String()
	layers, err := img.Layers()
	for _, l := range layers {
		d, err := l.Digest()
		if err != nil {
			return out, err
		}
		out.Layers = append(out.Layers, d.String())
	}
	return out, err
}

// Upload pushes an image to a registry; transport carries the certificates of
// one that knows clients by them. nil is the usual transport with the passwords
// of docker's configuration. It returns the digest.
func Upload(ctx context.Context, img v1.Image, to string, transport http.RoundTripper) (string, error) {
	ref, err := name.ParseReference(to)
	if err != nil {
		return "", errs.Wrap(err, errs.KindInvalid, "%q is no name of an image", to)
	}
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	if transport != nil {
		opts = []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}
	}
	if err := remote.Write(ref, img, opts...); err != nil {
		return "", errs.Wrap(err, errs.KindUnavailable, "pushing %s: %v", to, err)
	}
	d, err := img.Digest()
	return fmt.Sprint(d), err
}

// Digest is that of an image in a registry; empty when there is none.
func Digest(ctx context.Context, at string, transport http.RoundTripper) (string, error) {
	ref, err := name.ParseReference(at)
	if err != nil {
		return "", errs.Wrap(err, errs.KindInvalid, "%q is no name of an image", at)
	}
	d, err := remote.Head(ref, remote.WithContext(ctx), remote.WithTransport(transport))
	var answer *remotetransport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		return "", errs.Wrap(err, errs.KindUnavailable, "asking for %s: %v", at, err)
	}
	return d.Digest.String(), nil
}
