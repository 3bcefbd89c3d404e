package build

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/engine"
)

// fromPip maps pip's settings to uv's, which reads none of pip's.
var fromPip = map[string]string{
	"index-url":       "UV_DEFAULT_INDEX",
	"extra-index-url": "UV_INDEX",
	"cert":            "SSL_CERT_FILE",
	"trusted-host":    "UV_INSECURE_HOST",
	"default-timeout": "UV_HTTP_TIMEOUT",
	"timeout":         "UV_HTTP_TIMEOUT",
	"find-links":      "UV_FIND_LINKS",
	"proxy":           "ALL_PROXY",
}

// passed are variables of the host that builds get as they are.
var passed = []string{
	"SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT",
	"UV_NATIVE_TLS", "UV_INDEX_STRATEGY", "UV_EXCLUDE_NEWER",
}

// IndexConfig makes the installer's configuration for builds out of the host's
// environment (KEY=value) and the output of `pip config list`; the environment
// wins, as in pip. Folders of the host that sandboxes do not see are left out.
// The values may hold credentials.
func IndexConfig(environ []string, pipConfig string) []engine.Var {
	set := map[string]string{}
	for line := range strings.Lines(pipConfig) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		section, option, _ := strings.Cut(key, ".")
		if to := fromPip[option]; to != "" && slices.Contains([]string{"global", "install", "download"}, section) {
			put(set, to, strings.Trim(value, `'"`))
		}
	}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		option, ok := strings.CutPrefix(key, "PIP_")
		if to := fromPip[strings.ReplaceAll(strings.ToLower(option), "_", "-")]; ok && to != "" {
			put(set, to, value)
		}
	}
	for _, kv := range environ {
		if key, value, _ := strings.Cut(kv, "="); slices.Contains(passed, key) {
			put(set, key, value)
		}
	}
	var pairs []string
	for _, k := range sortedKeys(set) {
		pairs = append(pairs, k, set[k])
	}
	return plain(pairs...)
}

// put sets a value whose lists are separated by spaces or line ends in pip's way.
func put(set map[string]string, name, value string) {
	value = strings.ReplaceAll(value, `\n`, " ")
	var seen []string
	for _, v := range strings.Fields(value) {
		if local := strings.TrimPrefix(v, "file://"); strings.HasPrefix(local, "/") && !visible(local) {
			continue
		}
		seen = append(seen, v)
	}
	if len(seen) == 0 {
		return
	}
	separator := " "
	if name == "UV_FIND_LINKS" {
		separator = ","
	}
	set[name] = strings.Join(seen, separator)
}

// visible reports whether sandboxes see the host's path.
func visible(p string) bool {
	return strings.HasPrefix(p, "/usr/") || strings.HasPrefix(p, "/etc/ssl/") || strings.HasPrefix(p, "/etc/pki/")
}
