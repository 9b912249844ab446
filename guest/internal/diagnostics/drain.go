package diagnostics

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Drain waits for bytes on the probe channel and gives their count.
func (s *Service) Drain(ctx context.Context, request *connect.Request[guestv1.DrainRequest]) (*connect.Response[guestv1.DrainResponse], error) {
	if s.probe == nil {
		return nil, noLink()
	}
	n, err := s.probe.DrainProbe(ctx, request.Msg.ExpectBytes)
	if err != nil {
		return nil, failure.From(err)
	}
	return connect.NewResponse(&guestv1.DrainResponse{Bytes: n}), nil
}
