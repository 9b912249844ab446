package h2_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

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
	late := client.Write(t.Context())
	_ = late.Send(&guestv1.WriteRequest{})
	if _, err := late.CloseAndReceive(); err == nil {
		t.Fatal("a call after the end of the connection")
	}
}

func TestFirstCallsAtOnceShareTheConnection(t *testing.T) {
	client, far, served := serveSystem(t.Context(), system{})
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			if _, err := client.Ping(t.Context(), connect.NewRequest(&guestv1.PingRequest{})); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	_ = far.Close()
	<-served
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

type system struct {
	guestv1connect.UnimplementedSystemServiceHandler
	hold chan struct{}
}

func (s system) Ping(ctx context.Context, _ *connect.Request[guestv1.PingRequest]) (*connect.Response[guestv1.PingResponse], error) {
	if s.hold != nil {
		<-ctx.Done()
		<-s.hold
	}
	return connect.NewResponse(&guestv1.PingResponse{}), nil
}

func (system) Hello(context.Context, *connect.Request[guestv1.HelloRequest]) (*connect.Response[guestv1.HelloResponse], error) {
	panic(http.ErrAbortHandler)
}

func serveSystem(ctx context.Context, service system) (guestv1connect.SystemServiceClient, net.Conn, <-chan error) {
	near, far := net.Pipe()
	mux := http.NewServeMux()
	mux.Handle(guestv1connect.NewSystemServiceHandler(service))
	served := make(chan error, 1)
	go func() { served <- h2.Serve(ctx, near, mux) }()
	client := &http.Client{Transport: h2.NewTransport(far)}
	return guestv1connect.NewSystemServiceClient(client, "http://host"), far, served
}

func TestAPanicOfAHandlerEndsItsCallAlone(t *testing.T) {
	client, far, served := serveSystem(t.Context(), system{})
	for range 20 {
		_, err := client.Hello(t.Context(), connect.NewRequest(&guestv1.HelloRequest{}))
		if err == nil {
			t.Fatal("an aborted call succeeded")
		}
		if _, err := client.Ping(t.Context(), connect.NewRequest(&guestv1.PingRequest{})); err != nil {
			t.Fatal(err)
		}
	}
	_ = far.Close()
	<-served
}

func TestServingWaitsForItsHandlers(t *testing.T) {
	hold := make(chan struct{})
	client, far, served := serveSystem(t.Context(), system{hold: hold})
	called := make(chan struct{})
	go func() {
		defer close(called)
		_, _ = client.Ping(t.Context(), connect.NewRequest(&guestv1.PingRequest{}))
	}()
	time.Sleep(50 * time.Millisecond)
	_ = far.Close()
	<-called
	select {
	case <-served:
		t.Fatal("serving ended before its handler")
	case <-time.After(50 * time.Millisecond):
	}
	close(hold)
	<-served
}

// Ratio of interest: one small call with its client, natively about 0.04 ms of CPU.
func BenchmarkPing(b *testing.B) {
	client, far, served := serveSystem(b.Context(), system{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Ping(b.Context(), connect.NewRequest(&guestv1.PingRequest{})); err != nil {
			b.Fatal(err)
		}
	}
	_ = far.Close()
	<-served
}
