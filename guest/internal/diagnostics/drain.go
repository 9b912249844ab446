package diagnostics

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Drain waits for bytes on the probe channel and gives their count.
func (s *Service) Drain(ctx context.Context, request *guestv1.DrainRequest) (*guestv1.DrainResponse, error) {
	if s.probe == nil {
		return nil, noLink()
	}
	n, err := s.probe.DrainProbe(ctx, request.ExpectBytes)
	if err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.DrainResponse{Bytes: n}, nil
}
