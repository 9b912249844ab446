package diagnostics

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Flood sends zero bytes on the probe channel as fast as it takes them.
func (s *Service) Flood(ctx context.Context, request *guestv1.FloodRequest) (*guestv1.FloodResponse, error) {
	if s.probe == nil {
		return nil, noLink()
	}
	if err := s.probe.FloodProbe(ctx, request.Bytes); err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.FloodResponse{}, nil
}

func noLink() error {
	return failure.New(failure.InvalidArgument, "use a machine", "this agent has no framed link")
}
