package system

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// Rehearse does ahead what would be done once, by the first calls of each machine that is restored.
func (s *Service) Rehearse(context.Context, *guestv1.RehearseRequest) (*guestv1.RehearseResponse, error) {
	if err := s.options.Rehearse(); err != nil {
		return nil, failure.From(err)
	}
	if err := s.mapIdentity(); err != nil {
		s.options.Log.Printf("map the machine's identity: %v", err)
	}
	return &guestv1.RehearseResponse{}, nil
}
