package call

import (
	"context"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Duplex is the caller's side of a BidiStream. One goroutine at a time sends, and one receives.
type Duplex[PQ, PR proto.Message] struct {
	Sends[PQ]
	Receives[PR]
	stream  *Stream
	release func()
}

// OpenDuplex begins a call with its first message; Leave must be called. field is the number of the field that carries
// the bytes of an answer, and data gives its place.
func OpenDuplex[Q, R any, PQ of[Q], PR of[R]](ctx context.Context, peer *Peer, name string, first PQ,
	field protowire.Number, data func(PR) *[]byte,
) (*Duplex[PQ, PR], error) {
	stream, err := peer.Open(ctx, name, first, false)
	if err != nil {
		return nil, err
	}
	messages := &receives[R, PR]{stream: stream, field: field, data: data}
	return &Duplex[PQ, PR]{sends[PQ]{stream}, messages, stream, messages.release}, nil
}

// SendLast sends the last message of this side; what the other side sends still comes.
func (d *Duplex[PQ, PR]) SendLast(message PQ) error { return d.stream.sendLast(message) }

// Cancel makes a waiting Send and Receive return; Leave must follow.
func (d *Duplex[PQ, PR]) Cancel() { d.stream.cancel() }

// Leave ends the caller's part, when nobody sends or receives any more; a call that is not over yet is cancelled.
func (d *Duplex[PQ, PR]) Leave() {
	d.release()
	d.stream.Leave()
}
