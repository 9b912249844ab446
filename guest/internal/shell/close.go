package shell

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Close ends a shell with all that came of it, and forgets it.
func (s *Service) Close(ctx context.Context, request *guestv1.CloseShellRequest) (*guestv1.CloseShellResponse, error) {
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return nil, err
	}
	if err := found.close(ctx, milliseconds(request.GraceMs)); err != nil {
		return nil, internal("close the shell", err)
	}
	return &guestv1.CloseShellResponse{Shell: found.info()}, nil
}

// List answers with all shells that were opened and not closed.
func (s *Service) List(context.Context, *guestv1.ListShellsRequest) (*guestv1.ListShellsResponse, error) {
	response := &guestv1.ListShellsResponse{}
	for _, each := range s.all() {
		select {
		case <-each.opened:
			if each.openErr == nil {
				response.Shells = append(response.Shells, each.info())
			}
		default:
		}
	}
	return response, nil
}
