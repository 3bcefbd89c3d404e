package installed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/image"
)

// images are what an installation needs on the nodes.
type images struct {
	platform, postgres string // names there
	base               string // file of that of apps
}

// load makes the images, of what is in the user's cache, and brings to the
// nodes those that they lack. They are named by what they are made of, so that
// nothing is packed twice for a cluster.
func (p *Platform) load(ctx context.Context) (images, error) {
	debian, err := image.DebianLayer(ctx, image.Debian{Progress: p.Out})
	if err != nil {
		return images{}, err
	}
	withPostgres, err := image.DebianLayer(ctx, image.Debian{Packages: []string{"postgresql"}, Progress: p.Out})
	if err != nil {
		return images{}, err
	}
	var out images
	if out.platform, err = p.bring(ctx, "platform", debian, p.binary()); err != nil {
		return out, err
	}
	if out.postgres, err = p.bring(ctx, "database", withPostgres); err != nil {
		return out, err
	}
	out.base, err = p.keep(ctx, debian)
	return out, err
}

// of names what is made of some files.
func of(files ...string) (string, error) {
	h := sha256.New()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:6]), nil
}

// bring returns the name by which the nodes know the image, which is made of the files.
func (p *Platform) bring(ctx context.Context, name string, files ...string) (string, error) {
	sum, err := of(files...)
	if err != nil {
		return "", err
	}
	ref := fmt.Sprintf("slipway.test/%s:%s", name, sum)
	there := true
	for n := 1; n <= p.Cluster.Nodes; n++ {
		cmd, err := p.Cluster.Command(ctx, fmt.Sprintf("n%d", n), "ctr", "images", "ls", "-q", "name=="+ref)
		if err != nil {
			return "", err
		}
		list, err := cmd.Output()
		there = there && err == nil && strings.TrimSpace(string(list)) == ref
	}
	if there {
		return ref, nil
	}
	file := filepath.Join(p.Dir, name+".tar")
	if err := p.command(ctx, "image", name, "--name", ref, "--output", file); err != nil {
		return "", err
	}
	defer os.Remove(file)
	return ref, p.Cluster.Load(ctx, file)
}

// keep returns the file of the image of apps, which stays with the cluster.
func (p *Platform) keep(ctx context.Context, debian string) (string, error) {
	sum, err := of(debian)
	if err != nil {
		return "", err
	}
	file := filepath.Join(p.Cluster.Dir, "base-"+sum+".tar")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	dir, err := os.MkdirTemp(p.Cluster.Dir, ".new-*") // others may make the same
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	made := filepath.Join(dir, "base.tar")
	if err := p.command(ctx, "image", "base", "--output", made); err != nil {
		return "", err
	}
	return file, os.Rename(made, file)
}
