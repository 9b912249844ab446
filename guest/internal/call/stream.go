package call

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/link"
)

// Stream is one side of one call. One goroutine at a time sends, and one receives.
type Stream struct {
	peer *Peer
	id   uint32
	// Ends with the call's deadline, the peer's cancel, and the epoch.
	ctx    context.Context
	cancel context.CancelFunc

	inbox inbox

	// Bytes of messages that may be sent; below zero by less than a frame.
	credit atomic.Int64
	// Has room for one: there is credit again, or the peer wants no more.
	paid chan struct{}
	// The peer takes nothing any more.
	refused atomic.Bool
	// This side has said that it has no more.
	saidLast bool
}

// newStream makes a call's side; timeout 0 is none.
func newStream(ctx context.Context, peer *Peer, id uint32, timeout time.Duration) *Stream {
	s := &Stream{peer: peer, id: id, inbox: newInbox(peer.window), paid: make(chan struct{}, 1)}
	s.credit.Store(int64(peer.window.bytes))
	if timeout > 0 {
		s.ctx, s.cancel = context.WithTimeout(ctx, timeout)
	} else {
		s.ctx, s.cancel = context.WithCancel(ctx)
	}
	return s
}

// buffers are for messages that are sent: room for the headers, and a chunk with what is around it.
var buffers atomic.Pointer[sync.Pool]

// ForgetBuffers lets go of the buffers that are not in use, and of those that are as soon as they are not.
func ForgetBuffers() { buffers.Store(nil) }

func bufferPool() *sync.Pool {
	pool := buffers.Load()
	if pool == nil {
		pool = &sync.Pool{New: func() any {
			b := make([]byte, 0, roomBytes+maxBodyBytes)
			return &b
		}}
		buffers.Store(pool)
	}
	return pool
}

// Receive reads the next message into m. io.EOF: there is none. The peer's error, or the context's, ends the call.
func (s *Stream) Receive(m proto.Message) error {
	packet, err := s.next()
	if err != nil {
		return err
	}
	defer packet.Release()
	return decode(packet.Bytes, m)
}

func decode(bytes []byte, m proto.Message) error {
	if err := proto.Unmarshal(bytes, m); err != nil {
		return failure.OfWire(failure.InvalidMessage, "a message that is no %s: %v", m.ProtoReflect().Descriptor().Name(), err)
	}
	return nil
}

// next waits for the next message; the caller releases it.
func (s *Stream) next() (link.Packet, error) {
	for {
		packet, ok, due, ended := s.inbox.take()
		if due > 0 {
			if err := s.sendCredit(due); err != nil {
				packet.Release()
				return link.Packet{}, err
			}
		}
		if ok {
			return packet, nil
		}
		if ended != nil {
			return link.Packet{}, ended
		}
		select {
		case <-s.inbox.changed:
		case <-s.ctx.Done():
			return link.Packet{}, s.ctx.Err()
		}
	}
}

// Send sends one message, and waits for credit as long as there is none. io.EOF: the peer wants no more of them.
func (s *Stream) Send(m proto.Message) error { return s.send(m, packet{kind: kindMessage}, "") }

// sendLast sends the last one. Of a callee it is also the call's end.
func (s *Stream) sendLast(m proto.Message) error {
	s.saidLast = true
	return s.send(m, packet{kind: kindMessage, flags: flagLast}, "")
}

// send sends m in as many packets as it takes; first is the first of them, and a CALL has a name, and perhaps no m.
func (s *Stream) send(m proto.Message, first packet, name string) error {
	home := bufferPool()
	pooled := home.Get().(*[]byte)
	buffer := (*pooled)[:roomBytes]
	defer func() {
		// What was said, output with secrets in it too, stays in no buffer that waits for the next message.
		clear(buffer)
		home.Put(pooled)
	}()
	if first.kind == kindCall {
		buffer = binary.BigEndian.AppendUint32(buffer, s.deadline())
		buffer = append(buffer, name...)
	}
	if m != nil {
		var err error
		if buffer, err = (proto.MarshalOptions{}).MarshalAppend(buffer, m); err != nil {
			return failure.OfWire(failure.Broken, "a message cannot be encoded: %v", err)
		}
		if len(buffer) > maxMessageBytes {
			return failure.OfWire(failure.ResourceExhausted, "a message of more than %d bytes", maxMessageBytes)
		}
	}
	if cap(buffer) <= 4*(roomBytes+maxBodyBytes) {
		*pooled = buffer[:0]
	}
	p := first
	p.id, p.nameLength = s.id, uint16(len(name))
	last := p.flags & flagLast
	// Each packet's headers go where the one before it has been sent from.
	for begin := 0; ; {
		end := min(begin+roomBytes+maxBodyBytes, len(buffer))
		p.flags = p.flags&^(flagLast|flagMore) | last
		if end < len(buffer) {
			p.flags = p.flags&^flagLast | flagMore
		}
		if p.kind == kindMessage {
			if err := s.pay(end - begin - roomBytes); err != nil {
				return err
			}
		}
		p.put(buffer[begin+roomBytes-headerBytes:])
		if err := s.sendFrame(buffer[begin:end]); err != nil {
			return err
		}
		if end == len(buffer) {
			return nil
		}
		begin = end - roomBytes
		p.kind, p.flags, p.nameLength = kindMessage, 0, 0
	}
}

// sendChunk sends the message that was begun in the chunk, with n bytes.
func (s *Stream) sendChunk(c *Chunk, n int) error {
	frame := c.end(n)
	if err := s.pay(len(frame) - roomBytes); err != nil {
		return err
	}
	packet{kind: kindMessage, id: s.id}.put(frame[roomBytes-headerBytes:])
	return s.sendFrame(frame)
}

func (s *Stream) sendFrame(frame []byte) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	if err := s.peer.out.Send(frame); err != nil {
		return failure.OfWire(failure.Unavailable, "the connection is over: %w", err)
	}
	return nil
}

// pay waits for credit and takes the bytes off it.
func (s *Stream) pay(bytes int) error {
	for s.credit.Load() <= 0 {
		if s.refused.Load() {
			return io.EOF
		}
		select {
		case <-s.paid:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	if s.refused.Load() {
		return io.EOF
	}
	s.credit.Add(-int64(s.peer.window.cost(bytes)))
	return nil
}

// earn notes credit from the peer. Called by the reader.
func (s *Stream) earn(bytes uint32) {
	s.credit.Add(int64(bytes))
	s.wakeSender()
}

func (s *Stream) refuse() {
	s.refused.Store(true)
	s.wakeSender()
}

func (s *Stream) wakeSender() {
	select {
	case s.paid <- struct{}{}:
	default:
	}
}

func (s *Stream) sendCredit(bytes int) error {
	var body [4]byte
	binary.BigEndian.PutUint32(body[:], uint32(bytes))
	return s.sendBare(packet{kind: kindCredit, id: s.id}, body[:])
}

// sendEnd ends the call from the callee's side.
func (s *Stream) sendEnd(err error) error {
	status := failure.Status(err)
	body, marshalErr := proto.Marshal(status)
	if marshalErr != nil || len(body) > maxBodyBytes {
		body, _ = proto.Marshal(&guestv1.Status{Code: status.Code, Message: "an error too long to tell"})
	}
	return s.sendBare(packet{kind: kindEnd, id: s.id}, body)
}

func (s *Stream) sendBare(p packet, body []byte) error {
	frame := make([]byte, roomBytes+len(body))
	p.put(frame[roomBytes-headerBytes:])
	copy(frame[roomBytes:], body)
	if err := s.peer.out.Send(frame); err != nil {
		return failure.OfWire(failure.Unavailable, "the connection is over: %w", err)
	}
	return nil
}

// deadline is what is left of the call's time, in milliseconds; 0 where it has no bound.
func (s *Stream) deadline() uint32 {
	at, ok := s.ctx.Deadline()
	if !ok {
		return 0
	}
	return remainingMilliseconds(at)
}
