package process

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Remove ends what lives of a command and forgets it; one that is not known is gone already.
func (s *Service) Remove(ctx context.Context, request *guestv1.RemoveRequest) (*guestv1.RemoveResponse, error) {
	p, err := s.find(ctx, request.ProcessId)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return &guestv1.RemoveResponse{}, nil
	}
	if err := p.remove(ctx); err != nil {
		return nil, internal("remove the command", err)
	}
	return &guestv1.RemoveResponse{}, nil
}
