package network

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

func TestAProgramsConnectionReachesTheHost(t *testing.T) {
	m := newMachine(t)
	targets := make(chan *guestv1.ConnectTarget, 1)
	m.meet(t, &gateway{connect: func(ctx context.Context, target *guestv1.ConnectTarget, both requests) error {
		targets <- target
		return echo(ctx, target, both)
	}})
	m.egress(t, true)
	for _, address := range []string{"203.0.113.7:443", "10.0.2.2:8080", "192.168.1.1:22", "[2001:db8::1]:443", "[64:ff9b::7f00:1]:80"} {
		conn := dial(t, address)
		target := <-targets
		ip, _ := netip.AddrFromSlice(target.Address)
		if got := netip.AddrPortFrom(ip, uint16(target.Port)).String(); got != address {
			t.Errorf("the host was asked for %s, not for %s", got, address)
		}
		text := string(bytes.Repeat([]byte(address), 30_000))
		go func() {
			_, _ = conn.Write([]byte(text))
			_ = conn.CloseWrite()
		}()
		if got := readAll(t, conn); got != text {
			t.Errorf("%s: %d bytes came back of %d", address, len(got), len(text))
		}
	}
}

func TestEachSideMayFinishFirst(t *testing.T) {
	m := newMachine(t)
	heard := make(chan string, 1)
	m.meet(t, &gateway{connect: func(_ context.Context, _ *guestv1.ConnectTarget, both requests) error {
		if err := errors.Join(opened(both), say(both, []byte("from the host")), finish(both)); err != nil {
			return err
		}
		var text []byte
		for both.Receive() && both.Msg().GetFinished() == nil {
			text = append(text, both.Msg().GetData()...)
		}
		heard <- string(text)
		return both.Err()
	}})
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:80")
	if got := readAll(t, conn); got != "from the host" {
		t.Fatal(got)
	}
	// The host has finished; the program has not.
	if _, err := conn.Write([]byte("from the program")); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if got := <-heard; got != "from the program" {
		t.Fatal(got)
	}
}

func TestAConnectFailsAsTheHostSays(t *testing.T) {
	m := newMachine(t)
	var because atomic.Int32
	const broken = -1
	m.meet(t, &gateway{connect: func(ctx context.Context, target *guestv1.ConnectTarget, both requests) error {
		if because.Load() == broken {
			return failure.OfWire(failure.Broken, "a broken host")
		}
		return refuse(guestv1.RefusedBecause(because.Load()))(ctx, target, both)
	}})
	m.egress(t, true)
	for _, c := range []struct {
		because    guestv1.RefusedBecause
		ipv4, ipv6 syscall.Errno
	}{
		{guestv1.RefusedBecause_REFUSED_BECAUSE_REFUSED, syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{guestv1.RefusedBecause_REFUSED_BECAUSE_POLICY, syscall.EHOSTUNREACH, syscall.EACCES},
		{guestv1.RefusedBecause_REFUSED_BECAUSE_LIMIT, syscall.EHOSTUNREACH, syscall.EACCES},
		{guestv1.RefusedBecause_REFUSED_BECAUSE_UNREACHABLE, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{guestv1.RefusedBecause_REFUSED_BECAUSE_TIMED_OUT, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{guestv1.RefusedBecause_REFUSED_BECAUSE_UNSPECIFIED, syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
	} {
		because.Store(int32(c.because))
		if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, c.ipv4) {
			t.Errorf("%s: %v", c.because, err)
		}
		if _, err := tryDial("[2001:db8::1]:443"); !errors.Is(err, c.ipv6) {
			t.Errorf("%s: %v", c.because, err)
		}
	}
	because.Store(broken)
	if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Error(err)
	}
}

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

func TestAResetIsAResetOnTheOtherSide(t *testing.T) {
	m := newMachine(t)
	left := make(chan error, 1)
	m.meet(t, &gateway{connect: func(ctx context.Context, _ *guestv1.ConnectTarget, both requests) error {
		if err := opened(both); err != nil {
			return err
		}
		for both.Receive() {
			if string(both.Msg().GetData()) == "reset" {
				return failure.OfWire(failure.Unavailable, "the other side was reset")
			}
		}
		left <- ctx.Err()
		return ctx.Err()
	}})
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:443")
	if _, err := conn.Write([]byte("reset")); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the host's reset:", err)
	}
	reset(dial(t, "203.0.113.7:443"))
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error("the program's reset:", err)
	}
}

func TestConnectionsEndWithTheirEpoch(t *testing.T) {
	m := newMachine(t)
	leave := m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:443")
	leave()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the connection goes on:", err)
	}
	if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Error("without a host:", err)
	}
	m.meet(t, &gateway{connect: echo})
	conn = dial(t, "203.0.113.7:443")
	if _, err := conn.Write([]byte("again")); err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseWrite()
	if got := readAll(t, conn); got != "again" {
		t.Fatal(got)
	}
}

func TestAConnectWaitsForTheHost(t *testing.T) {
	m := newMachine(t)
	entered, open := make(chan struct{}), make(chan struct{})
	m.meet(t, &gateway{connect: func(ctx context.Context, target *guestv1.ConnectTarget, both requests) error {
		close(entered)
		<-open
		return echo(ctx, target, both)
	}})
	m.egress(t, true)
	var connected atomic.Bool
	go func() {
		<-entered
		// Longer than the kernel's first repeat of a SYN would be an answer to nobody.
		time.Sleep(1200 * time.Millisecond)
		if connected.Load() {
			t.Error("connected before the host was")
		}
		close(open)
	}()
	dial(t, "203.0.113.7:443")
	connected.Store(true)
}

func TestMoreThanTheLimitAreRefused(t *testing.T) {
	m := newMachine(t)
	m.connections = make(chan struct{}, 3)
	m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	var open []*net.TCPConn
	for range 3 {
		open = append(open, dial(t, "203.0.113.7:443"))
	}
	if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	_ = open[0].Close()
	for len(m.connections) == 3 {
		time.Sleep(time.Millisecond)
	}
	dial(t, "203.0.113.7:443")
}

func TestAnUploadIsHeldBackByTheHost(t *testing.T) {
	m := newMachine(t)
	read := make(chan struct{})
	total := make(chan int, 1)
	m.meet(t, &gateway{connect: func(_ context.Context, _ *guestv1.ConnectTarget, both requests) error {
		if err := opened(both); err != nil {
			return err
		}
		<-read
		n := 0
		for both.Receive() && both.Msg().GetFinished() == nil {
			n += len(both.Msg().GetData())
		}
		total <- n
		return errors.Join(both.Err(), finish(both))
	}})
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:443")
	const all = 64 << 20
	var sent atomic.Int64
	go func() {
		piece := make([]byte, 64<<10)
		for n := 0; n < all; n += len(piece) {
			if _, err := conn.Write(piece); err != nil {
				t.Error(err)
				return
			}
			sent.Add(int64(len(piece)))
		}
		_ = conn.CloseWrite()
	}()
	for before := int64(-1); before != sent.Load(); time.Sleep(50 * time.Millisecond) {
		before = sent.Load()
	}
	if n := sent.Load(); n >= all/2 {
		t.Errorf("%d bytes were taken that nobody reads", n)
	}
	close(read)
	if n := <-total; n != all {
		t.Errorf("%d bytes arrived", n)
	}
	if got := readAll(t, conn); got != "" {
		t.Error(got)
	}
}

func TestADownloadIsHeldBackByTheProgram(t *testing.T) {
	m := newMachine(t)
	const all = 64 << 20
	var sent atomic.Int64
	m.meet(t, &gateway{connect: func(_ context.Context, _ *guestv1.ConnectTarget, both requests) error {
		if err := opened(both); err != nil {
			return err
		}
		piece := make([]byte, 60_000)
		for sent.Load() < all {
			if err := say(both, piece); err != nil {
				return err
			}
			sent.Add(int64(len(piece)))
		}
		if err := finish(both); err != nil {
			return err
		}
		for both.Receive() && both.Msg().GetFinished() == nil {
		}
		return both.Err()
	}})
	m.egress(t, true)
	conn := dial(t, "203.0.113.7:443")
	for before := int64(-1); before != sent.Load(); time.Sleep(50 * time.Millisecond) {
		before = sent.Load()
	}
	if n := sent.Load(); n >= all/2 {
		t.Errorf("%d bytes were sent that nobody reads", n)
	}
	if n, err := io.Copy(io.Discard, conn); err != nil || n != sent.Load() {
		t.Error(n, err)
	}
}

func TestTwoHundredConnectionsAtOnce(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: echo})
	m.egress(t, true)
	var talking sync.WaitGroup
	for i := range 200 {
		conn := dial(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 443).String())
		talking.Go(func() {
			text := bytes.Repeat([]byte{byte(i)}, 100_000)
			go func() {
				_, _ = conn.Write(text)
				_ = conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, text) {
				t.Errorf("connection %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	talking.Wait()
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

func TestARefusalIsToldSeldom(t *testing.T) {
	m := newMachine(t)
	m.meet(t, &gateway{connect: refuse(guestv1.RefusedBecause_REFUSED_BECAUSE_POLICY)})
	m.egress(t, true)
	begin := time.Now()
	for range 20 {
		if _, err := tryDial("203.0.113.7:443"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Fatal(err)
		}
	}
	most := 1 + int(time.Since(begin)/time.Second)
	if n := strings.Count(m.console.String(), `203.0.113.7:443 is refused: "a test"`); n < 1 || n > most {
		t.Errorf("told %d times", n)
	}
}

func TestAProgramThatGivesUpIsGone(t *testing.T) {
	m := newMachine(t)
	entered, open, left := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	m.meet(t, &gateway{connect: func(ctx context.Context, _ *guestv1.ConnectTarget, both requests) error {
		close(entered)
		<-open
		if err := opened(both); err != nil {
			return err
		}
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	}})
	m.egress(t, true)
	m.outside.capture.patience = 50 * time.Millisecond
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{203, 0, 113, 7}, Port: 443}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	<-entered
	_ = unix.Close(fd)
	close(open)
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Error("the host still has the connection:", err)
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
	conn, err := dialer.Dial("tcp", "203.0.113.7:443")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
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
