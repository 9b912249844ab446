package network

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"

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
