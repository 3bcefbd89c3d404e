package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// etcMounted are folders of the machine's /etc that programs need, with many
// files; they are mounted.
var etcMounted = []string{"ssl/certs", "alternatives", "fonts"}

// etcShared are other parts that programs need and that hold no secrets.
var etcShared = []string{
	"ssl/openssl.cnf", "ca-certificates.conf", "pki/tls/certs", "pki/ca-trust/extracted/pem", "crypto-policies/back-ends",
	"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "mime.types", "localtime", "timezone",
	"protocols", "services", "gai.conf", "python3", "python3.11",
}

// writeEtc makes the /etc of all sandboxes when the engine starts. It is a
// copy where it can be, because every mount costs a start half a millisecond.
// Running sandboxes see the same folder, so files change by being replaced.
func (e *Engine) writeEtc() error {
	dir := filepath.Join(e.opt.Root, "etc")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var hosts, resolv strings.Builder
	hosts.WriteString("127.0.0.1 localhost " + hostname + "\n")
	for _, name := range slices.Sorted(maps.Keys(e.opt.Hosts)) {
		hosts.WriteString(e.opt.Hosts[name] + " " + name + "\n")
	}
	if e.net != nil {
		for _, ns := range e.net.nameservers {
			resolv.WriteString("nameserver " + ns + "\n")
		}
		if e.net.search != "" {
			resolv.WriteString(e.net.search + "\n")
		}
	}
	if e.slirp != nil {
		resolv.WriteString("nameserver " + e.slirp.nameserver + "\n")
	}
	for name, text := range map[string]string{
		"hosts": hosts.String(), "hostname": hostname + "\n", "resolv.conf": resolv.String(),
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
	} {
		if err := replace(filepath.Join(dir, name), []byte(text)); err != nil {
			return err
		}
	}
	for _, name := range []string{"passwd", "group"} { // differ between apps: see rootfs
		if err := link("/"+identity+"/"+name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, name := range etcMounted {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	for _, name := range etcShared {
		if err := shareEtc(filepath.Join("/etc", name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// identity is the folder at the root of a sandbox that says who the app is.
const identity = ".app"

// rootfs makes the root folder of an app's sandboxes, once per life of the
// engine: links, mount points and who the app is. It is read-only inside, so
// that an app's replicas can share it.
func (e *Engine) rootfs(uid int) (string, error) {
	dir := filepath.Join(e.opt.Root, "rootfs", strconv.Itoa(uid))
	e.rootMu.Lock()
	defer e.rootMu.Unlock()
	if e.rootMade[uid] {
		return dir, nil
	}
	for _, d := range []string{identity, "app", "var"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	for name, text := range map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\napp:x:%d:%d:app:%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
			uid, uid, home),
		"group": fmt.Sprintf("root:x:0:\ntty:x:5:\napp:x:%d:\nnogroup:x:65534:\n", uid),
	} {
		if err := replace(filepath.Join(dir, identity, name), []byte(text)); err != nil {
			return "", err
		}
	}
	if err := link("/tmp", filepath.Join(dir, "var/tmp")); err != nil {
		return "", err
	}
	for _, d := range systemDirs {
		to, err := os.Readlink(d)
		if err != nil {
			continue // a folder, which is mounted, or not there
		}
		if err := link(to, filepath.Join(dir, d)); err != nil {
			return "", err
		}
	}
	e.rootMade[uid] = true
	return dir, nil
}

// link makes the symbolic link, if it is another one, in one step.
func link(to, at string) error {
	if old, err := os.Readlink(at); err == nil && old == to {
		return nil
	}
	if err := os.Symlink(to, at+".new"); err != nil && !os.IsExist(err) {
		return err
	}
	return os.Rename(at+".new", at)
}

// replace writes the file, if it differs, in one step.
func replace(path string, b []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// shareEtc copies what all users of the machine may read; a link that leads to
// elsewhere in /etc becomes what it leads to.
func shareEtc(from, to string) error {
	return filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(at, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			if strings.HasPrefix(to, "/usr/") || rel != "." {
				return link(to, at)
			}
		}
		st, err := os.Stat(p)
		if err != nil || !st.Mode().IsRegular() || st.Mode().Perm()&0o004 == 0 {
			return nil //nolint:nilerr // a dead link is left out
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return replace(at, b)
	})
}
