package shell

import (
	"context"
	"errors"
	"os"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// answered is how many writes are remembered for a host that lost the connection before it heard of one.
const answered = 64

// answers are the last writes, by their ids.
type answers struct {
	order    [answered]uint64
	next     int
	accepted map[uint64]uint64
}

func (a *answers) of(id uint64) (accepted uint64, known bool) {
	accepted, known = a.accepted[id]
	return accepted, known && id != 0
}

func (a *answers) keep(id, accepted uint64) {
	if id == 0 {
		return
	}
	if a.accepted == nil {
		a.accepted = make(map[uint64]uint64, answered)
	}
	delete(a.accepted, a.order[a.next])
	a.order[a.next] = id
	a.accepted[id] = accepted
	a.next = (a.next + 1) % answered
}

// Write types into the terminal. What one call types stands together, whoever else types.
func (s *Service) Write(ctx context.Context, request *guestv1.WriteShellRequest) (*guestv1.WriteShellResponse, error) {
	if n := len(request.Data); n > maxWriteBytes {
		return nil, failure.New(failure.InvalidArgument, "write it in parts", "%d bytes at once are more than %d", n, maxWriteBytes)
	}
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return nil, err
	}
	select {
	case found.writing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-found.writing }()
	if accepted, known := found.written.of(request.WriteId); known {
		return &guestv1.WriteShellResponse{AcceptedBytes: accepted}, nil
	}
	accepted, err := found.write(request.Data, milliseconds(request.MaxWaitMs))
	if err != nil {
		return nil, err
	}
	found.written.keep(request.WriteId, uint64(accepted))
	return &guestv1.WriteShellResponse{AcceptedBytes: uint64(accepted)}, nil
}

// write has the turn. A host that leaves meanwhile does not end it: what is typed is typed once.
func (s *shell) write(data []byte, limit time.Duration) (accepted int, err error) {
	if s.hasEnded() {
		return 0, hasExited(s.id)
	}
	if len(data) == 0 {
		return 0, nil
	}
	// A deadline that has passed would take not even what there is room for.
	_ = s.terminal.master.SetWriteDeadline(time.Now().Add(max(limit, 50*time.Millisecond)))
	accepted, err = s.terminal.master.Write(data)
	switch {
	case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		return accepted, nil
	case isOver(s):
		return 0, hasExited(s.id)
	default:
		return 0, internal("write to the terminal", err)
	}
}
