package link

import (
	"net"
	"sync"
)

// Session is one epoch: the time between two connections of the host.
type Session struct {
	link    *Link
	epoch   uint32
	streams [channelCount]*Stream
	done    chan struct{}
	ended   sync.Once
}

func newSession(link *Link, epoch uint32) *Session {
	s := &Session{link: link, epoch: epoch, done: make(chan struct{})}
	for channel := range s.streams {
		s.streams[channel] = newStream(s, Channel(channel))
	}
	return s
}

// Epoch is the number that the host chose for this connection.
func (s *Session) Epoch() uint32 { return s.epoch }

// Control carries the host's small calls; the host is the HTTP/2 client.
func (s *Session) Control() net.Conn { return s.streams[Control] }

// Event carries the agent's calls; the agent is the HTTP/2 client.
func (s *Session) Event() net.Conn { return s.streams[Event] }

// Bulk carries the host's streams; the host is the HTTP/2 client.
func (s *Session) Bulk() net.Conn { return s.streams[Bulk] }

// Done is closed when the epoch is over: the host came back with another, or the port is gone.
func (s *Session) Done() <-chan struct{} { return s.done }

func (s *Session) end() {
	s.ended.Do(func() {
		close(s.done)
		for _, stream := range s.streams {
			_ = stream.Close()
		}
	})
}
