package slipway

import (
	"net"
	"strings"
)

// Hosts computes the names under which the platform answers, from its base
// domain: <base> for apps and api-, auth-, git-, ws-, admin-, registry-<base>.
type Hosts struct {
	Scheme string `json:"scheme"` // https or http
	Base   string `json:"base"`   // slipway.localhost
	Port   string `json:"port"`   // as browsers write it; empty for the scheme's own

	SSHPort string `json:"ssh_port,omitempty"` // of git over SSH; empty where there is none
}

func (h Hosts) url(host string) string {
	if h.Port != "" {
		host = net.JoinHostPort(host, h.Port)
	}
	return h.Scheme + "://" + host
}

// The origins, without a slash at the end.
func (h Hosts) Apps() string  { return h.url(h.Base) }
func (h Hosts) API() string   { return h.url("api-" + h.Base) }   // API and management UI
func (h Hosts) Auth() string  { return h.url("auth-" + h.Base) }  // sign-in and OpenID provider
func (h Hosts) Git() string   { return h.url("git-" + h.Base) }   // git over HTTPS
func (h Hosts) Admin() string { return h.url("admin-" + h.Base) } // console

// Registry is where images are pushed and pulled.
func (h Hosts) Registry() string { return h.url("registry-" + h.Base) }

// Kinds of the platform's hosts, as Kind returns them.
const (
	HostBase     = "base"
	HostAPI      = "api"
	HostAuth     = "auth"
	HostGit      = "git"
	HostWS       = "ws"
	HostAdmin    = "admin"
	HostRegistry = "registry"
)

// Kind tells what a host name (without port, lower case) stands for: one of
// the platform's hosts, or an isolated app, whose name is then returned too.
func (h Hosts) Kind(host string) (kind, app string) {
	if host == h.Base {
		return HostBase, ""
	}
	if prefix, ok := strings.CutSuffix(host, "-"+h.Base); ok {
		switch prefix {
		case HostAPI, HostAuth, HostGit, HostWS, HostAdmin, HostRegistry:
			return prefix, ""
		default:
			return "", prefix
		}
	}
	return "", ""
}

// All lists every host name for certificates: the base and its wildcards
// cannot cover the prefix form below one label, so each is named.
func (h Hosts) All() []string {
	names := []string{h.Base}
	for _, p := range []string{HostAPI, HostAuth, HostGit, HostWS, HostAdmin, HostRegistry} {
		names = append(names, p+"-"+h.Base)
	}
	return names
}

// App returns where an app is opened.
func (h Hosts) App(name string, isolated bool) string {
	if isolated {
		return h.url(name+"-"+h.Base) + "/" + name + "/"
	}
	return h.Apps() + "/" + name + "/"
}

// GitRemote returns an app's git remote.
func (h Hosts) GitRemote(name string) string { return h.Git() + "/" + name }

// SSH is where git goes by SSH; empty where there is none.
func (h Hosts) SSH() string {
	switch h.SSHPort {
	case "":
		return ""
	case sshPort:
		return "ssh://git@" + h.gitHost()
	}
	return "ssh://git@" + net.JoinHostPort(h.gitHost(), h.SSHPort)
}

// SSHRemote returns an app's git remote for SSH; empty where there is none.
func (h Hosts) SSHRemote(name string) string {
	if h.SSHPort == "" {
		return ""
	}
	return h.SSH() + "/" + name
}

// KnownHost is a line for known_hosts that says that the SSH of git has this
// key, which is in the form of authorized_keys.
func (h Hosts) KnownHost(key string) string {
	name := h.gitHost()
	if h.SSHPort != sshPort {
		name = "[" + name + "]:" + h.SSHPort
	}
	return name + " " + key
}

const sshPort = "22" // which clients take by themselves

func (h Hosts) gitHost() string { return "git-" + h.Base }
