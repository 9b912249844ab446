package process

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Get answers with the state of one command.
func (s *Service) Get(ctx context.Context, request *connect.Request[guestv1.GetRequest]) (*connect.Response[guestv1.GetResponse], error) {
	p, err := s.find(ctx, request.Msg.ProcessId)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&guestv1.GetResponse{Process: p.info()}), nil
}
