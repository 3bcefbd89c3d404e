package installed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"slipway.dev/slipway/internal/image"
)

// images are what an installation needs on the nodes.
type images struct {
	platform, postgres string // names there
	base               string // file of that of apps
}

// load makes the images, of what is in the user's cache, and brings to the
// nodes those that they lack. They are named by their content.
func load(ctx context.Context, o Options) (images, error) {
	base, err := debian(ctx, o)
	if err != nil {
		return images{}, err
	}
	platform, err := image.Platform(base, filepath.Join(o.Root, "bin", "slipway"))
	if err != nil {
		return images{}, err
	}
	postgres, err := debian(ctx, o, "postgresql")
	if err != nil {
		return images{}, err
	}
	out := images{base: filepath.Join(o.Dir, "base.tar")}
	if _, err := image.WriteFile(base, out.base, "slipway.test/base:1"); err != nil {
		return out, err
	}
	if out.platform, err = o.bring(ctx, platform, "platform"); err != nil {
		return out, err
	}
	out.postgres, err = o.bring(ctx, postgres, "postgres")
	return out, err
}

func (o Options) bring(ctx context.Context, img v1.Image, name string) (string, error) {
	digest, err := img.Digest()
	if err != nil {
		return "", err
	}
	ref := fmt.Sprintf("slipway.test/%s:%.12s", name, digest.Hex)
	there := true
	for n := 1; n <= o.Cluster.Nodes; n++ {
		cmd, err := o.Cluster.Command(ctx, fmt.Sprintf("n%d", n), "ctr", "images", "ls", "-q", "name=="+ref)
		if err != nil {
			return "", err
		}
		list, err := cmd.Output()
		there = there && err == nil && strings.TrimSpace(string(list)) == ref
	}
	if there {
		return ref, nil
	}
	fmt.Fprintf(o.Out, "Loading %s\n", ref)
	file := filepath.Join(o.Dir, name+".tar")
	if _, err := image.WriteFile(img, file, ref); err != nil {
		return "", err
	}
	defer os.Remove(file)
	return ref, o.Cluster.Load(ctx, file)
}

func debian(ctx context.Context, o Options, packages ...string) (v1.Image, error) {
	layer, err := image.DebianLayer(ctx, image.Debian{Packages: packages, Progress: o.Out})
	if err != nil {
		return nil, err
	}
	return image.FromDebian(layer)
}
