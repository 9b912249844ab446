package process

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Signal sends a signal to the command's process group or to its whole tree; to a command that has ended it does nothing.
func (s *Service) Signal(ctx context.Context, request *guestv1.SignalRequest) (*guestv1.SignalResponse, error) {
	number := SignalNumber(request.Signal)
	if number == 0 {
		return nil, failure.New(failure.InvalidArgument, "use a name such as SIGINT, SIGTERM or SIGKILL",
			"%q is no signal", request.Signal)
	}
	p, err := s.find(ctx, request.ProcessId)
	if err != nil {
		return nil, err
	}
	send := p.task.SignalGroup
	if request.WholeTree {
		send = p.task.SignalTree
	}
	if err := send(number); err != nil {
		return nil, internal("signal the command", err)
	}
	return &guestv1.SignalResponse{}, nil
}
