package shell

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Rewrite puts other bytes in the place of what is kept of the output of a shell that has exited.
func (s *Service) Rewrite(ctx context.Context, request *guestv1.RewriteShellRequest) (*guestv1.RewriteShellResponse, error) {
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return nil, err
	}
	if !found.hasEnded() {
		return nil, failure.New(failure.ShellNotFound, "list the shells that there are", "no shell %q has exited", request.ShellId)
	}
	found.output.Rewrite(request.Offset, request.Data)
	return &guestv1.RewriteShellResponse{}, nil
}
