package call

import (
	"context"
	"errors"
	"io"
	"maps"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"pyro/guest/internal/failure"
	"pyro/guest/internal/link"
)

var errStopped = errors.New("the method has stopped its streams")

// Method serves one call.
type Method func(ctx context.Context, stream *Stream) error

// Methods by their names on the wire, such as pyro.guest.v1.SystemService/Ping.
type Methods map[string]Method

// Join puts the methods of several services together.
func Join(services ...Methods) Methods {
	all := make(Methods)
	for _, methods := range services {
		maps.Copy(all, methods)
	}
	return all
}

// of is a pointer to a message struct.
type of[M any] interface {
	*M
	proto.Message
}

// Unary makes a method of a function of one message each way.
func Unary[Q, R any, PQ of[Q], PR of[R]](serve func(context.Context, PQ) (PR, error)) Method {
	return func(ctx context.Context, stream *Stream) error {
		request := PQ(new(Q))
		if err := stream.receiveOne(request); err != nil {
			return err
		}
		response, err := serve(ctx, request)
		if err != nil {
			return err
		}
		return stream.sendLast(response)
	}
}

// ServerStream makes a method of a function that answers one message with many.
func ServerStream[Q, R any, PQ of[Q], PR of[R]](serve func(context.Context, PQ, Sends[PR]) error) Method {
	return func(ctx context.Context, stream *Stream) error {
		request := PQ(new(Q))
		if err := stream.receiveOne(request); err != nil {
			return err
		}
		return serve(ctx, request, sends[PR]{stream})
	}
}

// ClientStream makes a method of a function that answers many messages with one. The messages are a stream of bytes:
// field is the number of the field that carries them, and data gives its place in a message.
func ClientStream[Q, R any, PQ of[Q], PR of[R]](serve func(context.Context, Receives[PQ]) (PR, error),
	field protowire.Number, data func(PQ) *[]byte,
) Method {
	return func(ctx context.Context, stream *Stream) error {
		messages := &receives[Q, PQ]{stream: stream, field: field, data: data}
		defer messages.release()
		response, err := serve(ctx, messages)
		if err != nil {
			return err
		}
		return stream.sendLast(response)
	}
}

// BidiStream makes a method of a function with many messages each way, streams of bytes as those of ClientStream. It
// answers with success when the function returns nil; by then nobody may send or receive any more.
func BidiStream[Q, R any, PQ of[Q], PR of[R]](serve func(context.Context, Both[PQ, PR]) error,
	field protowire.Number, data func(PQ) *[]byte,
) Method {
	return func(ctx context.Context, stream *Stream) error {
		messages := &receives[Q, PQ]{stream: stream, field: field, data: data}
		defer messages.release()
		return serve(ctx, both[Q, R, PQ, PR]{messages, sends[PR]{stream}})
	}
}

// Both are the streams of a BidiStream. One goroutine at a time receives, and one sends.
type Both[Q, R proto.Message] interface {
	Receives[Q]
	Sends[R]
	// Stop ends a waiting Receive and Send, and those to come.
	Stop()
}

type both[Q, R any, PQ of[Q], PR of[R]] struct {
	*receives[Q, PQ]
	sends[PR]
}

func (b both[Q, R, PQ, PR]) Stop() {
	b.receives.stream.inbox.end(errStopped)
	b.receives.stream.refuse()
}

// receiveOne receives the only message of a request.
func (s *Stream) receiveOne(m proto.Message) error {
	err := s.Receive(m)
	if err == io.EOF {
		return failure.OfWire(failure.InvalidMessage, "a call without its message")
	}
	return err
}

// Sends takes the messages of a stream, from one goroutine at a time. It is done with a message when it returns.
type Sends[R proto.Message] interface {
	Send(message R) error
	// SendLast sends the last one, which also ends the call well: nothing else may be sent, and nil be returned.
	SendLast(message R) error
	// SendChunk sends the message that was begun in the chunk, with n bytes in its room.
	SendChunk(chunk *Chunk, n int) error
}

type sends[R proto.Message] struct{ stream *Stream }

func (s sends[R]) Send(message R) error                { return s.stream.Send(message) }
func (s sends[R]) SendLast(message R) error            { return s.stream.sendLast(message) }
func (s sends[R]) SendChunk(chunk *Chunk, n int) error { return s.stream.sendChunk(chunk, n) }

// Receives gives the messages of a stream, one after the other.
type Receives[Q proto.Message] interface {
	// Receive waits for the next message; false when there is none, and then Err tells why.
	Receive() bool
	// Msg is the message that Receive received. Its bytes are good until the next Receive.
	Msg() Q
	// Err is nil when the stream came to its end.
	Err() error
}

type receives[Q any, PQ of[Q]] struct {
	stream  *Stream
	field   protowire.Number
	data    func(PQ) *[]byte
	message PQ
	packet  link.Packet
	err     error
}

func (r *receives[Q, PQ]) Receive() bool {
	r.release()
	r.message = PQ(new(Q))
	r.err = r.receive()
	return r.err == nil
}

func (r *receives[Q, PQ]) receive() error {
	packet, err := r.stream.next()
	if err != nil {
		return err
	}
	r.packet = packet
	data, rest, err := cut(packet.Bytes, r.field)
	if err != nil {
		return failure.OfWire(failure.InvalidMessage, "a message cannot be read: %v", err)
	}
	if len(rest) > 0 {
		if err := decode(rest, r.message); err != nil {
			return err
		}
	}
	// A message without bytes may be another part of a oneof.
	if data != nil {
		*r.data(r.message) = data
	}
	return nil
}

func (r *receives[Q, PQ]) release() {
	r.packet.Release()
	r.packet = link.Packet{}
}

func (r *receives[Q, PQ]) Msg() PQ { return r.message }

func (r *receives[Q, PQ]) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}
