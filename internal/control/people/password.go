package people

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"slipway.dev/slipway/internal/base/errs"
)

// argon2id with one of the settings that OWASP recommends: 19 MiB, two passes.
const (
	argonMemory  = 19 * 1024
	argonPasses  = 2
	argonThreads = 1
	saltBytes    = 16
	hashBytes    = 32

	hashesAtOnce = 4 // about 76 MiB
	hashWait     = 5 * time.Second

	minPassword = 10
	maxPassword = 1024 // bytes
)

var base64Raw = base64.RawStdEncoding

// hash returns the password's hash in PHC form, with its settings.
func hash(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails: it ends the program instead
	sum := argon2.IDKey([]byte(password), salt, argonPasses, argonMemory, argonThreads, hashBytes)
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonThreads,
		base64Raw.EncodeToString(salt), base64Raw.EncodeToString(sum))
}

// matches compares a password with a hash of any settings, in a time that
// does not depend on how much of it is right.
func (s *Service) matches(phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || len(password) > maxPassword {
		return false
	}
	var version int
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return false
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &threads); err != nil || passes == 0 || threads == 0 {
		return false
	}
	salt, err := base64Raw.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64Raw.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false
	}
	got := s.derive([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// slot waits for the right to hash a password; release gives it back.
func (s *Service) slot(ctx context.Context) (release func(), err error) {
	late := time.NewTimer(hashWait)
	defer late.Stop()
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, errs.Unavailable("many people are signing in at this moment: try again in a few seconds")
	}
}

// newHash hashes a password that was checked.
func (s *Service) newHash(ctx context.Context, password string) (string, error) {
	release, err := s.slot(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	return hash(password), nil
}

// checkPassword says what is wrong with a new password, or nothing.
func checkPassword(name, password string) string {
	switch {
	case utf8.RuneCountInString(password) < minPassword:
		return fmt.Sprintf("is too short: at least %d characters", minPassword)
	case len(password) > maxPassword:
		return fmt.Sprintf("is too long: at most %d bytes", maxPassword)
	case name != "" && strings.EqualFold(password, name):
		return "is the user name: choose another"
	case strings.Count(password, password[:1]) == len(password):
		return "is one character over and over: choose another"
	}
	return ""
}
