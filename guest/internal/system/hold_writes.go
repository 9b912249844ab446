package system

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

const maxHoldMs = 30_000

// hold is the state of the root's writes. It has a lock of its own: letting go waits for nothing else.
type hold struct {
	mu   sync.Mutex
	held bool
	// Counts the holds: a timer of an earlier one does nothing.
	turn uint64
}

// HoldWrites holds the writes to the root back, or lets them go on. A repeated hold is one for max_ms from then on. The
// agent keeps what it has to write itself off the root: commands' output is in memory, /run and /tmp are of their own.
// A file that the host wants written meanwhile waits, as a command's write does.
func (s *Service) HoldWrites(_ context.Context, request *guestv1.HoldWritesRequest) (*guestv1.HoldWritesResponse, error) {
	if !request.Hold {
		was, err := s.letGo()
		if err != nil {
			return nil, failure.From(err)
		}
		return &guestv1.HoldWritesResponse{WasHeld: was}, nil
	}
	if request.MaxMs == 0 || request.MaxMs > maxHoldMs {
		return nil, failure.New(failure.InvalidArgument, "use 1 to 30,000 ms", "writes cannot be held for %d ms", request.MaxMs)
	}
	if !s.RootMounted() {
		return nil, failure.New(failure.InvalidArgument, "mount a root first", "the machine has no root to hold the writes of")
	}
	was, err := s.holdFor(time.Duration(request.MaxMs) * time.Millisecond)
	if err != nil {
		return nil, failure.From(err)
	}
	return &guestv1.HoldWritesResponse{WasHeld: was}, nil
}

func (s *Service) holdFor(most time.Duration) (was bool, err error) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	was = s.hold.held
	if !was {
		if err := s.options.Machine.FreezeRoot(); err != nil {
			return false, err
		}
		s.hold.held = true
	}
	s.hold.turn++
	turn := s.hold.turn
	time.AfterFunc(most, func() { s.expire(turn) })
	return was, nil
}

func (s *Service) expire(turn uint64) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	if !s.hold.held || s.hold.turn != turn {
		return
	}
	if _, err := s.thaw(); err != nil {
		s.options.Log.Printf("writes were held for too long: %v", err)
	}
}

// letGo tells whether writes were held until now.
func (s *Service) letGo() (bool, error) {
	s.hold.mu.Lock()
	defer s.hold.mu.Unlock()
	if !s.hold.held {
		return false, nil
	}
	return s.thaw()
}

// thaw is called under the lock. Root in the guest can thaw by itself; then they were not held.
func (s *Service) thaw() (bool, error) {
	err := s.options.Machine.ThawRoot()
	if err == nil || errors.Is(err, unix.EINVAL) {
		s.hold.held = false
		return err == nil, nil
	}
	return true, err
}
