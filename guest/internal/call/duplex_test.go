package call_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/agenttest"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

func requestData(m *guestv1.ConnectRequest) *[]byte {
	part := &guestv1.ConnectRequest_Data{}
	m.Part = part
	return &part.Data
}

func responseData(m *guestv1.ConnectResponse) *[]byte {
	part := &guestv1.ConnectResponse_Data{}
	m.Part = part
	return &part.Data
}

type duplex = call.Duplex[*guestv1.ConnectRequest, *guestv1.ConnectResponse]

func openDuplex(t *testing.T, serve func(context.Context, call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]) error) *duplex {
	t.Helper()
	host := agenttest.Connect(t, call.Methods{"both": call.BidiStream(serve, 2, requestData)})
	first := &guestv1.ConnectRequest{Part: &guestv1.ConnectRequest_Open{Open: &guestv1.ConnectTarget{Port: 7}}}
	opened, err := call.OpenDuplex(t.Context(), host, "both", first, 2, responseData)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Leave)
	return opened
}

func TestACallCarriesBytesBothWaysAtOnce(t *testing.T) {
	d := openDuplex(t, func(_ context.Context, both call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]) error {
		if !both.Receive() || both.Msg().GetOpen().GetPort() != 7 {
			return errors.New("the first message is another")
		}
		if err := both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Opened{Opened: &guestv1.StreamOpened{}}}); err != nil {
			return err
		}
		chunk := call.NewChunk(2)
		for both.Receive() {
			if both.Msg().GetFinished() != nil {
				break
			}
			room, err := chunk.Begin(&guestv1.ConnectResponse{})
			if err != nil {
				return err
			}
			if err := both.SendChunk(chunk, copy(room, both.Msg().GetData())); err != nil {
				return err
			}
		}
		return errors.Join(both.Err(), both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Finished{Finished: &guestv1.StreamFinished{}}}))
	})
	sent := make(chan error, 1)
	go func() {
		for i := range 100 {
			part := &guestv1.ConnectRequest_Data{Data: bytes.Repeat([]byte{byte(i)}, 50_000)}
			if err := d.Send(&guestv1.ConnectRequest{Part: part}); err != nil {
				sent <- err
				return
			}
		}
		sent <- d.SendLast(&guestv1.ConnectRequest{Part: &guestv1.ConnectRequest_Finished{Finished: &guestv1.StreamFinished{}}})
	}()
	if !d.Receive() || d.Msg().GetOpened() == nil {
		t.Fatal(d.Msg(), d.Err())
	}
	for i := range 100 {
		if !d.Receive() || !bytes.Equal(d.Msg().GetData(), bytes.Repeat([]byte{byte(i)}, 50_000)) {
			t.Fatalf("message %d: %v", i, d.Err())
		}
	}
	if !d.Receive() || d.Msg().GetFinished() == nil || d.Receive() || d.Err() != nil {
		t.Fatal(d.Msg(), d.Err())
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

func TestAnAnswerMayEndInAnErrorWhileTheCallerSends(t *testing.T) {
	d := openDuplex(t, func(context.Context, call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]) error {
		return failure.OfWire(failure.Unavailable, "the other side is gone")
	})
	var err error
	for err == nil {
		err = d.Send(&guestv1.ConnectRequest{Part: &guestv1.ConnectRequest_Data{Data: make([]byte, 50_000)}})
	}
	if err != io.EOF || d.Receive() || wireCode(t, d.Err()) != failure.Unavailable {
		t.Fatal(err, d.Err())
	}
}

func TestACancelledCallLetsGoOfBothSides(t *testing.T) {
	left := make(chan error, 1)
	d := openDuplex(t, func(ctx context.Context, _ call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]) error {
		<-ctx.Done()
		left <- ctx.Err()
		return ctx.Err()
	})
	received := make(chan bool, 1)
	go func() { received <- d.Receive() }()
	d.Cancel()
	if <-received || !errors.Is(d.Err(), context.Canceled) {
		t.Fatal(d.Msg(), d.Err())
	}
	d.Leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestAMethodMayStopItsStreams(t *testing.T) {
	d := openDuplex(t, func(_ context.Context, both call.Both[*guestv1.ConnectRequest, *guestv1.ConnectResponse]) error {
		received, sent := make(chan error), make(chan error)
		go func() {
			for both.Receive() {
			}
			received <- both.Err()
		}()
		go func() {
			var err error
			for err == nil {
				err = both.Send(&guestv1.ConnectResponse{Part: &guestv1.ConnectResponse_Data{Data: make([]byte, 50_000)}})
			}
			sent <- err
		}()
		both.Stop()
		if err := <-received; err == nil {
			return errors.New("the messages came to an end")
		}
		if err := <-sent; err != io.EOF {
			return err
		}
		return failure.OfWire(failure.Unavailable, "stopped")
	})
	for d.Receive() {
	}
	if wireCode(t, d.Err()) != failure.Unavailable {
		t.Fatal(d.Err())
	}
}
