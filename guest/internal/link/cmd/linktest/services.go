package main

import (
	"context"
	"net/http"
	"net/http/pprof"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/link"
)

func services(l *link.Link, session *link.Session) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(guestv1connect.NewSystemServiceHandler(&system{session: session}))
	mux.Handle(guestv1connect.NewProcessServiceHandler(&process{}))
	mux.Handle(guestv1connect.NewDiagnosticsServiceHandler(&diagnostics{link: l}))
	// Where the emulated guest spends its time: GET /debug/pprof/profile on the bulk channel.
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/noop", func(http.ResponseWriter, *http.Request) {})
	return mux
}

func reportReady(ctx context.Context, session *link.Session, events guestv1connect.EventServiceClient) {
	ready := &guestv1.ReportRequest{Event: &guestv1.ReportRequest_AgentReady{AgentReady: &guestv1.AgentReady{Epoch: session.Epoch()}}}
	_, _ = events.Report(ctx, connect.NewRequest(ready))
}

type system struct {
	guestv1connect.UnimplementedSystemServiceHandler
	session *link.Session
}

func (s *system) Hello(context.Context, *connect.Request[guestv1.HelloRequest]) (*connect.Response[guestv1.HelloResponse], error) {
	return connect.NewResponse(&guestv1.HelloResponse{AgentVersion: "linktest", Epoch: s.session.Epoch()}), nil
}

func (s *system) Ping(context.Context, *connect.Request[guestv1.PingRequest]) (*connect.Response[guestv1.PingResponse], error) {
	return connect.NewResponse(&guestv1.PingResponse{}), nil
}

// process makes output without a process: `stdout_offset` bytes of zeros in chunks of `stderr_offset`.
type process struct {
	guestv1connect.UnimplementedProcessServiceHandler
}

func (p *process) ReadOutput(ctx context.Context, request *connect.Request[guestv1.ReadOutputRequest], stream *connect.ServerStream[guestv1.ReadOutputResponse]) error {
	left := request.Msg.StdoutOffset
	data := make([]byte, max(request.Msg.StderrOffset, 1))
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

func (p *process) WriteInput(ctx context.Context, stream *connect.ClientStream[guestv1.WriteInputRequest]) (*connect.Response[guestv1.WriteInputResponse], error) {
	var taken uint64
	for stream.Receive() {
		taken += uint64(len(stream.Msg().Data))
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return connect.NewResponse(&guestv1.WriteInputResponse{AcceptedBytes: taken}), nil
}

type diagnostics struct {
	guestv1connect.UnimplementedDiagnosticsServiceHandler
	link *link.Link
}

func (d *diagnostics) Flood(ctx context.Context, request *connect.Request[guestv1.FloodRequest]) (*connect.Response[guestv1.FloodResponse], error) {
	if err := d.link.FloodProbe(ctx, request.Msg.Bytes); err != nil {
		return nil, err
	}
	return connect.NewResponse(&guestv1.FloodResponse{}), nil
}

func (d *diagnostics) Drain(ctx context.Context, request *connect.Request[guestv1.DrainRequest]) (*connect.Response[guestv1.DrainResponse], error) {
	n, err := d.link.DrainProbe(ctx, request.Msg.ExpectBytes)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&guestv1.DrainResponse{Bytes: n}), nil
}
