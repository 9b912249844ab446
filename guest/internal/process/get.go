package process

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Get answers with the state of one command.
func (s *Service) Get(ctx context.Context, request *guestv1.GetRequest) (*guestv1.GetResponse, error) {
	p, err := s.find(ctx, request.ProcessId)
	if err != nil {
		return nil, err
	}
	return &guestv1.GetResponse{Process: p.info()}, nil
}
