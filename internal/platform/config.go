// Package platform holds what the platform knows about itself without its
// database: settings, certificates and the layout of the data folder.
package platform

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"slipway.dev/slipway"
	"slipway.dev/slipway/internal/base/errs"
	"slipway.dev/slipway/internal/base/outside"
	"slipway.dev/slipway/internal/base/secret"
	"slipway.dev/slipway/internal/engine"
)

// Config is slipway.yaml. The zero value of every key means its default.
type Config struct {
	// Base is the domain of the platform; its other hosts are api-<base>,
	// auth-<base>, git-<base> and so on. Default slipway.localhost, whose names
	// lead to this machine without DNS.
	Base string `yaml:"base" json:"base"`
	// Listen is the address of the one port. Default 127.0.0.1:8443, with http 127.0.0.1:8080.
	Listen string `yaml:"listen" json:"listen"`
	// PublicPort is the port that browsers use, when another thing forwards to
	// Listen. Default: the port of Listen.
	PublicPort string `yaml:"public_port" json:"public_port"`
	// SSHListen is the address of git over SSH, or off. Default: port 2222 on the
	// host of Listen, and a free port where that of Listen is 0; with the engine
	// kube, off.
	SSHListen string `yaml:"ssh_listen" json:"ssh_listen"`
	// SSHPublicPort is the port that people use, when another thing forwards to
	// SSHListen. Default: the port of SSHListen.
	SSHPublicPort string `yaml:"ssh_public_port" json:"ssh_public_port"`
	// Data is the folder that holds everything. Default ./slipway-data.
	Data string `yaml:"data" json:"data"`
	// HTTP serves plain HTTP: only behind a proxy that ends TLS, or on loopback.
	HTTP bool `yaml:"http" json:"http"`
	// TLS names a certificate and key of your own; without it a local CA is made.
	TLS TLS `yaml:"tls" json:"tls"`
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies" json:"trusted_proxies"`
	// GitHosts are git servers in networks of your own that apps may be fetched
	// from: host names, whose addresses may then be private, or networks such as
	// 10.1.2.0/24. Default: none, only servers on the internet.
	GitHosts []string `yaml:"git_hosts,omitempty" json:"git_hosts,omitempty"`
	// GitCAFile holds more authorities to trust in git servers, as PEM.
	GitCAFile string `yaml:"git_ca_file,omitempty" json:"git_ca_file,omitempty"`
	// Engine runs the apps: proc (default) in sandboxes on this machine, kube as
	// pods of a Kubernetes cluster.
	Engine string `yaml:"engine" json:"engine"`
	// Kube are the settings of the engine kube.
	Kube Kube `yaml:"kube" json:"kube"`
	// KeyFile holds the key that seals secrets in the database. Default
	// secrets/seal.key in the data folder, made by the first start.
	KeyFile string `yaml:"key_file" json:"key_file"`
	// Database keeps the platform's state. Default: an SQLite file in the data
	// folder. postgres://user@host:5432/slipway?sslmode=verify-full is a
	// PostgreSQL database, without its password.
	Database string `yaml:"database" json:"database"`
	// DatabasePasswordFile holds the password for Database. It is read for each
	// new connection.
	DatabasePasswordFile string `yaml:"database_password_file" json:"database_password_file"`
	// AddressConnections is how many connections one address may have at a time,
	// but for trusted proxies. Default 1024; less than 0 = any number.
	AddressConnections int `yaml:"address_connections" json:"address_connections"`
	// BodyRate is the least that a request's body must bring, in bytes a second,
	// after a pause of 30 s. Default 240; less than 0 = any.
	BodyRate int `yaml:"body_rate" json:"body_rate"`
	// Isolation is the least isolation that apps may run with: full (default),
	// rootless, or none for trusted code only.
	Isolation string `yaml:"isolation" json:"isolation"`
	// AppMemoryMB is the memory of one replica when the app says nothing. Default 1024.
	AppMemoryMB int64 `yaml:"app_memory_mb" json:"app_memory_mb"`
	// AppSilentSeconds is how long a replica may answer nothing before it is
	// restarted. Default 120; less than 0 = for ever.
	AppSilentSeconds int64 `yaml:"app_silent_seconds" json:"app_silent_seconds"`
	// Thumbnails is auto (default): an app that nobody gave a picture gets one
	// that a headless browser takes of it, where this machine has one; or off.
	Thumbnails string `yaml:"thumbnails" json:"thumbnails"`
	// Metrics is the address of /healthz, /readyz and /metrics. Default 127.0.0.1:0, printed at the start.
	Metrics string `yaml:"metrics" json:"metrics"`
	// Registry says where images are kept, and how many of an app.
	Registry Registry `yaml:"registry" json:"registry"`
	// Log is how the platform logs.
	Log Log `yaml:"log" json:"log"`
}

// Registry configures registry-<base>.
type Registry struct {
	// AppMB is how much an app may keep. Default 10240.
	AppMB int64 `yaml:"app_mb" json:"app_mb"`
	// S3 keeps images in a bucket instead of the data folder.
	S3 S3 `yaml:"s3" json:"s3"`
}

// S3 names a bucket. Without files for its keys the machine's own role is used.
type S3 struct {
	Bucket        string `yaml:"bucket" json:"bucket"`
	Region        string `yaml:"region" json:"region"`
	Endpoint      string `yaml:"endpoint" json:"endpoint"` // https://s3.example.com; empty = AWS
	Prefix        string `yaml:"prefix" json:"prefix"`
	AccessKeyFile string `yaml:"access_key_file" json:"access_key_file"`
	SecretKeyFile string `yaml:"secret_key_file" json:"secret_key_file"`
}

// Keys reads the bucket's keys; none when no files are named.
func (s S3) Keys() (access string, key secret.String, err error) {
	if s.AccessKeyFile == "" {
		return "", key, nil
	}
	a, err := os.ReadFile(s.AccessKeyFile)
	if err != nil {
		return "", key, errs.Wrap(err, errs.KindInvalid, "registry.s3.access_key_file cannot be read: %v", err)
	}
	k, err := os.ReadFile(s.SecretKeyFile)
	if err != nil {
		return "", key, errs.Wrap(err, errs.KindInvalid, "registry.s3.secret_key_file cannot be read: %v", err)
	}
	return strings.TrimSpace(string(a)), secret.New(strings.TrimSpace(string(k))), nil
}

// TLS names PEM files.
type TLS struct {
	CertFile string `yaml:"cert_file" json:"cert_file"`
	KeyFile  string `yaml:"key_file" json:"key_file"`
}

// Log says how to log.
type Log struct {
	Format string `yaml:"format" json:"format"` // text (default) or json
	Level  string `yaml:"level" json:"level"`   // debug, info (default), warn, error
}

// ReadConfig reads slipway.yaml. Unknown keys and wrong values are Invalid,
// all of them in one error. An empty path gives the defaults.
func ReadConfig(path string) (Config, error) {
	var c Config
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, errs.Wrap(err, errs.KindInvalid, "cannot read the configuration file: %v", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	err = d.Decode(&c)
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		return c, nil // an empty file
	case errors.As(err, &wrong):
		fields := make([]errs.Field, len(wrong.Errors))
		for i, e := range wrong.Errors {
			fields[i] = errs.Field{Name: path, Message: unknownKey.ReplaceAllString(e, "there is no setting $1")}
		}
		return c, errs.Fields("the configuration file has problems", fields...)
	case err != nil:
		return c, errs.Wrap(err, errs.KindInvalid, "the configuration file %s is not YAML", path)
	}
	return c, nil
}

// unknownKey is how the decoder says it, in words of Go.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

var baseDomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// defaults fills in what is not set and depends on nothing that must be checked.
func (c *Config) defaults() {
	def := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	def(&c.Base, "slipway.localhost")
	def(&c.Engine, EngineProc)
	if c.Engine == EngineKube {
		c.Kube.defaults()
		def(&c.Listen, ":8443")
		def(&c.PublicPort, "443")
		def(&c.SSHListen, sshOff)
		def(&c.Metrics, ":9090")
		def(&c.Data, "/var/lib/slipway")
	}
	if c.HTTP {
		def(&c.Listen, "127.0.0.1:8080")
	}
	def(&c.Listen, "127.0.0.1:8443")
	def(&c.Data, "slipway-data")
	def(&c.Isolation, string(engine.IsolationFull))
	def(&c.Metrics, "127.0.0.1:0")
	def(&c.Log.Format, "text")
	def(&c.Log.Level, "info")
	if c.AppMemoryMB == 0 {
		c.AppMemoryMB = 1024
	}
	if c.Registry.AppMB == 0 {
		c.Registry.AppMB = 10240
	}

	if c.AddressConnections == 0 {
		c.AddressConnections = 1024
	}
	if c.BodyRate == 0 {
		c.BodyRate = 240
	}
	if c.AppSilentSeconds == 0 {
		c.AppSilentSeconds = 120
	}
	if c.Thumbnails == "" {
		c.Thumbnails = "auto"
	}
}

// Complete fills in the defaults and checks everything, all problems at once.
func (c *Config) Complete() error {
	c.defaults()
	var bad []errs.Field
	check := func(ok bool, name, format string, args ...any) {
		if !ok {
			bad = append(bad, errs.Field{Name: name, Message: fmt.Sprintf(format, args...)})
		}
	}
	if c.Database != "" {
		why := checkDatabase(c.Database)
		check(why == "", "database", "%s", why)
	}
	check(c.Database != "" || c.DatabasePasswordFile == "", "database_password_file", "it is for a `database` of PostgreSQL, and there is none")
	c.Base = strings.ToLower(c.Base)
	check(baseDomain.MatchString(c.Base), "base", "%q is not a domain name with at least one dot, such as slipway.example.com", c.Base)
	check(c.Engine == EngineProc || c.Engine == EngineKube, "engine", "%q is neither proc nor kube", c.Engine)
	_, port, err := net.SplitHostPort(c.Listen)
	check(err == nil, "listen", "%q is not an address such as 0.0.0.0:8443", c.Listen)
	if c.PublicPort == "" {
		c.PublicPort = port
	}
	why := c.completeSSH()
	check(why == "", "ssh_listen", "%s", why)
	_, _, err = net.SplitHostPort(c.Metrics)
	check(err == nil, "metrics", "%q is not an address such as 127.0.0.1:9090", c.Metrics)
	check((c.TLS.CertFile == "") == (c.TLS.KeyFile == ""), "tls", "cert_file and key_file go together")
	check(!c.HTTP || c.TLS.CertFile == "", "http", "plain HTTP and tls exclude each other")
	for _, p := range c.TrustedProxies {
		_, err := netip.ParsePrefix(p)
		check(err == nil, "trusted_proxies", "%q is not a network such as 10.0.0.0/8", p)
	}
	if _, err := outside.ParseAllowed(c.GitHosts); err != nil {
		check(false, "git_hosts", "%s", errs.Message(err))
	}
	switch engine.Isolation(c.Isolation) {
	case engine.IsolationFull, engine.IsolationRootless, engine.IsolationNone:
	default:
		check(false, "isolation", "%q is none of full, rootless, none", c.Isolation)
	}
	check(c.AppMemoryMB >= 32, "app_memory_mb", "%d MB is too little for an app: at least 32", c.AppMemoryMB)
	check(c.Registry.AppMB > 0, "registry.app_mb", "%d is no number of megabytes", c.Registry.AppMB)
	s3 := c.Registry.S3
	check((s3.AccessKeyFile == "") == (s3.SecretKeyFile == ""), "registry.s3", "access_key_file and secret_key_file go together")
	check(s3.Bucket != "" || s3 == S3{}, "registry.s3.bucket", "is needed with the other keys of s3")
	check(s3.Bucket == "" || s3.Region != "" || s3.Endpoint != "", "registry.s3.region", "is needed, or an endpoint")
	check(c.Thumbnails == "auto" || c.Thumbnails == "off", "thumbnails", "%q is neither auto nor off", c.Thumbnails)
	check(c.AppSilentSeconds < 0 || c.AppSilentSeconds >= 10, "app_silent_seconds", "%d seconds are too few: at least 10, or -1 for never", c.AppSilentSeconds)
	check(c.Log.Format == "text" || c.Log.Format == "json", "log.format", "%q is neither text nor json", c.Log.Format)
	check(new(slog.Level).UnmarshalText([]byte(c.Log.Level)) == nil, "log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	if c.DatabasePasswordFile != "" {
		if c.DatabasePasswordFile, err = filepath.Abs(c.DatabasePasswordFile); err != nil {
			check(false, "database_password_file", "%v", err)
		}
	}
	if c.GitCAFile != "" {
		if c.GitCAFile, err = filepath.Abs(c.GitCAFile); err != nil {
			check(false, "git_ca_file", "%v", err)
		}
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		check(false, "data", "%v", err)
	}
	if c.KeyFile == "" {
		c.KeyFile = Folder(c.Data).Key()
	}
	return errs.Fields("the configuration has problems", bad...)
}

// Values of SSHListen.
const (
	sshOff         = "off"
	defaultSSHPort = "2222"
)

// completeSSH says what is wrong with ssh_listen.
func (c *Config) completeSSH() string {
	if c.SSHListen == "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return "" // of which is told at listen
		}
		if port != "0" {
			port = defaultSSHPort
		}
		c.SSHListen = net.JoinHostPort(host, port)
	}
	if !c.SSH() {
		return ""
	}
	_, port, err := net.SplitHostPort(c.SSHListen)
	if err != nil {
		return fmt.Sprintf("%q is not an address such as 0.0.0.0:2222, nor off", c.SSHListen)
	}
	if c.SSHPublicPort == "" {
		c.SSHPublicPort = port
	}
	return ""
}

// SSH tells whether git is served over SSH, of a completed configuration.
func (c Config) SSH() bool { return c.SSHListen != sshOff }

// checkDatabase says what is wrong with the setting, without repeating it: it
// may hold a password.
func checkDatabase(database string) string {
	u, err := url.Parse(database)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "it is no URL such as postgres://user@host:5432/slipway?sslmode=verify-full; leave it empty for SQLite in the data folder"
	}
	_, inside := u.User.Password()
	if inside || u.Query().Has("password") || u.Query().Has("sslpassword") {
		return "a password does not belong into it: write it to a file of its own and name that with database_password_file"
	}
	return ""
}

// Print writes the configuration in force as YAML. It holds no secret: keys are
// named by their files.
func (c Config) Print() ([]byte, error) { return yaml.Marshal(c) }

// Hosts computes the platform's names.
func (c Config) Hosts() slipway.Hosts {
	h := slipway.Hosts{Scheme: "https", Base: c.Base, Port: c.PublicPort}
	own := "443"
	if c.HTTP {
		h.Scheme, own = "http", "80"
	}
	if h.Port == own {
		h.Port = ""
	}
	if c.SSH() {
		h.SSHPort = c.SSHPublicPort
	}
	return h
}

// Proxies returns TrustedProxies of a completed configuration.
func (c Config) Proxies() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range c.TrustedProxies {
		if n, err := netip.ParsePrefix(p); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// GitRoots are the authorities to trust in git servers; nil = the system's.
func (c Config) GitRoots() (*x509.CertPool, error) {
	if c.GitCAFile == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it
	}
	text, err := os.ReadFile(c.GitCAFile)
	if err != nil {
		return nil, errs.Wrap(err, errs.KindInvalid, "git_ca_file cannot be read: %v", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, errs.Invalid("git_ca_file: %s holds no certificate", c.GitCAFile)
	}
	return pool, nil
}

// Level returns Log.Level of a completed configuration.
func (c Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Log.Level)) // checked by Complete
	return l
}

// Folder is the data folder, by what is in it.
type Folder string

// The files and folders of the data folder.
func (f Folder) Run(name string) string { return filepath.Join(string(f), "run", name) }
func (f Folder) SQLite() string         { return filepath.Join(string(f), "slipway.db") }
func (f Folder) Key() string            { return filepath.Join(string(f), "secrets", "seal.key") }
func (f Folder) TLS() string            { return filepath.Join(string(f), "tls") }
func (f Folder) Repos() string          { return filepath.Join(string(f), "repos") }
func (f Folder) Engine() string         { return filepath.Join(string(f), "engine") }
func (f Folder) Core() string           { return filepath.Join(string(f), "core") }
func (f Folder) Registry() string       { return filepath.Join(string(f), "registry") }
func (f Folder) SSHHostKey() string {
	return filepath.Join(string(f), "secrets", "ssh_host_ed25519_key")
}

func (f Folder) RegistryKey() string { return filepath.Join(string(f), "secrets", "registry.key") }

func (f Folder) Policy() string { return filepath.Join(string(f), "gateway", "policy.json") }

// Make makes the folders that must be there before anything starts. Only the
// platform's user may enter.
func (f Folder) Make() error {
	for _, dir := range []string{"", "run", "run/apps", "run/photo", "secrets", "tls", "repos", "registry", "engine", "core", "gateway"} {
		if err := os.MkdirAll(filepath.Join(string(f), dir), 0o700); err != nil {
			return errs.Wrap(err, errs.KindInvalid, "cannot make the data folder %s", f)
		}
	}
	return nil
}
