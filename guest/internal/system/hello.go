package system

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Hello says who is there and what it can do.
func (s *Service) Hello(ctx context.Context, _ *connect.Request[guestv1.HelloRequest]) (*connect.Response[guestv1.HelloResponse], error) {
	return connect.NewResponse(&guestv1.HelloResponse{
		AgentVersion:  s.options.AgentVersion,
		Capabilities:  s.options.Capabilities,
		Epoch:         s.options.Epoch(ctx),
		KernelRelease: s.options.KernelRelease,
		Boot:          s.options.Boot(),
	}), nil
}
