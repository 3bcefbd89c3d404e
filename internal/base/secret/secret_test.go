package secret_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/base/secret"
)

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	const text = "hunter2-hunter2"
	s := secret.New(text)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "in", struct{ S secret.String }{s})
	js, err := json.Marshal(map[string]any{"s": s, "p": &s})
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{
		log.String(), string(js), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s), fmt.Errorf("with %v", s).Error(),
		fmt.Sprintf("%+v", struct{ S secret.String }{s}),
	} {
		if strings.Contains(out, text) || strings.Contains(out, "68756e74") {
			t.Errorf("the secret is in %q", out)
		}
	}
	if s.Reveal() != text {
		t.Error("Reveal does not")
	}
}

func TestBox(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "secrets", "key")
	box, err := secret.OpenBox(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info, err)
	}
	sealed := box.Seal([]byte("value"), "env:app_1:KEY")
	again, err := secret.OpenBox(file)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := again.Open(sealed, "env:app_1:KEY"); err != nil || string(text) != "value" {
		t.Errorf("opened %q, %v", text, err)
	}
	sealed[len(sealed)-1] ^= 1
	changed := sealed
	for name, try := range map[string]func() error{
		"changed": func() error { _, err := again.Open(changed, "env:app_1:KEY"); return err },
		"short":   func() error { _, err := again.Open([]byte("x"), "env:app_1:KEY"); return err },
		"moved": func() error {
			_, err := again.Open(box.Seal([]byte("value"), "env:app_1:KEY"), "env:app_2:KEY")
			return err
		},
	} {
		if err := try(); !errors.Is(err, secret.ErrSealed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
