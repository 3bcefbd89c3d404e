// Package secret keeps secrets out of logs, errors and answers, and seals
// them for storage.
package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/crypto/chacha20poly1305"
)

const redacted = "[redacted]"

// String is a secret text. Printing, logging and encoding it show nothing;
// Reveal is the only way to the text.
type String struct{ s string }

// New makes a secret of s.
func New(s string) String { return String{s} }

// Reveal returns the text.
func (s String) Reveal() string { return s.s }

// Empty reports whether there is no text.
func (s String) Empty() bool { return s.s == "" }

func (s String) String() string                { return redacted }
func (s String) GoString() string              { return redacted }
func (s String) Format(f fmt.State, _ rune)    { _, _ = io.WriteString(f, redacted) }
func (s String) LogValue() slog.Value          { return slog.StringValue(redacted) }
func (s String) MarshalJSON() ([]byte, error)  { return json.Marshal(redacted) }
func (s String) MarshalText() ([]byte, error)  { return []byte(redacted), nil }
func (s *String) UnmarshalText(b []byte) error { s.s = string(b); return nil }

// Random returns n random bytes as URL-safe text.
func Random(n int) String {
	b := make([]byte, n)
	rand.Read(b)
	return String{base64.RawURLEncoding.EncodeToString(b)}
}

// Box seals and opens secrets with one key, XChaCha20-Poly1305.
type Box struct{ aead cipher.AEAD }

// ErrSealed is returned for what this box's key does not open.
var ErrSealed = errors.New("cannot open a sealed value: it was sealed with another key, or was changed")

// OpenBox reads the key at path (32 bytes, mode 0600) and makes it when there
// is none.
func OpenBox(path string) (*Box, error) {
	key, err := ReadOrWrite(path, func() ([]byte, error) {
		key := make([]byte, chacha20poly1305.KeySize)
		rand.Read(key)
		return key, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the key that seals secrets: %w", err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("the key that seals secrets in %s: %w", path, err)
	}
	return &Box{aead}, nil
}

// ReadOrMake returns the text kept at path, and makes a random one when there
// is none.
func ReadOrMake(path string) (String, error) {
	b, err := ReadOrWrite(path, func() ([]byte, error) { return []byte(Random(32).s), nil })
	return String{string(b)}, err
}

// ReadOrWrite returns what is kept at path, and when there is nothing keeps
// there what fresh returns, for this user only.
func ReadOrWrite(path string, fresh func() ([]byte, error)) ([]byte, error) {
	b, err := os.ReadFile(path)
	if !errors.Is(err, os.ErrNotExist) {
		return b, err
	}
	if b, err = fresh(); err != nil {
		return nil, err
	}
	return b, writeNew(path, b)
}

// writeNew makes the file whole or not at all: a torn key would lose secrets.
func writeNew(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// Seal encrypts text; purpose (such as "env:app_1:KEY") is bound to it and
// must be given again to open it.
func (b *Box) Seal(text []byte, purpose string) []byte {
	nonce := make([]byte, b.aead.NonceSize())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, text, []byte(purpose))
}

// Open is the inverse of Seal.
func (b *Box) Open(sealed []byte, purpose string) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrSealed
	}
	text, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(purpose))
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}
