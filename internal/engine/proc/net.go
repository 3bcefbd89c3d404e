package proc

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/engine"
)

// vethPrefix starts the names of all our interfaces; the firewall's rules go by it.
const vethPrefix = "slw"

// pools are where addresses for sandboxes may come from; the first that the
// machine does not use is taken.
var pools = []string{"10.213.0.0/16", "10.214.0.0/16", "172.29.0.0/16", "172.30.0.0/16", "10.87.0.0/16", "192.168.192.0/18", "100.72.0.0/16"}

// network connects sandboxes: each has a pair of interfaces of its own with
// four addresses, is masqueraded to the outside, and is kept from the machine
// and from the others by one table of the firewall.
type network struct {
	mu          sync.Mutex
	pool        netip.Prefix
	nameservers []string
	search      string
}

// newNetwork prepares the machine. A nil network comes with the reason; other
// reasons tell what is missing.
func newNetwork(opt Options) (n *network, why []string) {
	n = &network{}
	if err := n.findPool(); err != nil {
		return nil, []string{"apps have no network: " + err.Error()}
	}
	n.nameservers, n.search = opt.Nameservers, ""
	if len(n.nameservers) == 0 {
		n.nameservers, n.search = hostNameservers()
	}
	var local []string
	n.nameservers, local, why = splitNameservers(n.nameservers)
	if err := writeFirewall(local); err != nil {
		return nil, []string{"apps have no network, because the firewall's rules (nftables) could not be set: " + err.Error()}
	}
	const forward = "/proc/sys/net/ipv4/ip_forward"
	if b, err := os.ReadFile(forward); err != nil || strings.TrimSpace(string(b)) != "1" {
		if err := os.WriteFile(forward, []byte("1"), 0); err != nil {
			return nil, []string{"apps have no network: " + err.Error() + "; set net.ipv4.ip_forward=1"}
		}
		opt.Log.Info("turned on net.ipv4.ip_forward, so that apps reach the internet")
	}
	return n, why
}

// hostNameservers reads the machine's resolvers; behind systemd's stub, the
// real ones.
func hostNameservers() (servers []string, search string) {
	for _, f := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		servers = servers[:0]
		for l := range strings.Lines(string(b)) {
			fs := strings.Fields(l)
			switch {
			case len(fs) > 1 && fs[0] == "nameserver":
				servers = append(servers, fs[1])
			case len(fs) > 1 && (fs[0] == "search" || fs[0] == "options"):
				search = strings.Join(fs, " ")
			}
		}
		if len(servers) > 0 && !strings.HasPrefix(servers[0], "127.") {
			break
		}
	}
	return servers, search
}

// splitNameservers leaves out what a sandbox cannot reach, and finds those on
// the machine itself, which need a rule.
func splitNameservers(all []string) (usable, local, why []string) {
	addrs, _ := netlink.AddrList(nil, netlink.FAMILY_V4)
	for _, s := range all {
		a, err := netip.ParseAddr(s)
		if err != nil || !a.Is4() || a.IsLoopback() {
			continue
		}
		usable = append(usable, s)
		for _, own := range addrs {
			if own.IP.Equal(net.IP(a.AsSlice())) {
				local = append(local, s)
			}
		}
	}
	if len(usable) == 0 {
		why = []string{"apps cannot resolve names: the machine's nameservers are on its loopback, which apps cannot reach; name others in the engine's options"}
	}
	return usable, local, why
}

// findPool picks addresses against the live routing table.
func (n *network) findPool() error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	own := map[int]bool{}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		own[l.Attrs().Index] = strings.HasPrefix(l.Attrs().Name, vethPrefix)
	}
	for _, p := range pools {
		pool, free := netip.MustParsePrefix(p), true
		for _, r := range routes {
			if dst, ok := prefix(r.Dst); ok && dst.Bits() > 0 && dst.Overlaps(pool) && !own[r.LinkIndex] {
				free = false
			}
		}
		if free {
			n.pool = pool
			return nil
		}
	}
	return errors.New("every range of addresses that apps could have is in use here")
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

func vethName(cid string) string {
	sum := sha256.Sum256([]byte(cid))
	return vethPrefix + hex.EncodeToString(sum[:6])
}

// attach connects the sandbox of process pid, unless it is connected.
func (n *network) attach(cid string, pid int) error {
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
	name := vethName(cid)
	if routes, err := in.RouteList(nil, netlink.FAMILY_V4); err == nil && len(routes) > 0 {
		return nil
	}
	if err := n.detach(cid); err != nil {
		return err
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface %s: %w", name, err)
	}
	// Not our address, no forged sender, no IPv6: it would pass by the rules.
	conf := map[string]string{"ipv4/conf/" + name + "/rp_filter": "1", "ipv6/conf/" + name + "/disable_ipv6": "1"}
	for k, v := range conf {
		if err := os.WriteFile("/proc/sys/net/"+k, []byte(v), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	outside, err := n.address(veth)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	peer, err := in.LinkByName("eth0")
	if err != nil {
		return err
	}
	inside := &net.IPNet{IP: net.IP(outside.Next().AsSlice()), Mask: net.CIDRMask(30, 32)}
	if err := in.AddrAdd(peer, &netlink.Addr{IPNet: inside}); err != nil {
		return err
	}
	if err := in.LinkSetUp(peer); err != nil {
		return err
	}
	return in.RouteAdd(&netlink.Route{LinkIndex: peer.Attrs().Index, Gw: net.IP(outside.AsSlice())})
}

// address gives the host's end the first free address of a block of four. The
// lock is the machine's: other engines pick from the same pool.
func (n *network) address(veth netlink.Link) (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	lock, err := os.OpenFile("/run/slipway-net.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return netip.Addr{}, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return netip.Addr{}, err
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, err
	}
	taken := map[netip.Addr]bool{}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			taken[ip] = true
		}
	}
	for block := n.pool.Addr(); n.pool.Contains(block); block = plus4(block) {
		own := block.Next()
		if taken[own] {
			continue
		}
		return own, netlink.AddrAdd(veth, &netlink.Addr{IPNet: &net.IPNet{IP: net.IP(own.AsSlice()), Mask: net.CIDRMask(30, 32)}})
	}
	return netip.Addr{}, errors.New("no address is free")
}

func plus4(a netip.Addr) netip.Addr {
	for range 4 {
		a = a.Next()
	}
	return a
}

// detach removes the sandbox's interfaces, if there are any.
func (n *network) detach(cid string) error {
	l, err := netlink.LinkByName(vethName(cid))
	if err != nil {
		var none netlink.LinkNotFoundError
		if errors.As(err, &none) {
			return nil
		}
		return err
	}
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	return nil
}

// sweep removes interfaces that a crash left without a sandbox: those of our
// objects' replicas that do not run.
func (n *network) sweep(objects map[engine.Ref]*object) {
	for _, ob := range objects {
		for _, r := range ob.replicas {
			if r.pid == 0 {
				_ = n.detach(r.cid) // tried again when the replica starts or goes
			}
		}
	}
}
