package system

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Hello says who is there and what it can do.
func (s *Service) Hello(ctx context.Context, _ *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	return &guestv1.HelloResponse{
		AgentVersion:  s.options.AgentVersion,
		Capabilities:  s.options.Capabilities,
		Epoch:         s.options.Epoch(ctx),
		KernelRelease: s.options.KernelRelease,
		Boot:          s.options.Boot(),
	}, nil
}
