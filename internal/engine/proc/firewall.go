package proc

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// shut are addresses behind the machine that no sandbox may reach: link-local
// ones, where clouds keep a machine's credentials, and what is no host.
var shut = []string{"169.254.0.0/16", "127.0.0.0/8", "0.0.0.0/8", "224.0.0.0/4", "100.100.100.200/32"}

// writeFirewall replaces the table "slipway" in one transaction. It goes by
// interface names alone, so every engine of a machine writes the same, and
// nobody else's rules are touched.
func writeFirewall(nameservers []string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "slipway"}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	chain := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) func(...[]expr.Any) {
		ch := c.AddChain(&nftables.Chain{Name: name, Table: table, Type: typ, Hooknum: hook, Priority: prio})
		return func(parts ...[]expr.Any) {
			var es []expr.Any
			for _, p := range parts {
				es = append(es, p...)
			}
			c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: es})
		}
	}
	from, to, notTo := iface(expr.MetaKeyIIFNAME, expr.CmpOpEq), iface(expr.MetaKeyOIFNAME, expr.CmpOpEq), iface(expr.MetaKeyOIFNAME, expr.CmpOpNeq)

	// The machine itself, whatever the address: apps have no business there.
	rule := chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityRef(-5))
	for _, ns := range nameservers {
		a, err := netip.ParseAddr(ns)
		if err != nil {
			return err
		}
		for _, proto := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rule(from, destination(netip.PrefixFrom(a, 32)), port(proto, 53), accept())
		}
	}
	rule(from, reject())

	rule = chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityRef(-5))
	rule(from, to, reject())
	rule(from, ipv6(), reject())
	for _, p := range shut {
		rule(from, destination(netip.MustParsePrefix(p)), reject())
	}
	rule(to, established(), accept())
	rule(to, reject())

	rule = chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	rule(from, notTo, []expr.Any{&expr.Masq{}})
	return c.Flush()
}

// dropFirewall removes the table, unless sandboxes of another engine need it.
func dropFirewall() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(links, func(l netlink.Link) bool { return strings.HasPrefix(l.Attrs().Name, vethPrefix) }) {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "slipway"}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	return c.Flush()
}

func iface(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(vethPrefix)}}
}

func family(f byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f}}}
}

func ipv6() []expr.Any { return family(unix.NFPROTO_IPV6) }

func destination(p netip.Prefix) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	return append(family(unix.NFPROTO_IPV4),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()})
}

func port(proto byte, n uint16) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(n)},
	}
}

func established() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func accept() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}} }

func reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}
