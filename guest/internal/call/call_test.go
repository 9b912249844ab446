package call_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
)

const service = "pyro.guest.v1."

func answer(context.Context, *guestv1.PingRequest) (*guestv1.PingResponse, error) {
	return &guestv1.PingResponse{}, nil
}

func wireCode(t *testing.T, err error) failure.WireCode {
	t.Helper()
	wire, ok := errors.AsType[*failure.Error](err)
	if !ok {
		t.Fatalf("no error of the wire: %v", err)
	}
	return wire.Wire
}

func ping(ctx context.Context, host *call.Peer) error {
	return host.Call(ctx, service+"SystemService/Ping", &guestv1.PingRequest{}, &guestv1.PingResponse{})
}

func TestManyCallsShareAChannel(t *testing.T) {
	host := agenttest.Connect(t, call.Methods{service + "SystemService/Ping": call.Unary(answer)})
	var calls sync.WaitGroup
	for range 100 {
		calls.Go(func() {
			for range 20 {
				if err := ping(t.Context(), host); err != nil {
					t.Error(err)
				}
			}
		})
	}
	calls.Wait()
}

func TestMessagesLargerThanAFrameAndThanTheCreditArriveWhole(t *testing.T) {
	echo := func(_ context.Context, request *guestv1.StartRequest) (*guestv1.ErrorDetail, error) {
		return &guestv1.ErrorDetail{Message: string(request.Cwd)}, nil
	}
	host := agenttest.Connect(t, call.Methods{"echo": call.Unary(echo)})
	for _, size := range []int{0, 1, 65_000, 65_536, 70_000, 3_000_000} {
		text := strings.Repeat("0123456789", size/10)
		response, err := agenttest.Unary(t.Context(), host, "echo", &guestv1.StartRequest{Cwd: []byte(text)}, &guestv1.ErrorDetail{})
		if err != nil || response.Message != text {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	_, err := agenttest.Unary(t.Context(), host, "echo", &guestv1.StartRequest{Cwd: make([]byte, 17<<20)}, &guestv1.ErrorDetail{})
	if wireCode(t, err) != failure.ResourceExhausted {
		t.Fatal(err)
	}
	_, err = agenttest.Unary(t.Context(), host, "no such method", &guestv1.PingRequest{}, &guestv1.PingResponse{})
	if wireCode(t, err) != failure.Unimplemented {
		t.Fatal(err)
	}
}

func TestAStreamIsHeldBackByItsReader(t *testing.T) {
	var sent atomic.Int64
	endless := func(ctx context.Context, _ *guestv1.ReadRequest, stream call.Sends[*guestv1.ReadResponse]) error {
		for {
			if err := stream.Send(&guestv1.ReadResponse{Data: make([]byte, 10_000)}); err != nil {
				sent.Store(-1)
				return err
			}
			sent.Add(10_000)
		}
	}
	host := agenttest.Connect(t, call.Methods{"endless": call.ServerStream(endless), service + "SystemService/Ping": call.Unary(answer)})
	stream, err := host.Open(t.Context(), "endless", &guestv1.ReadRequest{}, true)
	if err != nil {
		t.Fatal(err)
	}
	// Another call goes on beside the one that nobody reads; by then it has sent what it may.
	for before := int64(-1); before != sent.Load(); time.Sleep(20 * time.Millisecond) {
		before = sent.Load()
		if err := ping(t.Context(), host); err != nil {
			t.Fatal(err)
		}
	}
	if n := sent.Load(); n < 1<<20-20_000 || n > 1<<20+10_000 {
		t.Fatalf("%d bytes were sent without a reader", n)
	}
	for range 100 {
		if err := stream.Receive(&guestv1.ReadResponse{}); err != nil {
			t.Fatal(err)
		}
	}
	stream.Leave()
	for sent.Load() != -1 {
		time.Sleep(time.Millisecond)
	}
}

func TestAnUploadIsHeldBackByItsReader(t *testing.T) {
	read := make(chan struct{})
	slow := func(_ context.Context, stream call.Receives[*guestv1.WriteRequest]) (*guestv1.WriteResponse, error) {
		<-read
		var n uint64
		for stream.Receive() {
			n += uint64(len(stream.Msg().Data))
		}
		return &guestv1.WriteResponse{BytesWritten: n}, stream.Err()
	}
	host := agenttest.Connect(t, call.Methods{"slow": call.ClientStream(slow, 3, data)})
	upload := agenttest.OpenUpload[*guestv1.WriteRequest](t.Context(), host, "slow", &guestv1.WriteResponse{})
	var sent atomic.Int64
	done := make(chan error)
	go func() {
		for range 300 {
			if err := upload.Send(&guestv1.WriteRequest{Data: make([]byte, 10_000)}); err != nil {
				done <- err
				return
			}
			sent.Add(10_000)
		}
		done <- nil
	}()
	for before := int64(-1); before != sent.Load(); time.Sleep(20 * time.Millisecond) {
		before = sent.Load()
	}
	if n := sent.Load(); n > 1<<20+10_000 {
		t.Fatalf("%d bytes were taken unread", n)
	}
	close(read)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if response, err := upload.CloseAndReceive(); err != nil || response.BytesWritten != 3_000_000 {
		t.Fatal(response, err)
	}
}

func TestAMethodMayAnswerBeforeItsCallerIsDone(t *testing.T) {
	refuse := func(context.Context, call.Receives[*guestv1.WriteRequest]) (*guestv1.WriteResponse, error) {
		return nil, failure.New(failure.GuestFileRefused, "choose another path", "no")
	}
	enough := func(context.Context, call.Receives[*guestv1.WriteRequest]) (*guestv1.WriteResponse, error) {
		return &guestv1.WriteResponse{BytesWritten: 7}, nil
	}
	host := agenttest.Connect(t, call.Methods{"refuse": call.ClientStream(refuse, 3, data), "enough": call.ClientStream(enough, 3, data)})
	upload := agenttest.OpenUpload[*guestv1.WriteRequest](t.Context(), host, "refuse", &guestv1.WriteResponse{})
	var err error
	for err == nil {
		err = upload.Send(&guestv1.WriteRequest{Data: make([]byte, 50_000)})
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	if _, err := upload.CloseAndReceive(); agenttest.CodeOf(err) != "GUEST_FILE_REFUSED" {
		t.Fatal(err)
	}
	upload = agenttest.OpenUpload[*guestv1.WriteRequest](t.Context(), host, "enough", &guestv1.WriteResponse{})
	for err = nil; err == nil; {
		err = upload.Send(&guestv1.WriteRequest{Data: make([]byte, 50_000)})
	}
	if response, end := upload.CloseAndReceive(); err != io.EOF || end != nil || response.BytesWritten != 7 {
		t.Fatal(err, response, end)
	}
}

func TestADeadlineEndsTheCallOnBothSides(t *testing.T) {
	ended := make(chan error, 1)
	wait := func(ctx context.Context, _ *guestv1.PingRequest) (*guestv1.PingResponse, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	host := agenttest.Connect(t, call.Methods{"wait": call.Unary(wait)})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := host.Call(ctx, "wait", &guestv1.PingRequest{}, &guestv1.PingResponse{})
	if failure.Status(err).Code != uint32(failure.DeadlineExceeded) {
		t.Fatal(err)
	}
	<-ended
}

func TestACallerThatLeavesCancelsTheMethod(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error, 1)
	wait := func(ctx context.Context, _ *guestv1.PingRequest) (*guestv1.PingResponse, error) {
		close(entered)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	host := agenttest.Connect(t, call.Methods{"wait": call.Unary(wait)})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if err := host.Call(ctx, "wait", &guestv1.PingRequest{}, &guestv1.PingResponse{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAPanicInAMethodIsAnErrorOfItsCall(t *testing.T) {
	var console safeBuffer
	broken := func(context.Context, *guestv1.PingRequest) (*guestv1.PingResponse, error) { panic("a bug") }
	out := make(chan []byte, 1)
	peer := call.NewPeer(t.Context(), sender(func(frame []byte) error { out <- bytes.Clone(frame); return nil }),
		call.Methods{"broken": call.Unary(broken)}, guard.NewLog(&console))
	defer peer.Close()
	if err := deliver(peer, callPacket(1, 6, "broken")); err != nil {
		t.Fatal(err)
	}
	if frame := <-out; !bytes.Contains(frame, []byte("INTERNAL")) {
		t.Fatalf("%q", frame)
	}
	if !bytes.Contains(console.bytes(), []byte("panic in broken: a bug")) {
		t.Errorf("%s", console.bytes())
	}
}

func TestOneCallTooManyIsRefusedAlone(t *testing.T) {
	release := make(chan struct{})
	wait := func(context.Context, *guestv1.PingRequest) (*guestv1.PingResponse, error) {
		<-release
		return &guestv1.PingResponse{}, nil
	}
	host := agenttest.Connect(t, call.Methods{"wait": call.Unary(wait)})
	results := make(chan error, 300)
	for range 300 {
		go func() { results <- host.Call(t.Context(), "wait", &guestv1.PingRequest{}, &guestv1.PingResponse{}) }()
	}
	for range 300 - 256 {
		if err := <-results; wireCode(t, err) != failure.ResourceExhausted {
			t.Fatal(err)
		}
	}
	close(release)
	for range 256 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAClosedPeerCallsAndServesNothing(t *testing.T) {
	entered := make(chan struct{})
	wait := func(ctx context.Context, _ *guestv1.PingRequest) (*guestv1.PingResponse, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	peer := call.NewPeer(t.Context(), sender(func([]byte) error { return nil }), call.Methods{"wait": call.Unary(wait)}, guard.NewLog(os.Stderr))
	if err := deliver(peer, callPacket(1, 6, "wait")); err != nil {
		t.Fatal(err)
	}
	<-entered
	peer.Close()
	if err := deliver(peer, callPacket(2, 6, "wait")); err != nil {
		t.Fatal(err)
	}
	if wireCode(t, ping(t.Context(), peer)) != failure.Unavailable {
		t.Fatal("a call after the end")
	}
}

// Ratio of interest: one small call with its client, natively.
func BenchmarkPing(b *testing.B) {
	host := agenttest.Connect(b, call.Methods{service + "SystemService/Ping": call.Unary(answer)})
	b.ReportAllocs()
	for b.Loop() {
		if err := ping(b.Context(), host); err != nil {
			b.Fatal(err)
		}
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
