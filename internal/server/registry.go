package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/build"
	"slipway.dev/slipway/internal/image"
	"slipway.dev/slipway/internal/platform"
	"slipway.dev/slipway/internal/proto/oci"
)

// How often what nobody can reach is looked for, and how long a push may take
// from its first content to its manifest.
const (
	registryFirst = 15 * time.Minute
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

// removed takes away what is kept of an app beside its rows: its repository,
// the images that people pushed, and those that were made of its releases.
func (c *core) removed(ctx context.Context, app slipway.App) error {
	err := errors.Join(c.git.Remove(app.Name), c.registry.store.Remove(ctx, app.Name))
	if c.images != nil {
		err = errors.Join(err, c.images.RemoveScope(ctx, string(app.ID)))
	}
	return err
}

// collectImages gives back the space of images that nobody can reach any more.
func (c *core) collectImages(ctx context.Context) error {
	for wait := registryFirst; ; wait = registryEvery {
		if err := loop.Sleep(ctx, wait); err != nil {
			return nil //nolint:nilerr // the end
		}
		if err := c.collect(ctx, registryGrace); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "old images could not be removed: tried again later", "error", err)
		}
	}
}

// collect removes images of apps that are no more, and content that nothing
// leads to for longer than grace: a push brings the content first.
func (c *core) collect(ctx context.Context, grace time.Duration) error {
	if c.images == nil {
		return c.registry.store.Collect(ctx, grace)
	}
	var unsure error
	err := c.images.Sweep(ctx, func(scope string) bool {
		there, err := c.apps.Exists(ctx, slipway.AppID(scope))
		unsure = errors.Join(unsure, err)
		return there || err != nil || scope == build.Scope
	}, grace)
	return errors.Join(err, unsure)
}

// collectNow is collect for the machine's administrator.
func (c *core) collectNow(w http.ResponseWriter, r *http.Request) {
	grace := registryGrace
	var err error
	if text := r.FormValue("grace"); text != "" {
		if grace, err = time.ParseDuration(text); err != nil {
			err = errs.Wrap(err, errs.KindInvalid, "grace is a time such as 2h")
		}
	}
	var before, after int64
	if err == nil {
		before, err = c.registry.store.Size(r.Context())
	}
	if err == nil {
		err = c.collect(r.Context(), grace)
	}
	if err == nil {
		after, err = c.registry.store.Size(r.Context())
	}
	if err != nil {
		c.adminFailed(w, r, "images could not be collected", err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(collected{before, after}) // the one who asked may have gone
}

// collected is what a collection of images left, in bytes.
type collected struct {
	Before int64 `json:"before"`
	After  int64 `json:"after"`
}
