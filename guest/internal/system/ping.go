package system

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Ping answers.
func (s *Service) Ping(context.Context, *connect.Request[guestv1.PingRequest]) (*connect.Response[guestv1.PingResponse], error) {
	return connect.NewResponse(&guestv1.PingResponse{}), nil
}
