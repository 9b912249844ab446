// Package diagnostics gives benchmarks their floors: what the link and the guest do without the services above.
package diagnostics

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/reaper"
	"pyro/guest/internal/rootdir"
)

// Probe is the link's probe channel.
type Probe interface {
	FloodProbe(ctx context.Context, bytes uint64) error
	DrainProbe(ctx context.Context, expect uint64) (uint64, error)
}

// Service is the DiagnosticsService.
type Service struct {
	reaper *reaper.Reaper
	root   rootdir.Root
	// Nil where there is no link.
	probe Probe
}

// New makes the service.
func New(reaper *reaper.Reaper, root rootdir.Root, probe Probe) *Service {
	return &Service{reaper, root, probe}
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.DiagnosticsService/Flood":     call.Unary(s.Flood),
		"pyro.guest.v1.DiagnosticsService/Drain":     call.Unary(s.Drain),
		"pyro.guest.v1.DiagnosticsService/Source":    call.ServerStream(s.Source),
		"pyro.guest.v1.DiagnosticsService/Sink":      call.ClientStream(s.Sink, 1, func(m *guestv1.SinkRequest) *[]byte { return &m.Data }),
		"pyro.guest.v1.DiagnosticsService/SpawnLoop": call.Unary(s.SpawnLoop),
	}
}
