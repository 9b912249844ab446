package system

import (
	"context"
	"errors"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/boot"
	"pyro/guest/internal/failure"
)

// LoadModules loads a named group of kernel modules; what is loaded already costs nothing.
func (s *Service) LoadModules(_ context.Context, request *guestv1.LoadModulesRequest) (*guestv1.LoadModulesResponse, error) {
	begin := time.Now()
	err := s.options.Machine.LoadModules(request.Group)
	if errors.Is(err, boot.ErrUnknownGroup) {
		return nil, failure.New(failure.InvalidArgument, `the groups are in the bundle's manifest, for example "boot"`,
			"%v: %q", err, request.Group)
	}
	if err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.LoadModulesResponse{DurationMs: uint32(time.Since(begin).Milliseconds())}, nil
}
