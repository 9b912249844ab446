package network

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

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
