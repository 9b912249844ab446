package system

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// Scrub overwrites what the agent has freed.
func (s *Service) Scrub(context.Context, *guestv1.ScrubRequest) (*guestv1.ScrubResponse, error) {
	s.options.Scrub()
	return &guestv1.ScrubResponse{}, nil
}
