package process

import (
	"context"
	"errors"
	"os"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

// WriteInput writes to the command's standard input. While the pipe is full no message is received, so that the
// call's credit holds the host back.
func (s *Service) WriteInput(ctx context.Context, stream call.Receives[*guestv1.WriteInputRequest]) (*guestv1.WriteInputResponse, error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, failure.New(failure.InvalidArgument, "send at least one message", "the input names no command")
	}
	p, err := s.find(ctx, stream.Msg().ProcessId)
	if err != nil {
		return nil, err
	}
	if p.stdin == nil {
		return nil, failure.New(failure.InvalidArgument, "start it with open_stdin", "the command %q has no standard input", p.id)
	}
	select {
	case p.stdinTurn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-p.stdinTurn }()
	return p.writeInput(ctx, stream)
}

// writeInput has the turn.
func (p *process) writeInput(ctx context.Context, stream call.Receives[*guestv1.WriteInputRequest]) (*guestv1.WriteInputResponse, error) {
	stdin := p.stdin
	// A host that went away must not leave the turn with a write that waits for ever.
	aborted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = stdin.SetWriteDeadline(time.Unix(1, 0))
		close(aborted)
	})
	defer func() {
		if !stop() {
			<-aborted
			_ = stdin.SetWriteDeadline(time.Time{})
		}
	}()
	response := &guestv1.WriteInputResponse{}
	for {
		message := stream.Msg()
		if len(message.Data) > 0 {
			n, err := stdin.Write(message.Data)
			response.AcceptedBytes += uint64(n)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, ctx.Err()
			}
			if err != nil {
				// Closed by the command (EPIPE), or by the supervisor at its end.
				response.ClosedByProcess = true
				return response, nil
			}
		}
		if message.End {
			_ = stdin.Close()
			return response, nil
		}
		if !stream.Receive() {
			if err := stream.Err(); err != nil {
				return nil, err
			}
			return response, nil
		}
	}
}
