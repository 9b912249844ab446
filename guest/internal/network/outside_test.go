package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

func TestWithoutEgressThereIsNoWay(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: echo})
	check := func(when string) {
		t.Helper()
		for _, network := range []string{"tcp", "udp"} {
			for _, address := range []string{"203.0.113.7:443", "10.0.2.3:53", "[2001:db8::1]:443"} {
				if _, err := net.Dial(network, address); !errors.Is(err, syscall.ENETUNREACH) {
					t.Errorf("%s, %s to %s: %v", when, network, address, err)
				}
			}
		}
		addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil || len(addresses) != 2 {
			t.Errorf("%s: %v %v", when, addresses, err)
		}
		if text := m.files.text(); text != "" && text != noResolver {
			t.Errorf("%s: %q", when, text)
		}
	}
	check("at first")
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:443")
	m.egress(t, false)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("what was open is not reset:", err)
	}
	check("afterwards")
	m.egress(t, false)
	check("again")
}

func TestWhatIsNeitherTCPNorAQueryFailsAtOnce(t *testing.T) {
	m := newMachine(t)
	m.egress(t, true)
	for _, address := range []string{"8.8.8.8:53", "203.0.113.7:443", "10.0.2.2:53", "[2001:db8::1]:443"} {
		if _, err := net.Dial("udp", address); !errors.Is(err, syscall.ENETUNREACH) {
			t.Errorf("udp to %s: %v", address, err)
		}
	}
	if _, err := net.Dial("ip4:icmp", "203.0.113.7"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Error(err)
	}
	if _, err := net.Dial("ip6:ipv6-icmp", "2001:db8::1"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Error(err)
	}
}

func TestTheMachinesOwnServersAreItsOwn(t *testing.T) {
	m := newMachine(t)
	asked := make(chan *guestv1.ConnectTarget, 1)
	m.meet(t, &gateway{connect: func(ctx context.Context, target *guestv1.ConnectTarget, both requests) error {
		asked <- target
		return echo(ctx, target, both)
	}})
	m.egress(t, true)
	listener, err := net.Listen("tcp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, address := range []string{"127.0.0.1:8080", "127.1.2.3:8080", "10.0.2.15:8080", "[::1]:8080", "[fd70:7972:6f00::15]:8080"} {
		dial(t, address)
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	}
	if len(asked) != 0 {
		t.Error("the host was asked for", <-asked)
	}
	// A server on all addresses has not those of the world.
	dial(t, "203.0.113.7:8080")
	<-asked
	// Nobody listens, and the listener of the capture is nobody's.
	capturing := m.outside.capture.listener.Addr().(*net.TCPAddr).AddrPort().Port()
	for _, port := range []uint16{8081, capturing} {
		if _, err := tryDial(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(port, err)
		}
	}
}

func TestWhatRootTookAwayIsMadeAnew(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	m.egress(t, true)
	rules, err := netlink.RuleList(netlink.FAMILY_V4)
	if err != nil || len(rules) != 5 {
		t.Fatalf("%v %v", rules, err)
	}
	for _, rule := range m.outside.ways.rules {
		if err := rule.request(unix.RTM_DELRULE, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.ENETUNREACH) {
		t.Fatal(err)
	}
	m.egress(t, true)
	dial(t, "203.0.113.7:443")
}

func TestTheResolverOfTheEnvironmentComesBack(t *testing.T) {
	m := newMachine(t)
	m.files.resolvConf = []byte("nameserver 192.0.2.1\n")
	m.egress(t, true)
	if got := m.files.text(); got != string(resolvConf) {
		t.Fatalf("%q", got)
	}
	m.egress(t, true)
	m.egress(t, false)
	if got := m.files.text(); got != "nameserver 192.0.2.1\n" {
		t.Fatalf("%q", got)
	}
	// The disk of a machine that had a network, and has none now.
	m.files.resolvConf = resolvConf
	m.egress(t, false)
	if got := m.files.text(); got != noResolver {
		t.Fatalf("%q", got)
	}
}

func TestAMachineWithoutIPv6HasTheRestOfItsNetwork(t *testing.T) {
	m := newMachine(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		t.Skip(err)
	}
	m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	dial(t, "203.0.113.7:443")
	if _, err := net.Dial("tcp", "[2001:db8::1]:443"); err == nil {
		t.Error("there is IPv6")
	}
	if text := m.console.String(); !strings.Contains(text, "without IPv6: ") {
		t.Errorf("%q", text)
	}
}

func TestAnOddDiskDoesNotKeepTheNetworkAway(t *testing.T) {
	m := newMachine(t)
	m.options.Rewrite = func(string, func([]byte) []byte) error { return syscall.ENOSPC }
	m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	dial(t, "203.0.113.7:443")
	if text := m.console.String(); !strings.Contains(text, "name the resolver: no space left on device") {
		t.Errorf("%q", text)
	}
}

func TestAForgedMarkLeadsNowhere(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: func(_ context.Context, target *guestv1.ConnectTarget, _ requests) error {
		t.Errorf("the host was asked for %v", target)
		return nil
	}})
	m.egress(t, true)
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return onFD(raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, ourMark) })
	}}
	// The kernel answers it; the reset comes before or after connect has returned.
	conn, err := dialer.Dial("tcp", "203.0.113.7:443")
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

func TestAPlaceThatIsTakenLeavesNothingBehind(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: echo})
	for _, network := range []string{"udp", "tcp"} {
		var taken io.Closer
		var err error
		if network == "udp" {
			taken, err = net.ListenPacket("udp4", "0.0.0.0:53")
		} else {
			taken, err = net.Listen("tcp4", "0.0.0.0:53")
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Configure(t.Context(), &guestv1.ConfigureNetworkRequest{Egress: true}); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Error(network, err)
		}
		if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.ENETUNREACH) {
			t.Error(network, err)
		}
		_ = taken.Close()
	}
	m.egress(t, true)
	dial(t, "203.0.113.7:443")
}
