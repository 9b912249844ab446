package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// Port is the byte pipe to the host. Read waits for bytes, also through an absence of the host; its error, io.EOF
// too, ends the link. Close makes a waiting Read and Write return.
type Port interface {
	io.ReadWriteCloser
}

// Counters tells what the link skipped or dropped; all but the filler and stale frames of reconnects is a fault.
type Counters struct {
	SkippedBytes  uint64
	DroppedFrames uint64
}

// Link is the agent's side of the framed link on one port.
type Link struct {
	port  Port
	turns *turns

	skippedBytes  atomic.Uint64
	droppedFrames atomic.Uint64

	mu      sync.Mutex
	session *Session
	opened  func(*Session)
	probe   probeCount
}

// New makes a link on the port; Run works it. opened is told of each session, in the reader's goroutine and so before
// any packet of it is delivered: it sets the receivers, and must not wait.
func New(port Port, opened func(*Session)) *Link {
	return &Link{port: port, turns: newTurns(port), opened: opened, probe: newProbeCount()}
}

// Run reads the port until it or the context ends, and then closes the port. It returns nil when the context ended.
func (l *Link) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { l.turns.serveHello(stop) })
	closeOnCancel := context.AfterFunc(ctx, func() { _ = l.port.Close() })
	err := l.read()
	closeOnCancel()
	_ = l.port.Close()
	if session := l.swap(nil); session != nil {
		session.end()
	}
	l.turns.shut()
	close(stop)
	helpers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read the port: %w", err)
}

// Counters gives the counts since the link began.
func (l *Link) Counters() Counters {
	return Counters{SkippedBytes: l.skippedBytes.Load(), DroppedFrames: l.droppedFrames.Load()}
}

// FloodProbe sends n zero bytes on the probe channel as fast as the port takes them.
func (l *Link) FloodProbe(ctx context.Context, n uint64) error {
	session := l.current()
	if session == nil {
		return errors.New("no host is connected")
	}
	// A sender of its own, so that a cancelled flood does not end the next one.
	sender := newSender(session, Probe)
	stopped := context.AfterFunc(ctx, func() { l.turns.cancel(sender) })
	defer stopped()
	return l.turns.flood(sender, n)
}

// DrainProbe waits until expect bytes have arrived on the probe channel since the last call, and gives their count.
func (l *Link) DrainProbe(ctx context.Context, expect uint64) (uint64, error) {
	return l.probe.drain(ctx, expect)
}

func (l *Link) current() *Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.session
}

func (l *Link) swap(next *Session) *Session {
	l.mu.Lock()
	defer l.mu.Unlock()
	previous := l.session
	l.session = next
	return previous
}

// read takes the port's bytes into chunks and parses them there.
func (l *Link) read() error {
	into := newChunk()
	defer func() { into.release() }()
	begin, end := 0, 0
	for {
		n, err := l.port.Read(into.bytes[end:])
		end += n
		if err != nil {
			return err
		}
		begin = l.parse(into, begin, end)
		switch {
		case begin == end && into.holders.Load() == 1:
			begin, end = 0, 0
		case chunkBytes-end < minRoomBytes:
			// Too little for a read: nothing would ever overwrite what is there.
			clear(into.bytes[end:])
			next := newChunk()
			end = copy(next.bytes[:], into.bytes[begin:end])
			begin = 0
			into.release()
			into = next
		}
	}
}

// hello begins a session, or answers again for the one there is.
func (l *Link) hello(epoch uint32) {
	if session := l.current(); session != nil && session.epoch == epoch {
		l.turns.begin(epoch)
		return
	}
	session := newSession(l, epoch)
	previous := l.swap(session)
	l.probe.reset()
	if previous != nil {
		previous.end()
	}
	// First, so that what opened starts may send at once: that waits until the host has its answer.
	l.turns.begin(epoch)
	l.opened(session)
}
