package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"pyro/guest/internal/guard"
)

// The addresses of the guest's world. All of them are the machine's own: nothing but lo is there.
var (
	guestIPv4    = netip.MustParseAddr("10.0.2.15")
	resolverIPv4 = netip.MustParseAddr("10.0.2.3")
	hostIPv4     = netip.MustParseAddr("10.0.2.2")
	guestIPv6    = netip.MustParseAddr("fd70:7972:6f00::15")
)

const (
	// A routing table of our own, and the place of the rules that lead to it: after the machine's own addresses (0),
	// before those of the user (32766).
	table        = 0x7079
	rulePriority = 1000
	markPriority = 1001
)

// ways are what leads a program's connections to the agent: TCP to every address is local, and so is the resolver; of
// all else the kernel says at once that the network is unreachable.
type ways struct {
	log       guard.Log
	addresses []netlink.Addr
	routes    []netlink.Route
	rules     []rule
}

func newWays(log guard.Log) (*ways, error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("find lo: %w", err)
	}
	index := lo.Attrs().Index
	w := &ways{log: log}
	local := func(to *net.IPNet, from netip.Addr, table int) {
		w.routes = append(w.routes, netlink.Route{
			Dst: to, Src: from.AsSlice(), LinkIndex: index, Table: table, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Protocol: unix.RTPROT_STATIC,
		})
	}
	local(prefix(netip.MustParsePrefix("0.0.0.0/0")), guestIPv4, table)
	local(prefix(netip.MustParsePrefix("::/0")), guestIPv6, table)
	local(prefix(netip.PrefixFrom(resolverIPv4, 32)), guestIPv4, unix.RT_TABLE_LOCAL)
	for _, address := range []netip.Addr{guestIPv4, guestIPv6} {
		w.addresses = append(w.addresses, netlink.Addr{IPNet: prefix(netip.PrefixFrom(address, address.BitLen())), Flags: unix.IFA_F_NODAD})
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		w.rules = append(w.rules, rule{family, rulePriority, nl.NewRtAttr(nl.FRA_IP_PROTO, nl.Uint8Attr(unix.IPPROTO_TCP))},
			// Raw packets are of no protocol where routes are looked up.
			rule{family, markPriority, nl.NewRtAttr(nl.FRA_FWMARK, nl.Uint32Attr(ourMark))})
	}
	return w, nil
}

// rule leads what its condition names to our table. The library's own writes the protocol with a length that the kernel
// complains of.
type rule struct {
	family    uint8
	priority  uint32
	condition *nl.RtAttr
}

func (r rule) request(operation, flags int) error {
	request := nl.NewNetlinkRequest(operation, flags|unix.NLM_F_ACK)
	message := nl.NewRtMsg()
	message.Family, message.Type, message.Table, message.Protocol, message.Scope = r.family, nl.FR_ACT_TO_TBL, unix.RT_TABLE_UNSPEC, 0, 0
	request.AddData(message)
	request.AddData(nl.NewRtAttr(nl.FRA_PRIORITY, nl.Uint32Attr(r.priority)))
	request.AddData(nl.NewRtAttr(nl.FRA_TABLE, nl.Uint32Attr(table)))
	request.AddData(r.condition)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func prefix(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// open makes the ways; what is there already stays. A machine whose root has switched IPv6 off has those of IPv4.
func (w *ways) open() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	var failures []error
	note := func(ipv6 bool, err error) {
		if err != nil && ipv6 {
			w.log.Printf("without IPv6: %v", err)
		} else {
			failures = append(failures, err)
		}
	}
	for _, address := range w.addresses {
		if err := netlink.AddrReplace(lo, &address); err != nil {
			note(address.IP.To4() == nil, fmt.Errorf("give lo the address %s: %w", address.IPNet, err))
		}
	}
	for _, route := range w.routes {
		if err := netlink.RouteReplace(&route); err != nil {
			note(route.Dst.IP.To4() == nil, fmt.Errorf("make the route to %s: %w", route.Dst, err))
		}
	}
	for _, rule := range w.rules {
		if err := rule.request(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL); err != nil && !errors.Is(err, fs.ErrExist) {
			note(rule.family == unix.AF_INET6, fmt.Errorf("make the routing rule %d: %w", rule.priority, err))
		}
	}
	return errors.Join(failures...)
}

// close takes them away; what is not there any more is no error.
func (w *ways) close() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	var failures []error
	for _, rule := range w.rules {
		failures = append(failures, gone(rule.request(unix.RTM_DELRULE, 0)))
	}
	for _, route := range w.routes {
		failures = append(failures, gone(netlink.RouteDel(&route)))
	}
	for _, address := range w.addresses {
		failures = append(failures, gone(netlink.AddrDel(lo, &address)))
	}
	return errors.Join(failures...)
}

func gone(err error) error {
	for _, absent := range []error{unix.ENOENT, unix.ESRCH, unix.EADDRNOTAVAIL} {
		if errors.Is(err, absent) {
			return nil
		}
	}
	return err
}
