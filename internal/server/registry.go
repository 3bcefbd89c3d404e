package server

import (
	"context"
	"net/http"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/oci"
)

// How often what nobody can reach is looked for, and how long a push may take
// from its first content to its manifest.
const (
	registryEvery = 6 * time.Hour
	registryGrace = 2 * time.Hour
)

// registry is registry-<base>: images of people, below their apps' names.
type registry struct {
	store    *oci.Store
	server   *oci.Server
	internal *oci.Internal // for pull proxies and the installer
}

// openRegistry opens the images' storage and its door for people.
func (c *core) openRegistry(ctx context.Context, box *secret.Box) (*registry, error) {
	where, err := registryStorage(c.cfg, c.data)
	if err != nil {
		return nil, err
	}
	store, err := oci.Open(ctx, where)
	if err != nil {
		return nil, err
	}
	key, err := secret.ReadOrMake(c.data.RegistryKey())
	if err != nil {
		return nil, err
	}
	server := oci.New(ctx, oci.Options{
		Store: store, Origin: c.hosts.Registry(), Box: box, HTTPSecret: key, Log: c.log.With("part", "registry"),
		Authenticate: c.registrySubject, Authorize: c.mayUseImages,
		Quota: func(_ context.Context, repo string) (string, int64) {
			app, _, _ := strings.Cut(repo, "/")
			return app, c.cfg.Registry.AppMB << 20
		},
	})
	return &registry{store, server, oci.NewInternal(ctx, oci.InternalOptions{
		Store: store, Pull: []string{image.AppsRepo}, Push: []string{image.BaseRepo}, May: mayPull,
	})}, nil
}

func registryStorage(cfg platform.Config, data platform.Folder) (oci.Storage, error) {
	s := cfg.Registry.S3
	if s.Bucket == "" {
		return oci.Storage{Folder: data.Registry()}, nil
	}
	access, key, err := s.Keys()
	return oci.Storage{S3: &oci.S3{
		Bucket: s.Bucket, Region: s.Region, Prefix: s.Prefix, Endpoint: s.Endpoint, AccessKey: access, SecretKey: key,
	}}, err
}

// serveRegistry tells from where the client comes: failures are counted by address.
func (c *core) serveRegistry(w http.ResponseWriter, r *http.Request) {
	ctx := slipway.WithActor(r.Context(), slipway.Actor{Addr: clientAddr(r)})
	c.registry.server.ServeHTTP(w, r.WithContext(ctx))
}

// What a subject is, before the colon. An API token is kept as it is, for it
// must stop working when it is revoked.
const (
	subjectUser  = "user"
	subjectToken = "token"
)

func (c *core) registrySubject(ctx context.Context, user string, password secret.String) (secret.String, error) {
	a, err := c.people.Password(ctx, user, password.Reveal(), slipway.ActorFrom(ctx).Addr)
	if err != nil {
		return secret.String{}, err
	}
	if a.Token != "" {
		return secret.New(subjectToken + ":" + password.Reveal()), nil
	}
	return secret.New(subjectUser + ":" + string(a.User.ID)), nil
}

// mayUseImages lets those who may read an app pull below its name, and those
// who may deploy it push and delete there. To everybody else an app that is
// there looks like one that is not.
func (c *core) mayUseImages(ctx context.Context, subject secret.String, repo string, actions []string) error {
	a, err := c.subjectActor(ctx, subject)
	if err != nil || repo == "" {
		return err
	}
	a.Addr = slipway.ActorFrom(ctx).Addr
	app, image, _ := strings.Cut(repo, "/")
	if image == "" {
		return errs.Denied("name images %s/<app>/<image>: %q is no app with an image", strings.TrimPrefix(c.hosts.Registry(), c.hosts.Scheme+"://"), repo)
	}
	ctx = slipway.WithActor(ctx, a)
	if len(actions) == 1 && actions[0] == "pull" {
		return c.apps.MayRead(ctx, app)
	}
	return c.apps.MayDeploy(ctx, app)
}

func (c *core) subjectActor(ctx context.Context, subject secret.String) (slipway.Actor, error) {
	kind, value, _ := strings.Cut(subject.Reveal(), ":")
	if kind == subjectToken {
		return c.people.Token(ctx, value)
	}
	u, err := c.people.Subject(ctx, slipway.UserID(value))
	if errs.Is(err, errs.KindNotFound) {
		return slipway.Actor{}, errs.Unauthenticated("sign in again")
	}
	return slipway.Actor{User: &u}, err
}

// collectImages gives back the space of images that nobody can reach any more.
func (c *core) collectImages(ctx context.Context) error {
	for {
		if err := loop.Sleep(ctx, registryEvery); err != nil {
			return nil //nolint:nilerr // the end
		}
		if err := c.registry.store.Collect(ctx, registryGrace); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "old images could not be removed: tried again later", "error", err)
		}
	}
}
