package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// MaxUnreadBytes bounds what a channel holds for a reader that does not read (proto/LINK.md, rule 7).
const MaxUnreadBytes = 32 * 1024 * 1024

var errUnread = errors.New("a channel holds more than 32 MiB unread")

// Stream is one channel of one session: a net.Conn without deadlines, which HTTP/2 needs on no path used here.
type Stream struct {
	session *Session
	channel Channel

	// Serialises writers; the sender's turn is taken per frame, below it.
	writing sync.Mutex
	turn    chan bool
	// Guarded by the sender's lock.
	cancelled bool

	mu       sync.Mutex
	arrived  sync.Cond
	segments segmentQueue
	unread   int
	closed   bool
}

func newStream(session *Session, channel Channel) *Stream {
	s := &Stream{session: session, channel: channel, turn: make(chan bool, 1)}
	s.arrived.L = &s.mu
	return s
}

// Read waits for bytes; it ends with io.EOF when the epoch does.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unread == 0 {
		if s.closed {
			return 0, io.EOF
		}
		s.arrived.Wait()
	}
	n := s.segments.read(p)
	s.unread -= n
	return n, nil
}

// Write sends p as frames, each when it is the channel's turn; it returns when the port has taken them.
func (s *Stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.session.link.sender.send(s, p)
}

// Close ends this stream on this side only; the epoch goes on.
func (s *Stream) Close() error {
	s.mu.Lock()
	s.closed = true
	s.unread = 0
	s.segments.drop()
	s.mu.Unlock()
	s.arrived.Broadcast()
	s.session.link.sender.cancel(s)
	return nil
}

// receive takes over n bytes of the chunk. Called by the port's reader alone.
func (s *Stream) receive(from *chunk, offset, n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if s.unread+n > MaxUnreadBytes {
		return fmt.Errorf("channel %d: %w", s.channel, errUnread)
	}
	s.segments.add(from, offset, n)
	if s.unread == 0 {
		s.arrived.Signal()
	}
	s.unread += n
	return nil
}

type address Channel

func (a address) Network() string { return "link" }
func (a address) String() string  { return [...]string{"control", "event", "bulk", "probe"}[a] }

// LocalAddr names the channel.
func (s *Stream) LocalAddr() net.Addr { return address(s.channel) }

// RemoteAddr names the channel.
func (s *Stream) RemoteAddr() net.Addr { return address(s.channel) }

// SetDeadline does nothing: a stream ends with its epoch, and calls bring deadlines of their own.
func (s *Stream) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *Stream) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *Stream) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*Stream)(nil)
