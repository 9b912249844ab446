package system

import (
	"context"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
)

// maxGrace bounds the wait for commands that end slowly.
const maxGrace = 10 * time.Minute

// Shutdown ends all commands, settles the disks, answers, and ends the machine. A repeated call is answered too.
func (s *Service) Shutdown(ctx context.Context, request *guestv1.ShutdownRequest) (*guestv1.ShutdownResponse, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.stopping {
		return &guestv1.ShutdownResponse{}, nil
	}
	s.stopping = true
	// Nothing could end, or be settled, in a write that waits.
	if _, err := s.letGo(); err != nil {
		s.options.Log.Printf("let writes go on: %v", err)
	}
	grace := min(time.Duration(request.GraceMs)*time.Millisecond, maxGrace)
	// The machine ends whatever fails: the host asked for that, and data that can be saved is saved by sync.
	if err := s.options.Workload.StopAll(ctx, grace); err != nil {
		s.options.Log.Printf("end all commands: %v", err)
	}
	s.unmapIdentity()
	if err := s.options.Machine.SettleDisks(); err != nil {
		s.options.Log.Printf("leave the root read-only: %v", err)
	}
	time.AfterFunc(s.options.PowerDelay, s.options.Machine.PowerOff)
	return &guestv1.ShutdownResponse{}, nil
}
