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
	port   Port
	sender *sender

	skippedBytes  atomic.Uint64
	droppedFrames atomic.Uint64

	mu      sync.Mutex
	session *Session
	// The newest session that nobody has accepted yet.
	fresh chan *Session
	probe probeCount
}

// New makes a link on the port; Run works it, Accept gives its sessions.
func New(port Port) *Link {
	return &Link{port: port, sender: newSender(port), fresh: make(chan *Session, 1), probe: newProbeCount()}
}

// Run reads the port until it or the context ends, and then closes the port. It returns nil when the context ended.
func (l *Link) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { l.sender.serveHello(stop) })
	closeOnCancel := context.AfterFunc(ctx, func() { _ = l.port.Close() })
	err := l.read()
	closeOnCancel()
	_ = l.port.Close()
	if session := l.swap(nil); session != nil {
		session.end()
	}
	l.sender.shut()
	close(stop)
	helpers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("read the port: %w", err)
}

// Accept waits for the next session; when several came meanwhile it gives the newest, the older ones are over.
func (l *Link) Accept(ctx context.Context) (*Session, error) {
	select {
	case session := <-l.fresh:
		return session, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
	// A stream of its own, so that a cancelled flood does not end the next one.
	stream := newStream(session, Probe)
	stopped := context.AfterFunc(ctx, func() { l.sender.cancel(stream) })
	defer stopped()
	return l.sender.flood(stream, n)
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

// read takes the port's bytes into chunks and parses them there. A payload is passed on as it arrives.
func (l *Link) read() error {
	r := reader{link: l}
	into := newChunk()
	defer func() { into.release() }()
	begin, end := 0, 0
	for {
		n, err := l.port.Read(into.bytes[end:])
		end += n
		if err != nil {
			return err
		}
		begin = r.parse(into, begin, end)
		switch {
		case begin == end && into.holders.Load() == 1:
			begin, end = 0, 0
		case chunkBytes-end < minRoomBytes:
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
		l.sender.begin(epoch)
		return
	}
	session := newSession(l, epoch)
	previous := l.swap(session)
	l.probe.reset()
	l.sender.begin(epoch)
	if previous != nil {
		previous.end()
	}
	select {
	case <-l.fresh:
	default:
	}
	l.fresh <- session
}
