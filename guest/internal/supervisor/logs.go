package supervisor

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/spool"
)

// Logs sends what is kept of both streams as they are now, and then how much was written up to there.
func (s *Service) Logs(ctx context.Context, request *guestv1.ServiceLogsRequest, stream call.Sends[*guestv1.ServiceLogsResponse]) error {
	known, err := s.find(request.Name)
	if err != nil {
		return err
	}
	totals := &guestv1.LogTotals{}
	if totals.StdoutBytes, err = sendLog(ctx, known.launched.Stdout, guestv1.OutputStream_OUTPUT_STREAM_STDOUT, stream); err != nil {
		return err
	}
	if totals.StderrBytes, err = sendLog(ctx, known.launched.Stderr, guestv1.OutputStream_OUTPUT_STREAM_STDERR, stream); err != nil {
		return err
	}
	return stream.Send(&guestv1.ServiceLogsResponse{Event: &guestv1.ServiceLogsResponse_Totals{Totals: totals}})
}

// sendLog gives the end it sent up to: what was written when it began, or less where even that was dropped meanwhile.
func sendLog(ctx context.Context, log *spool.Spool, name guestv1.OutputStream, stream call.Sends[*guestv1.ServiceLogsResponse]) (uint64, error) {
	reader, err := log.NewReader(0, make(chan struct{}, 1))
	if err != nil {
		return 0, failure.From(err)
	}
	defer reader.Close()
	end, _ := log.Totals()
	for at := uint64(0); at < end; {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		offset, data := reader.Next()
		if data == nil || offset >= end {
			break
		}
		if over := offset + uint64(len(data)); over > end {
			data = data[:end-offset]
		}
		chunk := &guestv1.OutputChunk{Stream: name, Offset: offset, Data: data}
		if err := stream.Send(&guestv1.ServiceLogsResponse{Event: &guestv1.ServiceLogsResponse_Chunk{Chunk: chunk}}); err != nil {
			return 0, err
		}
		at = offset + uint64(len(data))
	}
	return end, nil
}
