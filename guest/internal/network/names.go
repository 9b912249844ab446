package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"pyro/guest/internal/guard"
)

const (
	dnsPort = 53
	// Longest query that is read, in bytes; a name is at most 255.
	maxQueryBytes = 4096
	// Connections of DNS over TCP at once, and how long one may be silent.
	maxNameConnections = 64
	nameIdle           = 10 * time.Second
)

// names is the resolver of the machine's programs: it answers on its address what the host's gateway says.
type names struct {
	log     guard.Log
	resolve resolver
	udp     *net.UDPConn
	tcp     *net.TCPListener

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	queries chan struct{}
	// TCP connections.
	slots chan struct{}
}

func startNames(log guard.Log, resolve resolver) (_ *names, err error) {
	n := &names{log: log, resolve: resolve, queries: make(chan struct{}, maxQueries), slots: make(chan struct{}, maxNameConnections)}
	at := netip.AddrPortFrom(resolverIPv4, dnsPort)
	if n.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
		return nil, fmt.Errorf("listen for name queries: %w", err)
	}
	if n.tcp, err = listenAt(at); err != nil {
		_ = n.udp.Close()
		return nil, fmt.Errorf("listen for name queries: %w", err)
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.running.Go(func() { log.Run("the resolver", n.serveUDP) })
	n.running.Go(func() { log.Run("the resolver", n.serveTCP) })
	return n, nil
}

func listenAt(at netip.AddrPort) (*net.TCPListener, error) {
	config := net.ListenConfig{KeepAlive: -1}
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp4", at.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

func (n *names) close() {
	n.stop()
	_ = n.udp.Close()
	_ = n.tcp.Close()
	n.running.Wait()
}

// serveUDP takes no query more while as many as may be are under way: the others wait in the socket, or are lost there.
func (n *names) serveUDP() {
	buffer := make([]byte, maxQueryBytes)
	for {
		length, from, err := n.udp.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		query := append([]byte(nil), buffer[:length]...)
		if !n.enter() {
			return
		}
		n.running.Go(func() {
			defer func() { <-n.queries }()
			n.log.Run("a name query", func() {
				if answer := n.answer(query, false); answer != nil {
					_, _ = n.udp.WriteToUDPAddrPort(answer, from)
				}
			})
		})
	}
}

// enter waits until a query may be asked; false at the end.
func (n *names) enter() bool {
	select {
	case n.queries <- struct{}{}:
		return true
	case <-n.ctx.Done():
		return false
	}
}

func (n *names) serveTCP() {
	for {
		conn, err := n.tcp.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		select {
		case n.slots <- struct{}{}:
		default:
			reset(conn)
			continue
		}
		n.running.Go(func() {
			defer func() { <-n.slots }()
			n.log.Run("a name query", func() { n.converse(conn) })
		})
	}
}

// converse answers the queries of one connection, one after the other (RFC 7766).
func (n *names) converse(conn *net.TCPConn) {
	stopped := context.AfterFunc(n.ctx, func() { _ = conn.Close() })
	defer stopped()
	defer conn.Close()
	buffer := make([]byte, 2+maxQueryBytes)
	for {
		_ = conn.SetDeadline(time.Now().Add(nameIdle))
		if _, err := io.ReadFull(conn, buffer[:2]); err != nil {
			return
		}
		length := int(binary.BigEndian.Uint16(buffer))
		if length > maxQueryBytes {
			return
		}
		if _, err := io.ReadFull(conn, buffer[:length]); err != nil {
			return
		}
		if !n.enter() {
			return
		}
		answer := n.answer(buffer[:length], true)
		<-n.queries
		if answer == nil {
			return
		}
		_ = conn.SetDeadline(time.Now().Add(nameIdle))
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (n *names) answer(query []byte, stream bool) []byte {
	return answerQuery(n.ctx, query, stream, n.resolve)
}
