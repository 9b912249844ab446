package shell

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/process"
)

// Signal sends a signal to the terminal's foreground process group.
func (s *Service) Signal(ctx context.Context, request *guestv1.SignalShellRequest) (*guestv1.SignalShellResponse, error) {
	number := process.SignalNumber(request.Signal)
	if number == 0 {
		return nil, failure.New(failure.InvalidArgument, "use a name such as SIGINT, SIGTERM or SIGKILL",
			"%q is no signal", request.Signal)
	}
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return nil, err
	}
	if found.hasEnded() {
		return nil, hasExited(found.id)
	}
	if err := found.terminal.signal(number); err != nil {
		if isOver(found) {
			return nil, hasExited(found.id)
		}
		return nil, internal("signal the terminal's foreground", err)
	}
	return &guestv1.SignalShellResponse{}, nil
}
