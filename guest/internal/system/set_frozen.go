package system

import (
	"context"
	"errors"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/workload"
)

// SetFrozen freezes or thaws all commands; it returns when that is done.
func (s *Service) SetFrozen(ctx context.Context, request *guestv1.SetFrozenRequest) (*guestv1.SetFrozenResponse, error) {
	err := s.options.Workload.SetFrozen(ctx, request.Frozen)
	if errors.Is(err, workload.ErrCannotFreeze) {
		return nil, failure.New(failure.InvalidArgument, "use a machine", "%v", err)
	}
	if err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.SetFrozenResponse{}, nil
}
