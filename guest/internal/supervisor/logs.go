package supervisor

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
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

// sendLog sends what is kept at one moment, and gives the end of it: a service that writes on does not outrun its reader.
func sendLog(ctx context.Context, log *spool.Spool, name guestv1.OutputStream, stream call.Sends[*guestv1.ServiceLogsResponse]) (uint64, error) {
	offset, data := log.Kept()
	for len(data) > 0 {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		part := data[:min(len(data), spool.ChunkBytes)]
		chunk := &guestv1.OutputChunk{Stream: name, Offset: offset, Data: part}
		if err := stream.Send(&guestv1.ServiceLogsResponse{Event: &guestv1.ServiceLogsResponse_Chunk{Chunk: chunk}}); err != nil {
			return 0, err
		}
		offset += uint64(len(part))
		data = data[len(part):]
	}
	return offset, nil
}
