package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/test/rig"
)

// TestPhoto: an app without a picture gets one of itself; what its owner
// uploads stays.
func TestPhoto(t *testing.T) {
	oneMachine(t, "pods have no browser")
	w := newWorld(t, "--thumbnails", "auto")
	push(t, w, "probe", "first")
	img := w.photo(t, "first")
	if seen := colours(img); img.Bounds().Dx() != 1280 || seen < 2 {
		t.Errorf("a picture of %v with %d colours", img.Bounds(), seen)
	}
	if _, err := w.picture("bob", "first"); err == nil {
		t.Error("bob sees what alice's app looks like")
	}

	var card bytes.Buffer
	if err := png.Encode(&card, image.NewGray(image.Rect(0, 0, 40, 30))); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "card.png")
	if err := os.WriteFile(file, card.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(t, "alice", "", "apps", "thumbnail", "first", file)
	w.run(t, "alice", "", "deploy", filepath.Join(w.root, "test", "apps", "probe"), "--name", "first")
	push(t, w, "probe", "second")
	w.photo(t, "second") // would come after one of the first
	if data, err := w.picture("alice", "first"); err != nil || !bytes.Equal(data, card.Bytes()) {
		t.Errorf("the owner's picture has gone: %v", err)
	}
}

// photo waits until the Portal shows an app's picture.
func (w *world) photo(t *testing.T, app string) image.Image {
	t.Helper()
	var img image.Image
	err := rig.Until(t.Context(), 5*time.Minute, func() error {
		if !strings.Contains(w.run(t, "alice", "", "portal", "--json"), "/v1/apps/"+app+"/thumbnail?v=") {
			return errors.New("the Portal shows none")
		}
		data, err := w.picture("alice", app)
		if err == nil {
			img, err = png.Decode(bytes.NewReader(data))
		}
		return err
	})
	if err != nil {
		t.Fatalf("no picture of %s: %v", app, err)
	}
	return img
}

func (w *world) picture(who, app string) ([]byte, error) {
	c, err := w.client(who)
	if err != nil {
		return nil, err
	}
	res, err := c.Get(w.in.Hosts.API() + "/v1/apps/" + app + "/thumbnail")
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", res.Status)
	}
	return io.ReadAll(res.Body)
}

func colours(img image.Image) int {
	seen := map[color.Color]bool{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			seen[img.At(x, y)] = true
		}
	}
	return len(seen)
}
