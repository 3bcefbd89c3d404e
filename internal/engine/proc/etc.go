package proc

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// etcShared are the parts of the machine's /etc that programs need and that
// hold no secrets.
var etcShared = []string{
	"/etc/ssl/certs", "/etc/ca-certificates", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives",
	"/etc/mime.types", "/etc/fonts", "/etc/localtime", "/etc/timezone", "/etc/protocols", "/etc/services",
	"/etc/magic", "/etc/gai.conf", "/etc/python3", "/etc/python3.11", "/etc/pki", "/etc/crypto-policies", "/etc/openssl.cnf", "/etc/ssl/openssl.cnf",
}

// writeEtc makes the sandbox's /etc, mount points included.
func (e *Engine) writeEtc(rec record, dir string) error {
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost " + hostname(rec.Name) + "\n")
	for _, name := range slices.Sorted(maps.Keys(e.opt.Hosts)) {
		hosts.WriteString(e.opt.Hosts[name] + " " + name + "\n")
	}
	var resolv strings.Builder
	if e.net != nil {
		for _, ns := range e.net.nameservers {
			resolv.WriteString("nameserver " + ns + "\n")
		}
		if e.net.search != "" {
			resolv.WriteString(e.net.search + "\n")
		}
	}
	files := map[string]string{
		"passwd": fmt.Sprintf("root:x:0:0:root:/root:/usr/sbin/nologin\napp:x:%d:%d:app:%s:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
			rec.UID, rec.UID, home),
		"group":         fmt.Sprintf("root:x:0:\ntty:x:5:\napp:x:%d:\nnogroup:x:65534:\n", rec.UID),
		"hosts":         hosts.String(),
		"hostname":      hostname(rec.Name) + "\n",
		"resolv.conf":   resolv.String(),
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // read by the app
			return err
		}
	}
	for _, f := range etcShared {
		st, err := os.Stat(f)
		if err != nil {
			continue
		}
		at := filepath.Join(dir, strings.TrimPrefix(f, "/etc/"))
		if st.IsDir() {
			err = os.MkdirAll(at, 0o755) //nolint:gosec // read by the app
		} else {
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil { //nolint:gosec // read by the app
				return err
			}
			err = os.WriteFile(at, nil, 0o644) //nolint:gosec // read by the app
		}
		if err != nil {
			return err
		}
	}
	return nil
}
