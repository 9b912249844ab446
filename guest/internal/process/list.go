package process

import (
	"context"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// List answers with all commands that have started and were not removed, by id.
func (s *Service) List(context.Context, *connect.Request[guestv1.ListRequest]) (*connect.Response[guestv1.ListResponse], error) {
	response := &guestv1.ListResponse{}
	for _, p := range s.all() {
		select {
		case <-p.started:
			if p.startErr == nil {
				response.Processes = append(response.Processes, p.info())
			}
		default:
		}
	}
	return connect.NewResponse(response), nil
}
