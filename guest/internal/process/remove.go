package process

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Remove ends what lives of a command and forgets it; one that is not known is gone already.
func (s *Service) Remove(ctx context.Context, request *connect.Request[guestv1.RemoveRequest]) (*connect.Response[guestv1.RemoveResponse], error) {
	p, err := s.find(ctx, request.Msg.ProcessId)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return connect.NewResponse(&guestv1.RemoveResponse{}), nil
	}
	if err := p.remove(ctx); err != nil {
		return nil, internal("remove the command", err)
	}
	return connect.NewResponse(&guestv1.RemoveResponse{}), nil
}
