package people

import (
	"context"
	"crypto/rsa"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/access"
	"slipway.dev/slipway/internal/store"
)

const (
	maxSSHKeys   = 50   // a person may have
	leastRSABits = 2048 // shorter ones can be broken
)

// SSHKey is a public key with which its person comes to git.
type SSHKey struct {
	ID          slipway.SSHKeyID
	Name        string
	Type        string // ssh-ed25519 and so on
	Fingerprint string // SHA256:…, as ssh-keygen -l prints it
	Created     time.Time
	Used        *time.Time // nil = never
}

// AddSSHKey is a key to add, a line as in a .pub file. Without a Name it is
// called as the line's comment says.
type AddSSHKey struct {
	Name string
	Key  string
}

func sshKeyOf(k store.SSHKey) SSHKey {
	out := SSHKey{ID: k.ID, Name: k.Name, Type: k.Type, Fingerprint: k.Fingerprint, Created: k.Created}
	if !k.Used.IsZero() {
		out.Used = &k.Used
	}
	return out
}

// AddSSHKey adds a key for the person who asks. Invalid says what is wrong with
// it without repeating any of it: it may be a private one.
func (s *Service) AddSSHKey(ctx context.Context, in AddSSHKey) (SSHKey, error) {
	a, err := me(ctx, access.AddKeys)
	if err != nil {
		return SSHKey{}, err
	}
	key, comment, why := parsePublicKey(in.Key)
	name := strings.TrimSpace(in.Name)
	if name == "" {
		name = keyName(comment, key)
	}
	var wrong []errs.Field
	wrong = note(wrong, "key", why)
	if len(name) > 100 || strings.ContainsFunc(name, unicode.IsControl) {
		wrong = note(wrong, "name", "may have up to 100 characters, all of which can be seen")
	}
	if err := errs.Fields("this SSH key cannot be added", wrong...); err != nil {
		return SSHKey{}, err
	}
	k := store.SSHKey{
		ID: slipway.SSHKeyID(slipway.NewID("sshkey")), User: a.User.ID, Name: name, Type: key.Type(),
		Key: base64.StdEncoding.EncodeToString(key.Marshal()), Fingerprint: ssh.FingerprintSHA256(key), Created: s.now(),
	}
	err = s.DB.Update(ctx, func(tx *store.Tx) error {
		have, err := tx.SSHKeysOf(a.User.ID)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(have, func(h store.SSHKey) bool { return h.Fingerprint == k.Fingerprint }); i >= 0 {
			return errs.Conflict("you have added this key already: it is called %q", have[i].Name)
		}
		if len(have) >= maxSSHKeys {
			return errs.Exhausted("you have %d SSH keys: remove some first", len(have))
		}
		// Whose it is, is nobody's business.
		if _, err := tx.SSHKeyByFingerprint(k.Fingerprint); err == nil {
			return errs.Conflict("this key cannot be used: make one of your own with ssh-keygen -t ed25519")
		} else if !errs.Is(err, errs.KindNotFound) {
			return err
		}
		if err := tx.AddSSHKey(k); err != nil {
			return err
		}
		return s.audit(ctx, tx, "ssh_key.add", k.Fingerprint, k.Name)
	})
	if err != nil {
		return SSHKey{}, err
	}
	return sshKeyOf(k), nil
}

// keyName calls a key as its comment does, or after its fingerprint.
func keyName(comment string, key ssh.PublicKey) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, cut(strings.TrimSpace(comment), 100))
	if name == "" && key != nil {
		name = ssh.FingerprintSHA256(key)[:len("SHA256:")+8]
	}
	return name
}

// privateKey is how files of private keys begin, PEM and PuTTY's.
var privateKey = regexp.MustCompile(`(?i)PRIVATE[ -]KEY|PuTTY-User-Key-File|^b3BlbnNzaC1rZXktdjE|^openssh-key-v1`)

// parsePublicKey reads a line of a .pub file. why says what is wrong with it.
func parsePublicKey(text string) (key ssh.PublicKey, comment, why string) {
	text = strings.TrimSpace(text)
	const like = "paste the one line of the file that ends in .pub, such as ~/.ssh/id_ed25519.pub"
	switch {
	case text == "":
		return nil, "", "is needed: " + like
	case privateKey.MatchString(text):
		return nil, "", "is a private key, which must not leave your computer: nothing of it was kept. Since it was sent here, it is safer to make a new one; then " + like
	case strings.HasPrefix(text, "---- BEGIN SSH2 PUBLIC KEY"):
		return nil, "", "is in another format: print it with ssh-keygen -i -f FILE, and paste that"
	case strings.ContainsAny(text, "\r\n"):
		return nil, "", "is more than one line: add one key at a time, each as the one line of its .pub file"
	}
	if kind, _, _ := strings.Cut(text, " "); kind == "ssh-dss" {
		return nil, "", "is a DSA key, which can be broken: make another with ssh-keygen -t ed25519"
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(text))
	switch {
	case err != nil:
		return nil, "", "is no public SSH key, or not all of it: " + like
	case len(options) > 0:
		return nil, "", "has options before it, which are not supported: " + like
	}
	return key, comment, refusal(key)
}

// refusal says why keys of this type and size are not taken; empty when they are.
func refusal(key ssh.PublicKey) string {
	const instead = ": make another with ssh-keygen -t ed25519"
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		return ""
	case ssh.KeyAlgoRSA:
		if c, ok := key.(ssh.CryptoPublicKey); ok {
			if k, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && k.N.BitLen() >= leastRSABits {
				return ""
			}
		}
		return "is an RSA key of less than 2048 bits, which can be broken" + instead
	case ssh.InsecureKeyAlgoDSA: //nolint:staticcheck // to refuse it
		return "is a DSA key, which can be broken" + instead
	}
	return "is of a type that is not supported" + instead
}

// SSHKeys lists one's own keys, newest first.
func (s *Service) SSHKeys(ctx context.Context) ([]SSHKey, error) {
	a, err := me(ctx, access.ReadAccount)
	if err != nil {
		return nil, err
	}
	var found []store.SSHKey
	err = s.DB.View(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.SSHKeysOf(a.User.ID)
		return err
	})
	out := []SSHKey{}
	for _, k := range found {
		out = append(out, sshKeyOf(k))
	}
	return out, err
}

// RemoveSSHKey takes one of one's own keys away: from now on nobody comes in
// with it.
func (s *Service) RemoveSSHKey(ctx context.Context, id slipway.SSHKeyID) error {
	a, err := me(ctx, access.AddKeys)
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *store.Tx) error {
		k, err := tx.DeleteSSHKey(a.User.ID, id)
		if err != nil {
			return err
		}
		return s.audit(ctx, tx, "ssh_key.remove", k.Fingerprint, k.Name)
	})
}

// BySSHKey returns whose key it is, by its fingerprint. Unauthenticated when it
// is nobody's, or that of a disabled person. proven says that the person has
// shown to have the private part.
func (s *Service) BySSHKey(ctx context.Context, fingerprint, addr string, proven bool) (slipway.Actor, error) {
	unknown := errs.Unauthenticated("this SSH key is not known: add it to your profile")
	var k store.SSHKey
	var p store.Person
	err := s.DB.View(ctx, func(tx *store.Tx) (err error) {
		if k, err = tx.SSHKeyByFingerprint(fingerprint); err != nil {
			return err
		}
		p, err = tx.Person(k.User)
		return err
	})
	switch {
	case errs.Is(err, errs.KindNotFound), err == nil && p.Disabled:
		return slipway.Actor{}, unknown
	case err != nil:
		return slipway.Actor{}, err
	}
	if now := s.now(); proven && now.Sub(k.Used) > seenEvery {
		if err := s.DB.Update(ctx, func(tx *store.Tx) error { return tx.TouchSSHKey(k.ID, now) }); err != nil {
			return slipway.Actor{}, err
		}
	}
	return slipway.Actor{User: &p.User, Addr: addr}, nil
}

// SSHRefused keeps that a connection showed keys and none that is known. Of an
// address that has many such, it keeps few. Nobody has to wait for them: a key
// cannot be guessed, and a program with an old one, which tries again and again,
// would shut out all who share its address.
func (s *Service) SSHRefused(ctx context.Context, addr string) error {
	from := try{"ssh:" + network(addr), freeByAddr}
	if err := s.mayTry(ctx, from.key); err != nil {
		if errs.Is(err, errs.KindExhausted) {
			return nil
		}
		return err
	}
	return s.failed(ctx, "git over SSH", addr, from)
}
