package platform

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/base/secret"
)

// OpenHostKey reads the key by which people know the platform's SSH, Ed25519 in
// OpenSSH's form, and makes it when there is none.
func OpenHostKey(file string) (ssh.Signer, error) {
	text, err := secret.ReadOrWrite(file, func() ([]byte, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		block, err := ssh.MarshalPrivateKey(private, "slipway")
		return pem.EncodeToMemory(block), err
	})
	if err != nil {
		return nil, fmt.Errorf("the host key of SSH: %w", err)
	}
	key, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("the host key of SSH in %s cannot be read: put back a backup of it, or remove it to get another: %w", file, err)
	}
	return key, nil
}
