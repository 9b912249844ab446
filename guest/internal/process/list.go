package process

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// List answers with all commands that have started and were not removed, by id.
func (s *Service) List(context.Context, *guestv1.ListRequest) (*guestv1.ListResponse, error) {
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
	return response, nil
}
