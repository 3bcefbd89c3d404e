package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A cluster's /16: the host's bridge and the machines are in x.y.0.0/24, the
// pods of node n in x.y.(64+n).0/24, and Services in x.y.128.0/18.

func (c *Cluster) in(third, fourth byte) netip.Addr {
	if !c.Subnet.IsValid() {
		return netip.Addr{} // the cluster has no addresses yet
	}
	b := c.Subnet.Addr().As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], third, fourth})
}

func (c *Cluster) gateway() netip.Addr    { return c.in(0, 1) }
func (c *Cluster) control() netip.Addr    { return c.in(0, 10) }
func (c *Cluster) node(n int) netip.Addr  { return c.in(0, byte(10+n)) }
func (c *Cluster) services() netip.Prefix { return netip.PrefixFrom(c.in(128, 0), 18) }
func (c *Cluster) dns() netip.Addr        { return c.in(128, 10) }
func (c *Cluster) podsOf(n int) netip.Prefix {
	return netip.PrefixFrom(c.in(byte(64+n), 0), 24)
}

// Pods is the network of all pods. Nodes do not tell it: theirs comes from a file.
func (c *Cluster) Pods() netip.Prefix { return netip.PrefixFrom(c.in(64, 0), 18) }

// NodeIP is the address of node n, from 1, where the host reaches NodePorts.
func (c *Cluster) NodeIP(n int) string { return c.node(n).String() }

func (c *Cluster) bridge() string { return "slc" + c.ID }

// pickSubnet takes a /16 that no route of the machine leads into.
func (c *Cluster) pickSubnet() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if a, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok {
			if bits, _ := r.Dst.Mask.Size(); bits > 0 {
				taken = append(taken, netip.PrefixFrom(a, bits))
			}
		}
	}
	for _, s := range resolvers() { // they may be behind the default route
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
			taken = append(taken, netip.PrefixFrom(a, 32))
		}
	}
	for second := 77; second < 250; second++ {
		subnet, free := netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", second)), true
		for _, t := range taken {
			free = free && !t.Overlaps(subnet)
		}
		if free {
			c.Subnet = subnet
			return nil
		}
	}
	return errors.New("no /16 in 10.0.0.0/8 is free of routes: the cluster has no addresses")
}

// resolvers are the nameservers that the host uses.
func resolvers() []string {
	text, _ := os.ReadFile("/etc/resolv.conf") // none: the cluster resolves its own names only
	var out []string
	for l := range strings.Lines(string(text)) {
		if fs := strings.Fields(l); len(fs) > 1 && fs[0] == "nameserver" {
			out = append(out, fs[1])
		}
	}
	return out
}

// makeBridge takes addresses, makes the bridge, and lets the cluster out to
// where the host gets, in the host's name. One cluster at a time does it, so that
// two do not take the same addresses.
func (c *Cluster) makeBridge(ctx context.Context) error {
	unlock, err := lock(ctx, filepath.Join(Cache(), "net.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.pickSubnet(); err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = c.bridge(), mtu()
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("make bridge %s: %w", attrs.Name, err)
	}
	if err := netlink.AddrAdd(br, address(c.gateway(), 24)); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	// The machine's link-local network has its metadata, which is nobody's business in a pod.
	_, err = c.nft(ctx, fmt.Sprintf(`table ip %[1]s {
	chain out { type nat hook postrouting priority srcnat; ip saddr %[2]s ip daddr != %[2]s masquerade; }
	chain through { type filter hook forward priority filter; ip saddr %[2]s ip daddr 169.254.0.0/16 reject; }
}`, c.bridge(), c.Subnet))
	return err
}

func (c *Cluster) nft(ctx context.Context, rules string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd.Stdin = strings.NewReader(rules)
	return output(cmd)
}

// mtu is that of the way out: larger packets would be lost on it.
func mtu() int {
	routes, _ := netlink.RouteGet(net.IPv4(1, 1, 1, 1)) // no route, no limit
	for _, r := range routes {
		if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil && l.Attrs().MTU > 0 {
			return min(l.Attrs().MTU, 1500)
		}
	}
	return 1500
}

func address(a netip.Addr, bits int) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}}
}

func route(to netip.Prefix, via netip.Addr) *netlink.Route {
	return &netlink.Route{Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)}, Gw: via.AsSlice()}
}

// connect plugs the machine into the bridge. Pods and Services are routed like
// by any flat network: to the nodes.
func (m machine) connect() error {
	c, pid := m.c, m.pid()
	br, err := netlink.LinkByName(c.bridge())
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = fmt.Sprintf("%sm%d", c.bridge(), m.number), mtu(), br.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface %s: %w", attrs.Name, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return err
	}
	defer ns.Close() //nolint:errcheck // nothing was written
	in, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer in.Close()
	for _, name := range []string{"lo", "eth0"} {
		l, err := in.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			if err := in.AddrAdd(l, address(m.ip, 24)); err != nil {
				return err
			}
		}
		if err := in.LinkSetUp(l); err != nil {
			return err
		}
	}
	if err := in.RouteAdd(&netlink.Route{Gw: c.gateway().AsSlice()}); err != nil {
		return err
	}
	for n := 1; n <= c.Nodes; n++ {
		if n != m.number {
			if err := in.RouteAdd(route(c.podsOf(n), c.node(n))); err != nil {
				return err
			}
		}
	}
	if m.number > 0 {
		return netlink.RouteAdd(route(c.podsOf(m.number), m.ip)) // the host's: from tests to pods
	}
	return errors.Join(in.RouteAdd(route(c.services(), c.node(1))), netlink.RouteAdd(route(c.services(), c.node(1))))
}

// unplug removes the bridge with its routes, the machines' interfaces, which
// the kernel would remove some time later, and the firewall's rules.
func (c *Cluster) unplug(ctx context.Context) error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, c.bridge()) {
			if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
				return err
			}
		}
	}
	_, err = c.nft(ctx, fmt.Sprintf("table ip %[1]s\ndelete table ip %[1]s", c.bridge()))
	return err
}
