package shell

import (
	"context"
	"math"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/spool"
)

// Read streams what the terminal showed from the given offset on, with the sizes it had, and ends with the shell's state.
func (s *Service) Read(ctx context.Context, request *guestv1.ReadShellRequest, stream call.Sends[*guestv1.ReadShellResponse]) error {
	found, err := s.find(ctx, request.ShellId)
	if err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	// Before the wait: a wrong offset is told at once.
	reader, err := found.output.NewReader(request.Offset, wake)
	if err != nil {
		return failure.New(failure.InvalidArgument, "read from a cursor that was given before", "%v", err)
	}
	defer reader.Close()
	idle := guestv1.ShellIdle_SHELL_IDLE_UNSPECIFIED
	if request.WaitForIdleMs > 0 {
		idle, err = found.waitIdle(ctx, milliseconds(request.WaitForIdleMs), milliseconds(request.MaxWaitMs))
		if err != nil {
			return err
		}
	}
	defer found.watchSizes(wake)()
	reading := &reading{shell: found, reader: reader, wake: wake, stream: stream, left: math.MaxUint64}
	if request.MaxBytes > 0 {
		reading.left = request.MaxBytes
	}
	if err := reading.sendSizes(); err != nil {
		return err
	}
	if request.Follow {
		err = reading.follow(ctx)
	} else {
		err = reading.sendThere()
	}
	if err != nil {
		return err
	}
	return stream.Send(&guestv1.ReadShellResponse{Event: &guestv1.ReadShellResponse_End{
		End: &guestv1.ShellEnd{Shell: found.info(), Idle: idle},
	}})
}

func milliseconds(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }

// reading is one call of Read.
type reading struct {
	shell  *shell
	reader *spool.Reader
	wake   chan struct{}
	stream call.Sends[*guestv1.ReadShellResponse]
	// Bytes that may still be sent.
	left uint64
	// The last size that was sent.
	size *guestv1.ShellSize
}

func (r *reading) sendSizes() error {
	sizes := r.shell.knownSizes()
	r.size = sizes[len(sizes)-1]
	return r.stream.Send(&guestv1.ReadShellResponse{Event: &guestv1.ReadShellResponse_Sizes{
		Sizes: &guestv1.ShellSizes{Sizes: sizes},
	}})
}

// sendNext sends one chunk; false when there is none, or no more may be sent.
func (r *reading) sendNext() (bool, error) {
	if r.left == 0 {
		return false, nil
	}
	offset, data := r.reader.Next()
	if data == nil {
		return false, nil
	}
	data = data[:min(uint64(len(data)), r.left)]
	r.left -= uint64(len(data))
	return true, r.stream.Send(&guestv1.ReadShellResponse{Event: &guestv1.ReadShellResponse_Chunk{
		Chunk: &guestv1.ShellChunk{Offset: offset, Data: data},
	}})
}

// sendThere sends what is there now, and no more of a terminal that shows without end.
func (r *reading) sendThere() error {
	_, end := r.shell.output.Extent()
	for r.reader.Position() < end {
		if sent, err := r.sendNext(); err != nil || !sent {
			return err
		}
	}
	return nil
}

// follow sends what comes, until the shell has exited and all was sent.
func (r *reading) follow(ctx context.Context) error {
	for {
		// Looked at before the bytes: what comes between the two looks is then not missed.
		atEnd := r.reader.AtEnd()
		if err := r.sendResized(); err != nil {
			return err
		}
		sent, err := r.sendNext()
		switch {
		case err != nil:
			return err
		case sent:
			continue
		case r.left == 0:
			return nil
		case atEnd:
			// The exit is told right behind the last byte.
			select {
			case <-r.shell.ended:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendResized says when the terminal has another size.
func (r *reading) sendResized() error {
	size := r.shell.lastSize()
	if size == r.size {
		return nil
	}
	r.size = size
	return r.stream.Send(&guestv1.ReadShellResponse{Event: &guestv1.ReadShellResponse_Resized{Resized: size}})
}
