package link

import (
	"io"
	"net"
	"slices"
	"sync"
)

// A payload up to this size is copied behind its header and sent by one write: a second one would cost another buffer of
// the port's queue and another notification of the host. Above, the copy would cost more.
const oneWriteBytes = 8 * 1024

// sender gives out the port's write side, one frame at a time, to the first of the waiting channels in the order of
// the channels. Writers write in their own goroutine: no queue of ours lies below a channel, so nothing that was
// accepted from a bulk writer can stand before a control frame, except the one frame being written. What the kernel
// and QEMU hold below that is bounded by the windows of HTTP/2 (package h2).
type sender struct {
	port io.Writer

	mu      sync.Mutex
	busy    bool
	epoch   uint32
	broken  error
	waiting [channelCount][]*Stream
	// An answer to HELLO goes before everything else.
	helloDue   bool
	helloReady chan struct{}

	// Belongs to whoever has the turn.
	frame [HeaderBytes + oneWriteBytes]byte
}

func newSender(port io.Writer) *sender {
	return &sender{port: port, helloReady: make(chan struct{}, 1)}
}

// begin makes epoch the current one and asks for its HELLO; older streams send nothing from here on.
func (s *sender) begin(epoch uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch = epoch
	s.helloDue = true
	if !s.busy {
		s.busy = true
		s.wakeHello()
	}
}

func (s *sender) wakeHello() {
	select {
	case s.helloReady <- struct{}{}:
	default:
	}
}

// serveHello answers HELLO whenever that is due; it runs until stop is closed.
func (s *sender) serveHello(stop <-chan struct{}) {
	var frame [HeaderBytes]byte
	for {
		select {
		case <-stop:
			return
		case <-s.helloReady:
		}
		s.mu.Lock()
		s.helloDue = false
		epoch := s.epoch
		s.mu.Unlock()
		header{kind: typeHello, epoch: epoch}.put(frame[:])
		_, err := s.port.Write(frame[:])
		s.release(err)
	}
}

// send writes p in frames of the stream's channel.
func (s *sender) send(stream *Stream, p []byte) (int, error) {
	done := 0
	for done < len(p) {
		if err := s.acquire(stream); err != nil {
			return done, err
		}
		n := min(len(p)-done, MaxPayloadBytes)
		err := s.write(header{typeData, stream.channel, stream.session.epoch, uint32(n)}, p[done:done+n])
		s.release(err)
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// write sends one frame; the caller has the turn.
func (s *sender) write(h header, payload []byte) error {
	h.put(s.frame[:])
	if len(payload) <= oneWriteBytes {
		n := copy(s.frame[HeaderBytes:], payload)
		_, err := s.port.Write(s.frame[:HeaderBytes+n])
		return err
	}
	if _, err := s.port.Write(s.frame[:HeaderBytes]); err != nil {
		return err
	}
	_, err := s.port.Write(payload)
	return err
}

// flood sends n zero bytes on the stream's channel without a copy: the floor that benchmarks compare with.
func (s *sender) flood(stream *Stream, n uint64) error {
	frame := make([]byte, HeaderBytes+MaxPayloadBytes)
	for n > 0 {
		length := min(n, MaxPayloadBytes)
		header{typeData, stream.channel, stream.session.epoch, uint32(length)}.put(frame)
		if err := s.acquire(stream); err != nil {
			return err
		}
		_, err := s.port.Write(frame[:HeaderBytes+length])
		s.release(err)
		if err != nil {
			return err
		}
		n -= length
	}
	return nil
}

// usable tells, with s.mu held, whether the stream may send.
func (s *sender) usable(stream *Stream) error {
	switch {
	case s.broken != nil:
		return s.broken
	case stream.cancelled || stream.session.epoch != s.epoch:
		return net.ErrClosed
	default:
		return nil
	}
}

// acquire waits for the stream's turn. A stream whose epoch is over gets net.ErrClosed.
func (s *sender) acquire(stream *Stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(stream); err != nil || !s.busy {
		s.busy = s.busy || err == nil
		return err
	}
	s.waiting[stream.channel] = append(s.waiting[stream.channel], stream)
	s.mu.Unlock()
	granted := <-stream.turn
	s.mu.Lock()
	err := s.usable(stream)
	if err != nil && granted {
		s.pass()
	}
	return err
}

// release ends a turn; err is what the port said.
func (s *sender) release(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && s.broken == nil {
		s.broken = err
	}
	s.pass()
}

// pass gives the turn, with s.mu held, to the first who waits.
func (s *sender) pass() {
	if s.helloDue && s.broken == nil {
		s.wakeHello()
		return
	}
	for channel := range s.waiting {
		if queue := s.waiting[channel]; len(queue) > 0 {
			next := queue[0]
			s.waiting[channel] = slices.Delete(queue, 0, 1)
			next.turn <- true
			return
		}
	}
	s.busy = false
}

// cancel ends the stream's right to send, and its wait for a turn. A frame that is being written is written.
func (s *sender) cancel(stream *Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stream.cancelled = true
	queue := s.waiting[stream.channel]
	if at := slices.Index(queue, stream); at >= 0 {
		s.waiting[stream.channel] = slices.Delete(queue, at, at+1)
		stream.turn <- false
	}
}

// shut ends all waits: nothing more can be sent on this port.
func (s *sender) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = net.ErrClosed
	}
	for channel, queue := range s.waiting {
		for _, stream := range queue {
			stream.turn <- false
		}
		s.waiting[channel] = nil
	}
}
