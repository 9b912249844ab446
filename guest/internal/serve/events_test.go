package serve

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

// host is an event service that is away until told otherwise.
type host struct {
	mu       sync.Mutex
	away     bool
	received []string
	got      chan struct{}
}

func (h *host) Call(ctx context.Context, _ string, request, _ proto.Message) error {
	h.mu.Lock()
	away := h.away
	if !away {
		h.received = append(h.received, name(request.(*guestv1.ReportRequest)))
	}
	h.mu.Unlock()
	h.got <- struct{}{}
	if away {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func name(event *guestv1.ReportRequest) string {
	switch e := event.Event.(type) {
	case *guestv1.ReportRequest_AgentReady:
		return fmt.Sprintf("ready %d", e.AgentReady.Epoch)
	case *guestv1.ReportRequest_ProcessExited:
		return "exited " + e.ProcessExited.ProcessId
	case *guestv1.ReportRequest_OutOfMemory:
		return "memory " + e.OutOfMemory.ProcessId
	}
	return ""
}

func TestEventsOfALostEpochAreDeliveredOnTheNext(t *testing.T) {
	events := NewEvents()
	h := &host{got: make(chan struct{})}
	deliver := func(epoch uint32) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { events.deliver(ctx, h, epoch) })
		return func() { cancel(); running.Wait() }
	}
	stop := deliver(1)
	<-h.got
	events.ProcessExited("a", nil)
	<-h.got
	h.mu.Lock()
	h.away = true
	h.mu.Unlock()
	events.OutOfMemory("b")
	events.ProcessExited("b", nil)
	<-h.got
	stop()
	h.mu.Lock()
	h.away = false
	h.mu.Unlock()
	stop = deliver(2)
	for range 3 {
		<-h.got
	}
	stop()
	if got := fmt.Sprint(h.received); got != "[ready 1 exited a ready 2 memory b exited b]" {
		t.Fatal(got)
	}
}

func TestAHostThatIsAwayLosesOnlyTheOldestEvents(t *testing.T) {
	events := NewEvents()
	for i := range maxQueuedEvents + 5 {
		events.ProcessExited(fmt.Sprint(i), nil)
	}
	if len(events.queue) != maxQueuedEvents || name(events.first()) != "exited 5" {
		t.Fatal(len(events.queue), name(events.first()))
	}
}

type refusing struct{ calls int }

func (r *refusing) Call(context.Context, string, proto.Message, proto.Message) error {
	r.calls++
	return failure.OfWire(failure.Unimplemented, "no events here")
}

func TestAHostThatRefusesAnEventIsNotAskedAgain(t *testing.T) {
	events := NewEvents()
	events.ProcessExited("a", nil)
	ctx, cancel := context.WithCancel(context.Background())
	r := &refusing{}
	var running sync.WaitGroup
	running.Go(func() { events.deliver(ctx, r, 1) })
	for events.first() != nil {
	}
	cancel()
	running.Wait()
	if r.calls != 2 {
		t.Fatal(r.calls)
	}
}

// leaving is a link that is over before its epoch's context is.
type leaving struct{ asked chan string }

func (l *leaving) Call(_ context.Context, _ string, request, _ proto.Message) error {
	l.asked <- name(request.(*guestv1.ReportRequest))
	return net.ErrClosed
}

func TestAnEventThatDidNotLeaveIsKept(t *testing.T) {
	events := NewEvents()
	events.ProcessExited("a", nil)
	ctx, cancel := context.WithCancel(context.Background())
	l := &leaving{asked: make(chan string, 10)}
	var running sync.WaitGroup
	running.Go(func() { events.deliver(ctx, l, 1) })
	if got := <-l.asked + ", " + <-l.asked; got != "ready 1, exited a" {
		t.Fatal(got)
	}
	cancel()
	running.Wait()
	if name(events.first()) != "exited a" || len(l.asked) != 0 {
		t.Fatal("the event was dropped, or sent on a link that is over")
	}
}
