package diagnostics

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

// Source sends zero bytes as the messages of a call.
func (s *Service) Source(_ context.Context, request *guestv1.SourceRequest, stream call.Sends[*guestv1.SourceResponse]) error {
	chunk := call.NewChunk(1)
	for left := request.Bytes; left > 0; {
		room, err := chunk.Begin(&guestv1.SourceResponse{})
		if err != nil {
			return failure.From(err)
		}
		n := min(left, uint64(len(room)))
		if err := stream.SendChunk(chunk, int(n)); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

// Sink counts the bytes of a call's messages.
func (s *Service) Sink(_ context.Context, stream call.Receives[*guestv1.SinkRequest]) (*guestv1.SinkResponse, error) {
	response := &guestv1.SinkResponse{}
	for stream.Receive() {
		response.Bytes += uint64(len(stream.Msg().Data))
	}
	return response, stream.Err()
}
