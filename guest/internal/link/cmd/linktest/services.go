package main

import (
	"context"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/link"
	"pyro/guest/internal/serve"
)

func methods(probe func() *link.Link) call.Methods {
	const service = "pyro.guest.v1."
	return call.Methods{
		service + "SystemService/Hello":       call.Unary(hello),
		service + "SystemService/Ping":        call.Unary(ping),
		service + "ProcessService/ReadOutput": call.ServerStream(readOutput),
		service + "ProcessService/WriteInput": call.ClientStream(writeInput, 2, func(m *guestv1.WriteInputRequest) *[]byte { return &m.Data }),
		service + "DiagnosticsService/Flood": call.Unary(func(ctx context.Context, request *guestv1.FloodRequest) (*guestv1.FloodResponse, error) {
			return &guestv1.FloodResponse{}, probe().FloodProbe(ctx, request.Bytes)
		}),
		service + "DiagnosticsService/Drain": call.Unary(func(ctx context.Context, request *guestv1.DrainRequest) (*guestv1.DrainResponse, error) {
			n, err := probe().DrainProbe(ctx, request.ExpectBytes)
			return &guestv1.DrainResponse{Bytes: n}, err
		}),
	}
}

func hello(ctx context.Context, _ *guestv1.HelloRequest) (*guestv1.HelloResponse, error) {
	return &guestv1.HelloResponse{AgentVersion: "linktest", Epoch: serve.Epoch(ctx)}, nil
}

func ping(context.Context, *guestv1.PingRequest) (*guestv1.PingResponse, error) {
	return &guestv1.PingResponse{}, nil
}

// readOutput makes output without a process: `stdout_offset` bytes of zeros in chunks of `stderr_offset`.
func readOutput(_ context.Context, request *guestv1.ReadOutputRequest, stream call.Sends[*guestv1.ReadOutputResponse]) error {
	left := request.StdoutOffset
	data := make([]byte, max(request.StderrOffset, 1))
	chunk := &guestv1.OutputChunk{Stream: guestv1.OutputStream_OUTPUT_STREAM_STDOUT}
	message := &guestv1.ReadOutputResponse{Event: &guestv1.ReadOutputResponse_Chunk{Chunk: chunk}}
	for left > 0 {
		chunk.Data = data[:min(left, uint64(len(data)))]
		if err := stream.Send(message); err != nil {
			return err
		}
		left -= uint64(len(chunk.Data))
		chunk.Offset += uint64(len(chunk.Data))
	}
	return stream.Send(&guestv1.ReadOutputResponse{Event: &guestv1.ReadOutputResponse_Exit{Exit: &guestv1.ExitStatus{StdoutBytes: chunk.Offset}}})
}

func writeInput(_ context.Context, stream call.Receives[*guestv1.WriteInputRequest]) (*guestv1.WriteInputResponse, error) {
	var taken uint64
	for stream.Receive() {
		taken += uint64(len(stream.Msg().Data))
	}
	return &guestv1.WriteInputResponse{AcceptedBytes: taken}, stream.Err()
}
