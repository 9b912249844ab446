package main

import (
	"math/rand/v2"
	"net"
	"sync"
)

// What a port's queue holds of the guest's writes; a reconnected host first gets such a stale tail.
const queueBytes = 229_376

// lossyPort makes of a unix listener what a virtio-serial port is to the guest: one pipe that never ends, whose host
// comes and goes. What was written and not yet taken stays and begins inside a frame, or a part of it is lost.
type lossyPort struct {
	listener net.Listener

	mu      sync.Mutex
	changed *sync.Cond
	conn    net.Conn
	queue   []byte
	closed  bool
}

func newLossyPort(listener net.Listener) *lossyPort {
	p := &lossyPort{listener: listener}
	p.changed = sync.NewCond(&p.mu)
	go p.accept()
	go p.pump()
	return p
}

func (p *lossyPort) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			_ = p.Close()
			return
		}
		p.mu.Lock()
		for p.conn != nil && !p.closed {
			p.changed.Wait()
		}
		p.conn = conn
		p.changed.Broadcast()
		p.mu.Unlock()
	}
}

func (p *lossyPort) connected() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.conn == nil && !p.closed {
		p.changed.Wait()
	}
	return p.conn
}

func (p *lossyPort) lost(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn != conn {
		return
	}
	_ = conn.Close()
	p.conn = nil
	switch rand.IntN(3) {
	case 0:
		p.queue = p.queue[rand.IntN(len(p.queue)+1):]
	case 1:
		p.queue = p.queue[:rand.IntN(len(p.queue)+1)]
	}
	p.changed.Broadcast()
}

func (p *lossyPort) Read(b []byte) (int, error) {
	for {
		conn := p.connected()
		if conn == nil {
			return 0, net.ErrClosed
		}
		n, err := conn.Read(b[:min(len(b), 4096)])
		if n > 0 {
			return n, nil
		}
		if err != nil {
			p.lost(conn)
		}
	}
}

func (p *lossyPort) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n := min(len(b)-done, 32*1024)
		p.mu.Lock()
		for len(p.queue)+n > queueBytes && !p.closed {
			p.changed.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return done, net.ErrClosed
		}
		p.queue = append(p.queue, b[done:done+n]...)
		p.changed.Broadcast()
		p.mu.Unlock()
		done += n
	}
	return done, nil
}

// pump moves the queue to whoever is connected.
func (p *lossyPort) pump() {
	buffer := make([]byte, queueBytes)
	for {
		p.mu.Lock()
		for (p.conn == nil || len(p.queue) == 0) && !p.closed {
			p.changed.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return
		}
		conn := p.conn
		n := copy(buffer, p.queue)
		p.queue = p.queue[:copy(p.queue, p.queue[n:])]
		p.changed.Broadcast()
		p.mu.Unlock()
		written, err := conn.Write(buffer[:n])
		if err != nil {
			p.mu.Lock()
			p.queue = append(append([]byte(nil), buffer[written:n]...), p.queue...)
			p.mu.Unlock()
			p.lost(conn)
		}
	}
}

func (p *lossyPort) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.conn != nil {
		_ = p.conn.Close()
	}
	p.changed.Broadcast()
	return p.listener.Close()
}
