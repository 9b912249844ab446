package system

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Ping answers.
func (s *Service) Ping(context.Context, *guestv1.PingRequest) (*guestv1.PingResponse, error) {
	return &guestv1.PingResponse{}, nil
}
