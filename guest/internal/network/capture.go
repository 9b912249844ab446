package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/guard"
)

// From the SYN that is let go to the connection: the kernel does it at once, unless the program has given up. An emulated
// guest's clock may run many times too fast.
const acceptTimeout = 10 * time.Second

var errGivenUp = errors.New("the program has given up the connection")

// capture takes the TCP connections of the machine's programs.
type capture struct {
	log      guard.Log
	listener *net.TCPListener
	steering *steering
	packets  *packets
	serve    func(context.Context, *attempt)
	// How long accept waits.
	patience time.Duration

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	attempts map[flow]*attempt
}

// attempt is one connect of a program that waits for its end: accept or reject.
type attempt struct {
	*syn
	capture  *capture
	ctx      context.Context
	cancel   context.CancelFunc
	accepted chan *net.TCPConn
}

// startCapture captures until close. serve is called for each connect, in a goroutine of its own; its context ends with
// the capture.
func startCapture(log guard.Log, commands Commands, serve func(context.Context, *attempt)) (_ *capture, err error) {
	c := &capture{log: log, serve: serve, patience: acceptTimeout, attempts: make(map[flow]*attempt)}
	c.ctx, c.stop = context.WithCancel(context.Background())
	if c.packets, err = openPackets(); err != nil {
		return nil, err
	}
	if c.listener, err = listen(c.ctx); err != nil {
		c.packets.close()
		return nil, err
	}
	if err := control(c.listener, func(fd int) error { c.steering, err = steer(fd, commands); return err }); err != nil {
		_ = c.listener.Close()
		c.packets.close()
		return nil, err
	}
	c.running.Go(func() { log.Run("the capture of connections", func() { _ = c.steering.ring.each(c.held) }) })
	c.running.Go(func() { log.Run("the capture of connections", c.acceptAll) })
	return c, nil
}

func listen(ctx context.Context) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1, Control: func(_, _ string, raw syscall.RawConn) error {
		return onFD(raw, func(fd int) error {
			// Connections have the address that the program named, not one of ours.
			return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		})
	}}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, "tcp", "[::]:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the connections of programs: %w", err)
	}
	return listener.(*net.TCPListener), nil
}

func control(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	return onFD(raw, f)
}

func onFD(raw syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// close ends the capture, and all that serve does.
func (c *capture) close() {
	c.stop()
	c.steering.close()
	_ = c.listener.Close()
	c.running.Wait()
	c.steering.ring.unmap()
	c.packets.close()
}

// held begins an attempt for a SYN, or recognises one that the kernel sends again.
func (c *capture) held(record []byte) {
	s, ok := parseSyn(record)
	if !ok {
		return
	}
	if s.to.Addr().IsLoopback() || s.to.Addr() == guestIPv4 || s.to.Addr() == guestIPv6 {
		// Somebody found the port of the listener itself.
		_ = c.packets.refuse(&s)
		return
	}
	c.mu.Lock()
	before := c.attempts[s.flow]
	if before != nil && before.sequence == s.sequence {
		c.mu.Unlock()
		return
	}
	a := &attempt{syn: &s, capture: c, accepted: make(chan *net.TCPConn, 1)}
	a.ctx, a.cancel = context.WithCancel(c.ctx)
	c.attempts[s.flow] = a
	c.mu.Unlock()
	if before != nil {
		before.cancel()
	}
	c.running.Go(func() {
		defer a.forget()
		c.log.Run("a connection", func() { c.serve(a.ctx, a) })
	})
}

// forget ends the attempt; a connection that came too late is reset.
func (a *attempt) forget() {
	a.leave()
	a.cancel()
	select {
	case conn := <-a.accepted:
		reset(conn)
	default:
	}
}

// leave makes place for another attempt of the same addresses and ports.
func (a *attempt) leave() {
	a.capture.mu.Lock()
	defer a.capture.mu.Unlock()
	if a.capture.attempts[a.flow] == a {
		delete(a.capture.attempts, a.flow)
	}
}

// accept lets the program's connect succeed, and gives the connection.
func (a *attempt) accept() (*net.TCPConn, error) {
	if err := a.capture.packets.admit(a.syn); err != nil {
		return nil, fmt.Errorf("let a SYN go: %w", err)
	}
	timer := time.NewTimer(a.capture.patience)
	defer timer.Stop()
	select {
	case conn := <-a.accepted:
		a.leave()
		return conn, nil
	case <-timer.C:
		return nil, errGivenUp
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

// refuse makes the connect fail with ECONNREFUSED.
func (a *attempt) refuse() error { return a.capture.packets.refuse(a.syn) }

// fail makes the connect fail with what the ICMP means.
func (a *attempt) fail(how unreachable) error { return a.capture.packets.fail(a.syn, how) }

func (c *capture) acceptAll() {
	for {
		conn, err := c.listener.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Too many open files, or a connection that is gone already.
			time.Sleep(time.Millisecond)
			continue
		}
		c.hand(conn)
	}
}

// hand gives a connection to the attempt that it belongs to.
func (c *capture) hand(conn *net.TCPConn) {
	_ = control(conn, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) })
	key := flow{plain(conn.RemoteAddr()), plain(conn.LocalAddr())}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.attempts[key]
	if a == nil {
		reset(conn)
		return
	}
	select {
	case a.accepted <- conn:
	default:
		reset(conn)
	}
}

func plain(address net.Addr) netip.AddrPort {
	at := address.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// reset ends a connection with RST.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
