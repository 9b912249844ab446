package supervisor

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// RewriteLogs puts other bytes in the place of what is kept of the output of a service that has ended.
func (s *Service) RewriteLogs(_ context.Context, request *guestv1.RewriteLogsRequest) (*guestv1.RewriteLogsResponse, error) {
	known, err := s.find(request.Name)
	if err != nil {
		return nil, err
	}
	if info := s.info(known); info.StartId != request.StartId || isAlive(info.State) {
		return nil, failure.New(failure.ServiceNotFound, "list the services that there are",
			"no service with the name %q has ended as %q", request.Name, request.StartId)
	}
	for _, chunk := range request.Chunks {
		if chunk.Stream == guestv1.OutputStream_OUTPUT_STREAM_STDERR {
			known.launched.Stderr.Rewrite(chunk.Offset, chunk.Data)
		} else {
			known.launched.Stdout.Rewrite(chunk.Offset, chunk.Data)
		}
	}
	return &guestv1.RewriteLogsResponse{}, nil
}
