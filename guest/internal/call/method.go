package call

import (
	"context"
	"io"
	"maps"

	"google.golang.org/protobuf/proto"

	"pyro/guest/internal/failure"
)

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

// ClientStream makes a method of a function that answers many messages with one.
func ClientStream[Q, R any, PQ of[Q], PR of[R]](serve func(context.Context, Receives[PQ]) (PR, error)) Method {
	return func(ctx context.Context, stream *Stream) error {
		response, err := serve(ctx, &receives[Q, PQ]{stream: stream})
		if err != nil {
			return err
		}
		return stream.sendLast(response)
	}
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
type Sends[R proto.Message] interface{ Send(message R) error }

type sends[R proto.Message] struct{ stream *Stream }

func (s sends[R]) Send(message R) error { return s.stream.Send(message) }

// Receives gives the messages of a stream, one after the other.
type Receives[Q proto.Message] interface {
	// Receive waits for the next message; false when there is none, and then Err tells why.
	Receive() bool
	// Msg is the message that Receive received.
	Msg() Q
	// Err is nil when the stream came to its end.
	Err() error
}

type receives[Q any, PQ of[Q]] struct {
	stream  *Stream
	message PQ
	err     error
}

func (r *receives[Q, PQ]) Receive() bool {
	r.message = PQ(new(Q))
	r.err = r.stream.Receive(r.message)
	return r.err == nil
}

func (r *receives[Q, PQ]) Msg() PQ { return r.message }

func (r *receives[Q, PQ]) Err() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}
