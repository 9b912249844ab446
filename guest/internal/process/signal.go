package process

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Signal sends a signal to the command's process group or to its whole tree; to a command that has ended it does nothing.
func (s *Service) Signal(ctx context.Context, request *connect.Request[guestv1.SignalRequest]) (*connect.Response[guestv1.SignalResponse], error) {
	number := signalNumber(request.Msg.Signal)
	if number == 0 {
		return nil, failure.New(failure.InvalidArgument, "use a name such as SIGINT, SIGTERM or SIGKILL",
			"%q is no signal", request.Msg.Signal)
	}
	p, err := s.find(ctx, request.Msg.ProcessId)
	if err != nil {
		return nil, err
	}
	send := p.task.SignalGroup
	if request.Msg.WholeTree {
		send = p.task.SignalTree
	}
	if err := send(number); err != nil {
		return nil, internal("signal the command", err)
	}
	return connect.NewResponse(&guestv1.SignalResponse{}), nil
}
