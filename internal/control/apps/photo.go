package apps

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/loop"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
	"slipway.dev/slipway/internal/store"
)

// PhotoLink is the platform endpoint that leads a browser to the app of which
// it takes a picture. No app is ever linked to it.
const PhotoLink = "photo"

const (
	photoScope = "photos"
	photoAt    = "/photo"
	photoFile  = "app.png"
	photoPort  = 8080
	photoPause = 3 // times as long as a photo took: with its share of a core it costs little of the machine
	photoTime  = 3 * time.Minute
	photoTries = 3       // of a release
	noBrowser  = 44      // exit code
	ownPhoto   = "auto-" // begins the version of a picture that nobody uploaded
)

// photoScript opens the app as a browser does that has the size of a laptop's.
// Every host is the platform's endpoint; the sandbox around has no other way
// out, and is the browser's sandbox. Debian's chromium is a script that wants
// files of the machine's.
var photoScript = fmt.Sprintf(`b=$(command -v /usr/lib/chromium/chromium || command -v chromium || command -v chromium-browser || command -v google-chrome) || exit %d
printf '<fontconfig><dir>/usr/share/fonts</dir><cachedir>/tmp/fonts</cachedir></fontconfig>' >/tmp/fonts.conf
export FONTCONFIG_FILE=/tmp/fonts.conf
exec "$b" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --mute-audio --user-data-dir=/tmp/browser \
	--window-size=1280,800 --virtual-time-budget=10000 --timeout=60000 "--host-resolver-rules=MAP * 127.0.0.1:%d" \
	"--screenshot=%s/%s" "$PHOTO_OF"`, noBrowser, photoPort, photoAt, photoFile)

// studio knows of which app a photo is being taken.
type studio struct {
	kick chan struct{}
	done map[slipway.AppID]tried // used by the loop only

	mu  sync.Mutex
	now *sitting
}

// tried counts the photos of a release that were begun.
type tried struct{ release, times int }

type sitting struct {
	ref   engine.Ref
	name  string
	proxy *httputil.ReverseProxy
}

func (s *studio) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *studio) set(now *sitting) {
	s.mu.Lock()
	s.now = now
	s.mu.Unlock()
}

func (s *studio) sitting() *sitting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *studio) is(ref engine.Ref) bool {
	now := s.sitting()
	return now != nil && now.ref == ref
}

// photoLoop gives each running app that nobody gave a picture one of itself,
// anew for each release: one at a time, and none while something is deployed.
func (s *Service) photoLoop(ctx context.Context) error {
	if !s.Photos {
		return nil
	}
	for {
		app, err := s.nextSitter(ctx)
		if err != nil {
			s.Log.WarnContext(ctx, "no app can be chosen for a picture", "error", err)
		}
		if app == nil {
			if wait(ctx, s.studio.kick, time.Minute) != nil || loop.Sleep(ctx, s.Limits.Drain) != nil {
				return nil
			}
			continue
		}
		began := time.Now()
		t := s.studio.done[app.ID]
		if t.release != app.Current {
			t = tried{release: app.Current}
		}
		t.times++
		s.studio.done[app.ID] = t
		switch found, err := s.photograph(ctx, *app); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.Log.InfoContext(ctx, "no picture was taken of an app", "app", app.Name, "error", err)
		case !found:
			s.Log.InfoContext(ctx, "no pictures are taken of apps: this machine has no chromium")
			return nil
		}
		if loop.Sleep(ctx, min(photoPause*time.Since(began), photoTime)) != nil {
			return nil
		}
	}
}

// nextSitter chooses an app whose picture is missing or of another release.
func (s *Service) nextSitter(ctx context.Context) (*store.App, error) {
	s.mu.Lock()
	busy := len(s.runs) > 0
	s.mu.Unlock()
	if busy {
		return nil, nil // the end of a deploy wakes the loop
	}
	var all []store.App
	if err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		all, err = tx.Apps("")
		return err
	}); err != nil {
		return nil, err
	}
	for i := range all {
		app := &all[i]
		if app.Current == 0 || app.Deleting || s.studio.done[app.ID] == (tried{app.Current, photoTries}) || !takesPhoto(app.Thumbnail, app.Current) {
			continue
		}
		if s.someReplica(app.ID, app.Current) != "" {
			return app, nil
		}
	}
	return nil, nil
}

// takesPhoto: what somebody uploaded stays.
func takesPhoto(thumbnail string, release int) bool {
	return thumbnail == "" || strings.HasPrefix(thumbnail, ownPhoto) && !strings.HasPrefix(thumbnail, photoVersion(release, ""))
}

func photoVersion(release int, content string) string {
	return fmt.Sprintf("%s%d-%s", ownPhoto, release, content)
}

// photograph reports false when there is no browser.
func (s *Service) photograph(ctx context.Context, app store.App) (found bool, err error) {
	endpoint := s.someReplica(app.ID, app.Current)
	if endpoint == "" {
		return true, errs.Unavailable("none of its replicas answers")
	}
	outside, err := url.Parse(s.Hosts.App(app.Name, app.Isolated))
	if err != nil {
		return true, err
	}
	ref := engine.Ref{Kind: engine.KindTask, Scope: photoScope, Name: strings.ToLower(slipway.NewID("photo"))}
	layer := engine.Layer{Name: ref.Name, At: photoAt}
	s.studio.set(&sitting{ref, app.Name, through(app.Name, outside, endpoint)})
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), photoTime)
		defer cancel()
		err = errors.Join(err, s.Engine.Remove(end, ref))
		if e := s.Engine.Layers().Remove(end, layer.Name); e != nil && !errs.Is(e, errs.KindNotFound) {
			err = errors.Join(err, e)
		}
		s.studio.set(nil)
	}()
	err = s.Engine.Apply(ctx, engine.Task{
		Workload: engine.Workload{
			ID: ref, Command: []string{"/bin/sh", "-c", photoScript}, Egress: engine.EgressNone,
			Env:    []engine.Var{{Name: "PHOTO_OF", Value: secret.New("http://" + outside.Host + outside.Path)}},
			Links:  []engine.Link{{Port: photoPort, Target: PhotoLink}},
			Limits: engine.Limits{MemoryBytes: 1 << 30, MilliCPU: 250, PIDs: 512},
		},
		Keep: []engine.Layer{layer}, Deadline: photoTime,
	})
	if err != nil {
		return true, err
	}
	exit, err := s.taskEnd(ctx, ref)
	switch {
	case err != nil:
		return true, err
	case exit == nil:
		return true, errs.Unavailable("the browser vanished")
	case exit.Code == noBrowser:
		return false, nil
	case exit.Failed():
		return true, errs.Unavailable("the browser failed: %s", withCause(exitReason(*exit, 1024), s.tail(ctx, ref, 5)))
	}
	data, err := s.developed(ctx, layer.Name)
	if err != nil {
		return true, err
	}
	return true, s.hang(ctx, app.ID, app.Current, data)
}

// developed reads the picture that the browser left.
func (s *Service) developed(ctx context.Context, layer string) ([]byte, error) {
	l, err := s.Engine.Layers().Open(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	for t := tar.NewReader(l); ; {
		h, err := t.Next()
		if err != nil {
			return nil, errs.Wrap(err, errs.KindUnavailable, "the browser left no picture")
		}
		if path.Base(h.Name) == photoFile && h.Typeflag == tar.TypeReg {
			return io.ReadAll(io.LimitReader(t, maxThumbnail+1))
		}
	}
}

// hang keeps the picture, unless somebody uploaded one meanwhile.
func (s *Service) hang(ctx context.Context, id slipway.AppID, release int, data []byte) error {
	mediaType, version, err := slipway.ParsePicture(data, maxThumbnail)
	if err != nil {
		return err
	}
	version = photoVersion(release, version)
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		app, err := tx.App(id)
		if err != nil || !takesPhoto(app.Thumbnail, release) {
			return err
		}
		app.Thumbnail = version
		if err := tx.SaveApp(app, app.Updated); err != nil {
			return err
		}
		return tx.SetPicture(string(id), store.Picture{Type: mediaType, Version: version, Data: data})
	})
	s.index.changed()
	s.changed(id, "", nil)
	return err
}

// someReplica is the endpoint of a replica that answers.
func (s *Service) someReplica(id slipway.AppID, release int) string {
	a := s.loopOf(id)
	if a == nil {
		return ""
	}
	v := a.view()
	for _, w := range v.workloads {
		for _, r := range w.Replicas {
			if v.ready[r.ID] && v.current == release && r.Endpoint != "" {
				return r.Endpoint
			}
		}
	}
	return ""
}

// Studio serves PhotoLink: it shows the app that sits, as the gateway shows it
// to somebody who has not signed in, and nothing otherwise.
func (s *Service) Studio() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := s.studio.sitting()
		if now == nil || !strings.HasPrefix(r.URL.Path, "/"+now.name+"/") {
			http.NotFound(w, r)
			return
		}
		now.proxy.ServeHTTP(w, r)
	})
}

// through leads to one replica of an app.
func through(name string, outside *url.URL, endpoint string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", outside.Host, outside.Host
			r.Out.URL.Path, r.Out.URL.RawPath = strings.TrimPrefix(r.In.URL.Path, "/"+name), ""
			forward(r.Out.Header, outside, name)
		},
		Transport: replicaAt(endpoint),
	}
}
