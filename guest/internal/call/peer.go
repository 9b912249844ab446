package call

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
)

// maxCalls bounds the calls of one channel that run at once.
const maxCalls = 256

// Sender sends frames; the first bytes of each are the link's (link.Sender).
type Sender interface{ Send(frame []byte) error }

// Peer is one side of one channel in one epoch. It serves the methods it was made with, and calls the other side's;
// on each channel only one side calls.
type Peer struct {
	ctx     context.Context
	stop    context.CancelFunc
	out     Sender
	methods Methods
	log     guard.Log
	workers *workers
	// Of each call.
	window window

	mu     sync.Mutex
	calls  map[uint32]*Stream
	nextID uint32
	closed bool
	// The handlers that run.
	running sync.WaitGroup
}

// NewPeer makes a peer that sends by out; give Deliver what arrives, and Close it. methods may be nil.
func NewPeer(ctx context.Context, out Sender, methods Methods, log guard.Log) *Peer {
	p := &Peer{out: out, methods: methods, log: log, workers: newWorkers(), window: usualWindow, calls: make(map[uint32]*Stream)}
	p.ctx, p.stop = context.WithCancel(ctx)
	return p
}

// NewGatewayCaller makes a peer that calls the host's gateway, on the network channel: of each call less is sent ahead, both ways
// (proto/LINK.md, Calls, 8).
func NewGatewayCaller(ctx context.Context, out Sender, log guard.Log) *Peer {
	p := NewPeer(ctx, out, nil, log)
	p.window = gatewayWindow
	return p
}

// Close ends all calls, and waits for the handlers.
func (p *Peer) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.running.Wait()
	p.workers.close()
}

// Deliver acts on one packet. It is a link.Receiver: it neither waits nor sends. An error is a broken rule.
func (p *Peer) Deliver(raw link.Packet) error {
	packet, err := parse(raw.Bytes)
	if err != nil {
		return err
	}
	p.mu.Lock()
	stream := p.calls[packet.id]
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil
	}
	if packet.kind == kindCall {
		if stream != nil || p.methods == nil {
			return fmt.Errorf("a call that cannot be: id %d", packet.id)
		}
		return p.accept(packet, raw)
	}
	if stream == nil {
		return nil
	}
	switch packet.kind {
	case kindMessage:
		// A callee's last message is its answer: it takes nothing more.
		if packet.flags&flagLast != 0 && p.methods == nil {
			stream.refuse()
		}
		return stream.inbox.add(raw.From(headerBytes), packet.flags, true)
	case kindEnd:
		return stream.peerEnded(packet.body, p.methods != nil)
	case kindCredit:
		stream.earn(binary.BigEndian.Uint32(packet.body))
	case kindCancel:
		stream.cancel()
	}
	return nil
}

// peerEnded notes an END: from a caller that it has no more, from a callee how the call went.
func (s *Stream) peerEnded(body []byte, fromCaller bool) error {
	if fromCaller {
		if len(body) != 0 {
			return errors.New("a caller's end with bytes")
		}
		s.inbox.end(io.EOF)
		return nil
	}
	var status guestv1.Status
	if err := proto.Unmarshal(body, &status); err != nil {
		return fmt.Errorf("an end that is no status: %w", err)
	}
	err := failure.OfStatus(&status)
	if err == nil {
		err = io.EOF
	}
	s.inbox.end(err)
	s.refuse()
	return nil
}

// accept begins to serve a call.
func (p *Peer) accept(packet packet, raw link.Packet) error {
	timeout := time.Duration(binary.BigEndian.Uint32(packet.body)) * time.Millisecond
	name := string(packet.body[deadlineSize : deadlineSize+int(packet.nameLength)])
	stream := newStream(p.ctx, p, packet.id, timeout)
	switch {
	case packet.flags&flagWithMessage != 0:
		first := raw.From(headerBytes + deadlineSize + int(packet.nameLength))
		if err := stream.inbox.add(first, packet.flags&^flagWithMessage, false); err != nil {
			stream.cancel()
			return err
		}
	case packet.flags&flagLast != 0:
		stream.inbox.end(io.EOF)
	}
	method := p.methods[name]
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		stream.cancel()
		return nil
	}
	if len(p.calls) >= maxCalls {
		method = func(context.Context, *Stream) error {
			return failure.OfWire(failure.ResourceExhausted, "more than %d calls at once", maxCalls)
		}
	} else {
		p.calls[packet.id] = stream
	}
	p.running.Add(1)
	p.mu.Unlock()
	p.workers.run(func() {
		defer p.running.Done()
		p.serve(name, method, stream)
	})
	return nil
}

// serve runs a method to its end and tells the caller, unless it has left.
func (p *Peer) serve(name string, method Method, stream *Stream) {
	defer p.forget(stream)
	err := p.run(name, method, stream)
	if errors.Is(stream.ctx.Err(), context.Canceled) || err == nil && stream.saidLast {
		return
	}
	if ended := stream.ctx.Err(); ended != nil && err != nil {
		err = ended
	}
	_ = stream.sendEnd(err)
}

func (p *Peer) run(name string, method Method, stream *Stream) (err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			p.log.Printf("panic in %s: %v\n%s", name, recovered, debug.Stack())
			err = failure.From(fmt.Errorf("%s failed inside: %v", name, recovered))
		}
	}()
	if method == nil {
		return failure.OfWire(failure.Unimplemented, "there is no method %q", name)
	}
	return method(stream.ctx, stream)
}

func (p *Peer) forget(stream *Stream) {
	p.mu.Lock()
	if p.calls[stream.id] == stream {
		delete(p.calls, stream.id)
	}
	p.mu.Unlock()
	stream.cancel()
	stream.inbox.close()
}

// Open begins a call; Leave must be called. message may be nil; last tells that there will be no other.
func (p *Peer) Open(ctx context.Context, name string, message proto.Message, last bool) (*Stream, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, failure.OfWire(failure.Unavailable, "the connection is over")
	}
	p.nextID++
	stream := newStream(ctx, p, p.nextID, 0)
	p.calls[stream.id] = stream
	p.mu.Unlock()
	stop := context.AfterFunc(p.ctx, stream.cancel)
	context.AfterFunc(stream.ctx, func() { stop() })
	first := packet{kind: kindCall}
	if last {
		first.flags |= flagLast
	}
	if message != nil {
		first.flags |= flagWithMessage
	}
	if err := stream.send(message, first, name); err != nil {
		p.forget(stream)
		return nil, err
	}
	return stream, nil
}

// CloseSend says that the caller has no more messages.
func (s *Stream) CloseSend() error { return s.sendBare(packet{kind: kindEnd, id: s.id}, nil) }

// Leave ends the caller's part; a call that is not over yet is cancelled.
func (s *Stream) Leave() {
	s.inbox.mu.Lock()
	over := s.inbox.ended != nil
	s.inbox.mu.Unlock()
	s.peer.forget(s)
	if !over {
		_ = s.sendBare(packet{kind: kindCancel, id: s.id}, nil)
	}
}

// Call makes a call of one message each way.
func (p *Peer) Call(ctx context.Context, name string, request, response proto.Message) error {
	stream, err := p.Open(ctx, name, request, true)
	if err != nil {
		return err
	}
	defer stream.Leave()
	if err := stream.Receive(response); err != nil {
		if err == io.EOF {
			return failure.OfWire(failure.Broken, "an answer without a message")
		}
		return err
	}
	return nil
}

func remainingMilliseconds(at time.Time) uint32 {
	left := time.Until(at).Milliseconds()
	return uint32(min(max(left, 1), math.MaxUint32))
}
