package process

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/spool"
)

// ReadOutput streams both outputs from the given offsets, follows while the command runs, and ends with its exit.
func (s *Service) ReadOutput(ctx context.Context, request *guestv1.ReadOutputRequest, stream call.Sends[*guestv1.ReadOutputResponse]) error {
	p, err := s.find(ctx, request.ProcessId)
	if err != nil {
		return err
	}
	return p.readOutput(ctx, request.StdoutOffset, request.StderrOffset, stream)
}

func (p *process) readOutput(ctx context.Context, stdout, stderr uint64, stream call.Sends[*guestv1.ReadOutputResponse]) error {
	wake := make(chan struct{}, 1)
	sources := make([]outputSource, 0, 2)
	for _, source := range []struct {
		from   *spool.Spool
		offset uint64
		name   guestv1.OutputStream
	}{
		{p.stdout, stdout, guestv1.OutputStream_OUTPUT_STREAM_STDOUT},
		{p.stderr, stderr, guestv1.OutputStream_OUTPUT_STREAM_STDERR},
	} {
		reader, err := source.from.NewReader(source.offset, wake)
		if err != nil {
			return failure.New(failure.InvalidArgument, "read from an offset that was received before", "%v", err)
		}
		defer reader.Close()
		sources = append(sources, newOutputSource(reader, source.name))
	}
	if err := follow(ctx, sources, wake, stream); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	return stream.SendLast(&guestv1.ReadOutputResponse{Event: &guestv1.ReadOutputResponse_Exit{Exit: p.exit}})
}

// outputSource sends one output; its message is used again for each chunk.
type outputSource struct {
	reader  *spool.Reader
	chunk   *guestv1.OutputChunk
	message *guestv1.ReadOutputResponse
}

func newOutputSource(reader *spool.Reader, name guestv1.OutputStream) outputSource {
	chunk := &guestv1.OutputChunk{Stream: name}
	message := &guestv1.ReadOutputResponse{Event: &guestv1.ReadOutputResponse_Chunk{Chunk: chunk}}
	return outputSource{reader, chunk, message}
}

// follow sends chunks, by turns from both outputs, until both are at their end.
func follow(ctx context.Context, sources []outputSource, wake <-chan struct{}, stream call.Sends[*guestv1.ReadOutputResponse]) error {
	for {
		sent, atEnd := false, true
		for _, source := range sources {
			// Looked at before the bytes: what comes between the two looks is then not missed.
			atEnd = source.reader.AtEnd() && atEnd
			offset, data := source.reader.Next()
			if data == nil {
				continue
			}
			source.chunk.Offset, source.chunk.Data = offset, data
			if err := stream.Send(source.message); err != nil {
				return err
			}
			sent = true
		}
		switch {
		case sent:
			continue
		case atEnd:
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
