package people_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/control/people"
	"slipway.dev/slipway/internal/store"
)

// line is a public key as its .pub file has it.
func line(t *testing.T, public any, comment string) string {
	t.Helper()
	k, err := ssh.NewPublicKey(public)
	ok(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))) + " " + comment
}

func newKey(t *testing.T) ed25519.PublicKey {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	return public
}

func rsaKey(t *testing.T, bits int) *rsa.PublicKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	k, err := rsa.GenerateKey(rand.Reader, bits)
	ok(t, err)
	return &k.PublicKey
}

// Public keys of today are taken, and everything else is refused in words that
// say what to do and repeat nothing.
func TestAddSSHKey(t *testing.T) {
	w := newWorld(t)
	w.create(t, "alice")
	ctx, _ := w.signIn(t, "alice")
	curve, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	ok(t, err)
	_, private, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	ok(t, err)
	armour := "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nc2VjcmV0LWJ5dGVz\n-----END OPENSSH " + "PRIVATE KEY-----\n"
	good := line(t, newKey(t), "alice@desk")
	sk := ssh.KeyAlgoSKED25519 + " " + base64.StdEncoding.EncodeToString(ssh.Marshal(struct {
		Type    string
		Public  []byte
		Purpose string
	}{ssh.KeyAlgoSKED25519, newKey(t), "ssh:"})) + " yubikey"
	for name, tc := range map[string]struct{ key, name, want, why string }{
		"ed25519":             {key: good, want: "alice@desk"},
		"a name of one's own": {key: line(t, newKey(t), "x"), name: " laptop ", want: "laptop"},
		"spaces around":       {key: "\n  " + line(t, newKey(t), "around") + "\r\n", want: "around"},
		"ecdsa":               {key: line(t, curve.Public(), "curve"), want: "curve"},
		"a security key":      {key: sk, want: "yubikey"},
		"rsa":                 {key: line(t, rsaKey(t, 2048), "old"), want: "old"},
		"a short rsa":         {key: line(t, rsaKey(t, 1024), "older"), why: "less than 2048 bits"},
		"dsa":                 {key: "ssh-dss AAAAB3NzaC1kc3MAAACBAJ alice", why: "DSA"},
		"an unknown type":     {key: "ssh-rot13 AAAA alice", why: "is no public SSH key"},
		"a certificate":       {key: "ssh-ed25519-cert-v01@openssh.com AAAA alice", why: "is no public SSH key"},
		"nothing":             {key: " \n", why: "is needed"},
		"words":               {key: "my key please", why: "is no public SSH key"},
		"half of a key":       {key: good[:40], why: "or not all of it"},
		"two keys":            {key: good + "\n" + line(t, newKey(t), "b"), why: "more than one line"},
		"options":             {key: `command="/bin/sh" ` + line(t, newKey(t), "c"), why: "options"},
		"a private key":       {key: armour, why: "is a private key"},
		"a whole private key": {key: string(block.Bytes), why: "is a private key"},
		"its inner lines":     {key: "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ", why: "is a private key"},
		"PuTTY's":             {key: "PuTTY-User-Key-File-3: ssh-ed25519", why: "is a private key"},
		"RFC 4716":            {key: "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA", why: "ssh-keygen -i"},
		"a long name":         {key: line(t, newKey(t), "x"), name: strings.Repeat("n", 101), why: "100 characters"},
		"a name that steers":  {key: line(t, newKey(t), "x"), name: "a\x1b[2Jb", why: "can be seen"},
		"a comment that does": {key: line(t, newKey(t), "a\x1bb"), want: "ab"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := w.AddSSHKey(ctx, people.AddSSHKey{Name: tc.name, Key: tc.key})
			if tc.why == "" {
				ok(t, err)
				if k.Name != tc.want || !strings.HasPrefix(k.Fingerprint, "SHA256:") || k.Type != strings.Fields(tc.key)[0] || k.Used != nil {
					t.Errorf("got %+v", k)
				}
				return
			}
			is(t, err, errs.KindInvalid)
			text := fmt.Sprint(err, errs.FieldsOf(err))
			if !strings.Contains(text, tc.why) {
				t.Errorf("it says %q, not %q", text, tc.why)
			}
			if part := strings.TrimSpace(tc.key); len(part) > 30 && strings.Contains(text, part[5:30]) {
				t.Errorf("it repeats the key: %q", text)
			}
		})
	}
}

// A key is one person's: it stands for that person until it is removed or the
// person is disabled.
func TestSSHKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice := w.create(t, "alice")
	w.create(t, "bob")
	ctx, _ := w.signIn(t, "alice")
	bobs, _ := w.signIn(t, "bob")
	text := line(t, newKey(t), "")
	k, err := w.AddSSHKey(ctx, people.AddSSHKey{Key: text})
	ok(t, err)
	if !strings.HasPrefix(k.Fingerprint, k.Name) {
		t.Errorf("without a comment it is called %q", k.Name)
	}
	_, err = w.AddSSHKey(ctx, people.AddSSHKey{Key: text})
	is(t, err, errs.KindConflict)
	_, err = w.AddSSHKey(bobs, people.AddSSHKey{Key: text})
	is(t, err, errs.KindConflict)
	if strings.Contains(err.Error(), "alice") || strings.Contains(err.Error(), k.Name) {
		t.Errorf("it tells whose the key is: %v", err)
	}
	is(t, w.RemoveSSHKey(bobs, k.ID), errs.KindNotFound)
	_, err = w.AddSSHKey(t.Context(), people.AddSSHKey{Key: text})
	is(t, err, errs.KindUnauthenticated)

	// Showing a key is not yet using it.
	a, err := w.BySSHKey(t.Context(), k.Fingerprint, "192.0.2.7", false)
	ok(t, err)
	if a.User.ID != alice.ID || a.Addr != "192.0.2.7" || a.Token != "" {
		t.Errorf("got %+v", a)
	}
	used := func() *time.Time {
		list, err := w.SSHKeys(ctx)
		ok(t, err)
		return list[0].Used
	}
	if used() != nil {
		t.Error("it counts as used")
	}
	_, err = w.BySSHKey(t.Context(), k.Fingerprint, "", true)
	ok(t, err)
	if at := used(); at == nil || !at.Equal(w.clock.Now()) {
		t.Errorf("used at %v", at)
	}

	yes, no := true, false
	_, err = w.Update(w.admin, "alice", people.UserPatch{Disabled: &yes})
	ok(t, err)
	_, err = w.BySSHKey(t.Context(), k.Fingerprint, "", true)
	is(t, err, errs.KindUnauthenticated)
	_, err = w.Update(w.admin, "alice", people.UserPatch{Disabled: &no})
	ok(t, err)
	ctx, _ = w.signIn(t, "alice")
	ok(t, w.RemoveSSHKey(ctx, k.ID))
	_, err = w.BySSHKey(t.Context(), k.Fingerprint, "", true)
	is(t, err, errs.KindUnauthenticated)

	var verbs []string
	ok(t, w.db.View(t.Context(), func(tx *store.Tx) error {
		lines, err := tx.AuditTrail(100)
		for _, l := range lines {
			if l.Object == k.Fingerprint {
				verbs = append(verbs, l.Actor+" "+l.Verb)
			}
		}
		return err
	}))
	if fmt.Sprint(verbs) != "[alice ssh_key.remove alice ssh_key.add]" {
		t.Errorf("the audit trail has %v", verbs)
	}

	for range 50 {
		_, err := w.AddSSHKey(ctx, people.AddSSHKey{Key: line(t, newKey(t), "many")})
		ok(t, err)
	}
	_, err = w.AddSSHKey(ctx, people.AddSSHKey{Key: line(t, newKey(t), "one more")})
	is(t, err, errs.KindExhausted)
}

// Keys that nobody knows are kept as failed sign-ins, not all of them of an
// address that has many. They shut nobody out: whoever has a key or a password
// comes in from there.
func TestSSHRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.create(t, "alice")
	const addr = "198.51.100.9"
	for range 100 {
		ok(t, w.SSHRefused(t.Context(), addr))
	}
	ok(t, w.SSHRefused(t.Context(), "198.51.100.10"))
	_, err := w.Password(t.Context(), "alice", good, addr)
	ok(t, err)
	w.clock.add(16 * time.Minute)
	ok(t, w.SSHRefused(t.Context(), addr))
	kept := map[string]int{}
	ok(t, w.db.View(t.Context(), func(tx *store.Tx) error {
		lines, err := tx.AuditTrail(1000)
		for _, l := range lines {
			if l.Object == "git over SSH" {
				kept[l.Addr]++
			}
		}
		return err
	}))
	if kept[addr] != 31 || kept["198.51.100.10"] != 1 {
		t.Errorf("the audit trail has %v", kept)
	}
}
