package serve_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"connectrpc.com/connect"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/serve"
)

// broken panics in each call.
type broken struct {
	guestv1connect.UnimplementedSystemServiceHandler
}

func (broken) Ping(context.Context, *connect.Request[guestv1.PingRequest]) (*connect.Response[guestv1.PingResponse], error) {
	panic("a bug")
}

func TestAPanicInAServiceIsAnErrorOfItsCall(t *testing.T) {
	var console safeBuffer
	handler := serve.Handler(serve.Services{System: broken{}}, guard.NewLog(&console))
	client := guestv1connect.NewSystemServiceClient(agenttest.Connect(t, handler), agenttest.URL)
	for range 3 {
		_, err := client.Ping(context.Background(), connect.NewRequest(&guestv1.PingRequest{}))
		if agenttest.CodeOf(err) != "INTERNAL" {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(console.bytes(), []byte("panic in /pyro.guest.v1.SystemService/Ping: a bug")) {
		t.Errorf("%s", console.bytes())
	}
}

func TestAPanicInAGoroutineIsOnlyTold(t *testing.T) {
	var console safeBuffer
	guard.NewLog(&console).Run("a test", func() { panic("a bug") })
	if !bytes.Contains(console.bytes(), []byte("panic in a test: a bug")) {
		t.Errorf("%s", console.bytes())
	}
}

func TestAServiceThatIsLeftOutIsUnimplemented(t *testing.T) {
	client := guestv1connect.NewFileServiceClient(agenttest.Connect(t, serve.Handler(serve.Services{}, guard.NewLog(new(safeBuffer)))), agenttest.URL)
	_, err := client.Write(context.Background()).CloseAndReceive()
	if connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Fatal(err)
	}
}

// quiet answers each call.
type quiet struct {
	guestv1connect.UnimplementedSystemServiceHandler
}

func (quiet) Ping(context.Context, *connect.Request[guestv1.PingRequest]) (*connect.Response[guestv1.PingResponse], error) {
	return connect.NewResponse(&guestv1.PingResponse{}), nil
}

func TestNothingIsCompressed(t *testing.T) {
	handler := serve.Handler(serve.Services{System: quiet{}}, guard.NewLog(new(safeBuffer)))
	client := guestv1connect.NewSystemServiceClient(agenttest.Connect(t, handler), agenttest.URL)
	response, err := client.Ping(context.Background(), connect.NewRequest(&guestv1.PingRequest{}))
	if err != nil || response.Header().Get("Content-Encoding") != "" || response.Header().Get("Accept-Encoding") != "" {
		t.Fatal(response.Header(), err)
	}
}

func TestOutsideOfALinkThereIsNoEpoch(t *testing.T) {
	if serve.Epoch(context.Background()) != 0 {
		t.Fatal("an epoch out of nothing")
	}
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buffer.Bytes())
}
