package install

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/platform"
)

// Names of the Secrets.
const (
	secretCA               = "slipway-ca"               // the internal authority with its key; in no pod
	secretCoreIdentity     = "slipway-core-identity"    //
	secretGatewayIdentity  = "slipway-gateway-identity" //
	secretPullIdentity     = "slipway-pull-identity"    //
	secretDatabaseIdentity = "slipway-postgres-identity"
	secretInstaller        = "slipway-installer-identity" // with which the base image is given to the core; in no pod
	secretWebCA            = "slipway-web-ca"             // the authority that browsers are told to trust
	secretCore             = "slipway-core"               // what the core alone may know
	secretDatabase         = "slipway-postgres"           // the bundled database's password
)

// Keys in them.
const (
	keySeal      = "seal.key"
	keyPassword  = "password"
	keyAccess    = "s3-access-key"
	keySecret    = "s3-secret-key"
	keyAuthority = "ca.key"
	keyPip       = "pip.conf"
	keyOutside   = "outside-ca.crt"
)

const sealBytes = 32

// identityLife is how long a part's certificate is good; the installer makes a
// new one in the last third of it.
const identityLife = 2 * 365 * 24 * time.Hour

// secrets are the data of each Secret, by name.
type secrets map[string]map[string][]byte

// where tells the namespace of a Secret.
func (p *plan) where(name string) string {
	if name == secretPullIdentity {
		return p.pullNamespace()
	}
	return p.Namespace
}

// reader returns the data of a Secret, nil when there is none.
type reader func(ctx context.Context, namespace, name string) (map[string][]byte, error)

// fill takes the secrets that are there and makes those that are missing.
// What is there is never made anew, but for certificates that end soon.
func (p *plan) fill(ctx context.Context, read reader, now time.Time) error {
	p.secrets = secrets{}
	names := []string{secretCA, secretCoreIdentity, secretGatewayIdentity, secretPullIdentity, secretInstaller, secretCore}
	if p.TLSSecret == "" {
		names = append(names, secretWebCA)
	}
	if p.Database.Bundled() {
		names = append(names, secretDatabase, secretDatabaseIdentity)
	}
	for _, name := range names {
		data, err := read(ctx, p.where(name), name)
		if err != nil {
			return fmt.Errorf("reading the Secret %s: %w", name, err)
		}
		if data == nil {
			data = map[string][]byte{}
		}
		p.secrets[name] = data
	}
	if p.PullSecret != "" {
		var err error
		if p.pulls, err = read(ctx, p.Namespace, p.PullSecret); err != nil {
			return fmt.Errorf("reading the Secret %s: %w", p.PullSecret, err)
		}
	}
	if err := p.fillIdentities(now); err != nil {
		return err
	}
	if ca := p.secrets[secretWebCA]; ca != nil {
		if _, err := openAuthority(ca, "Slipway CA for "+p.Base); err != nil {
			return err
		}
	}
	return p.fillCore()
}

// fillIdentities makes the internal authority, and of it a certificate for each part.
func (p *plan) fillIdentities(now time.Time) error {
	ca, err := openAuthority(p.secrets[secretCA], "Slipway internal CA "+p.Namespace)
	if err != nil {
		return err
	}
	for name, peer := range map[string]string{
		secretCoreIdentity: platform.NameCore, secretGatewayIdentity: platform.NameGateway, secretPullIdentity: platform.NamePull,
		secretInstaller:        platform.NameInstaller,
		secretDatabaseIdentity: nameDatabase + "." + p.Namespace + ".svc",
	} {
		s := p.secrets[name]
		if s == nil {
			continue
		}
		root := p.secrets[secretCA][platform.IdentityCA]
		if good(s, root, now) {
			continue
		}
		pair, err := ca.Issue(peer, identityLife)
		if err != nil {
			return err
		}
		s[platform.IdentityCert], s[platform.IdentityKey], s[platform.IdentityCA] = pair.Cert, []byte(pair.Key.Reveal()), root
	}
	return nil
}

// openAuthority reads the authority of a Secret, or makes one.
func openAuthority(s map[string][]byte, name string) (*platform.Authority, error) {
	if len(s[keyAuthority]) > 0 {
		ca, err := platform.ParseAuthority(platform.Pair{Cert: s[platform.IdentityCA], Key: secret.New(string(s[keyAuthority]))})
		if err != nil {
			return nil, errs.Wrap(err, errs.KindInvalid, "the Secret with the %s cannot be read: delete it to get a new one", name)
		}
		return ca, nil
	}
	ca, err := platform.NewAuthority(name)
	if err != nil {
		return nil, err
	}
	pair, err := ca.PEM()
	s[platform.IdentityCA], s[keyAuthority] = pair.Cert, []byte(pair.Key.Reveal())
	return ca, err
}

// good tells whether a certificate is of the authority, and not to end soon.
func good(s map[string][]byte, root []byte, now time.Time) bool {
	pair, err := tls.X509KeyPair(s[platform.IdentityCert], s[platform.IdentityKey])
	return err == nil && bytes.Equal(s[platform.IdentityCA], root) && now.Before(pair.Leaf.NotAfter.Add(-identityLife/3))
}

func (p *plan) fillCore() error {
	s := p.secrets[secretCore]
	if len(s[keySeal]) == 0 {
		s[keySeal] = make([]byte, sealBytes)
		rand.Read(s[keySeal])
	}
	if p.Database.Bundled() {
		db := p.secrets[secretDatabase]
		if len(db[keyPassword]) == 0 {
			db[keyPassword] = []byte(secret.Random(24).Reveal())
		}
		s[keyPassword] = db[keyPassword]
	}
	for key, file := range map[string]string{keyPassword: p.Database.PasswordFile, keyAccess: p.S3.AccessKeyFile, keySecret: p.S3.SecretKeyFile, keyPip: p.PipConfigFile, keyOutside: p.OutsideCAFile} {
		if file == "" {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return errs.Wrap(err, errs.KindInvalid, "cannot read %s: %v", file, err)
		}
		s[key] = bytes.TrimRight(data, "\r\n")
	}
	return nil
}

func (p *plan) secretObjects() []object {
	var out []object
	for _, name := range sortedKeys(p.secrets) {
		s := &corev1.Secret{TypeMeta: typeMeta("Secret"), ObjectMeta: p.metaIn(p.where(name), partPlatform, name), Type: corev1.SecretTypeOpaque, Data: p.secrets[name]}
		if s.Data[platform.IdentityCert] != nil {
			s.Type = corev1.SecretTypeTLS
		}
		out = append(out, s)
	}
	if p.pulls != nil {
		out = append(out, p.pullCopy())
	}
	return out
}

// pullCopy is the Secret for the pull proxies' namespace: pods use only those
// of their own.
func (p *plan) pullCopy() *corev1.Secret {
	s := &corev1.Secret{TypeMeta: typeMeta("Secret"), ObjectMeta: p.metaIn(p.pullNamespace(), partPull, p.PullSecret), Type: corev1.SecretTypeOpaque, Data: p.pulls}
	for key, kind := range map[string]corev1.SecretType{
		corev1.DockerConfigJsonKey: corev1.SecretTypeDockerConfigJson, corev1.DockerConfigKey: corev1.SecretTypeDockercfg,
	} {
		if p.pulls[key] != nil {
			s.Type = kind
		}
	}
	return s
}
