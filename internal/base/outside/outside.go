// Package outside opens connections to servers that people name, and to none
// of the platform's own network: a name is resolved once, every address that it
// has must be one of the internet, and only those addresses are dialed. What a
// name means a moment later does not matter then.
package outside

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/base/errs"
)

// Rule says which servers may be reached. The zero value allows the internet.
type Rule struct {
	// Hosts are names that may have private addresses, such as a company's own.
	Hosts []string
	// Networks may be reached whatever they are.
	Networks []netip.Prefix
	// Shut are networks that may not be reached though their addresses look like
	// those of the internet.
	Shut []netip.Prefix
	// Own reports whether a name is the platform's: it is never reached. May be nil.
	Own func(host string) bool
	// Resolve looks a name up; nil = as the system does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// ParseAllowed makes a Rule of what an administrator lists: networks, addresses
// and names.
func ParseAllowed(list []string) (Rule, error) {
	var r Rule
	for _, s := range list {
		if n, err := netip.ParsePrefix(s); err == nil {
			r.Networks = append(r.Networks, n.Masked())
			continue
		}
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			r.Networks = append(r.Networks, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		host := canonical(s)
		if host == "" || strings.ContainsAny(host, ":/@*?# \t") {
			return Rule{}, errs.Invalid("%q is neither a host name such as gitlab.example.com nor a network such as 10.0.0.0/8", s)
		}
		r.Hosts = append(r.Hosts, host)
	}
	return r, nil
}

func canonical(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// refused is one answer for a name that is not known and one that leads
// inside: nobody learns from it which names there are in a network.
func refused(cause error, host string) error {
	return errs.Wrap(cause, errs.KindInvalid,
		"%s has no address on the internet; a server in a network of your own must be allowed by the platform's administrator (setting git_hosts)", host)
}

// Find resolves a host, which may be an address, and returns the addresses at
// which it may be reached. Invalid when one of them may not be.
func (r Rule) Find(ctx context.Context, host string) ([]netip.Addr, error) {
	name := canonical(host)
	if r.Own != nil && r.Own(name) {
		return nil, errs.Invalid("%s is this platform itself", host)
	}
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = append(addrs, a)
	} else {
		resolve := r.Resolve
		if resolve == nil {
			resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
				return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			}
		}
		if addrs, err = resolve(ctx, name); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, refused(err, host)
		}
	}
	if len(addrs) == 0 {
		return nil, refused(nil, host)
	}
	own, err := interfaces()
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		if !r.allows(name, a, own) {
			return nil, refused(fmt.Errorf("%s has the address %s", host, a), host)
		}
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

// interfaces are this machine's own addresses: what listens there for itself
// takes them for a friend.
func interfaces() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if n, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, n.Addr().Unmap().WithZone(""))
		}
	}
	return out, nil
}

func (r Rule) allows(host string, a netip.Addr, own []netip.Addr) bool {
	if a.Zone() != "" {
		return false
	}
	a = inner(a)
	if within(r.Networks, a) {
		return true
	}
	if within(r.Shut, a) || slices.Contains(own, a) || within(metadata, a) {
		return false
	}
	if a.Is4() {
		if !within(special4, a) {
			return true
		}
	} else if global6.Contains(a) && !within(special6, a) {
		return true
	}
	return within(private, a) && slices.Contains(r.Hosts, host)
}

// inner is the IPv4 address that an IPv6 address stands for, if it does.
func inner(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

var (
	// private are the networks of companies: those that Rule.Hosts open.
	private = prefixes("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
	// metadata is where clouds tell machines their secrets, beside link-local addresses.
	metadata = prefixes("100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128")
	// special4 are all that IANA's registry does not call globally reachable.
	special4 = append(prefixes("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"), private...)
	// global6 is all of IPv6 that is in use on the internet, but for special6:
	// protocols' own, tunnels to IPv4 addresses, examples.
	global6  = netip.MustParsePrefix("2000::/3")
	special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	nat64    = netip.MustParsePrefix("64:ff9b::/96")
)

// Dialer returns a function for http.Transport that connects to host and port,
// at addresses that Find returned, and to nothing else.
func Dialer(host, port string, addrs []netip.Addr) func(ctx context.Context, network, addr string) (net.Conn, error) {
	want := net.JoinHostPort(host, port)
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		if addr != want {
			return nil, fmt.Errorf("a connection to %s was asked for, not to %s", addr, want)
		}
		d := net.Dialer{Timeout: 10 * time.Second}
		var err error
		for _, a := range addrs {
			var c net.Conn
			if c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(a.String(), port)); err == nil {
				return c, nil
			}
		}
		return nil, err
	}
}
