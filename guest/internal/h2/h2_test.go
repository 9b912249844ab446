package h2_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/h2"
)

type files struct {
	guestv1connect.UnimplementedFileServiceHandler
}

func (files) Read(_ context.Context, request *connect.Request[guestv1.ReadRequest], stream *connect.ServerStream[guestv1.ReadResponse]) error {
	for range request.Msg.MaxBytes {
		if err := stream.Send(&guestv1.ReadResponse{Data: bytes.Repeat([]byte{7}, 300_000)}); err != nil {
			return err
		}
	}
	return nil
}

func (files) Write(_ context.Context, stream *connect.ClientStream[guestv1.WriteRequest]) (*connect.Response[guestv1.WriteResponse], error) {
	var n uint64
	for stream.Receive() {
		n += uint64(len(stream.Msg().Data))
	}
	return connect.NewResponse(&guestv1.WriteResponse{BytesWritten: n}), stream.Err()
}

// The services of connect-go, served on one connection and called over it.
func TestServiceCallsGoOverOneConnection(t *testing.T) {
	near, far := net.Pipe()
	mux := http.NewServeMux()
	mux.Handle(guestv1connect.NewFileServiceHandler(files{}))
	served := make(chan error, 1)
	go func() { served <- h2.Serve(t.Context(), near, mux) }()
	transport := h2.NewTransport(far)
	client := guestv1connect.NewFileServiceClient(&http.Client{Transport: transport}, "http://host")
	for range 3 {
		stream, err := client.Read(t.Context(), connect.NewRequest(&guestv1.ReadRequest{MaxBytes: 10}))
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for stream.Receive() {
			total += len(stream.Msg().Data)
		}
		if total != 3_000_000 || stream.Err() != nil {
			t.Fatal(total, stream.Err())
		}
	}
	upload := client.Write(t.Context())
	for range 10 {
		if err := upload.Send(&guestv1.WriteRequest{Data: make([]byte, 300_000)}); err != nil {
			t.Fatal(err)
		}
	}
	if answer, err := upload.CloseAndReceive(); err != nil || answer.Msg.BytesWritten != 3_000_000 {
		t.Fatal(answer, err)
	}
	_ = far.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	// There is no second connection to dial.
	if _, err := client.Read(t.Context(), connect.NewRequest(&guestv1.ReadRequest{})); err == nil {
		stream, _ := client.Read(t.Context(), connect.NewRequest(&guestv1.ReadRequest{}))
		if stream.Receive() || stream.Err() == nil {
			t.Fatal("a call after the end of the connection")
		}
	}
}

func TestServingEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- h2.Serve(ctx, near, http.NotFoundHandler()) }()
	cancel()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
