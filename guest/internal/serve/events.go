package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/failure"
)

const (
	// What is kept for a host that is away. The newest count: a host that comes back asks for the state anyway.
	maxQueuedEvents = 1024
	reportTimeout   = 10 * time.Second
)

// Events carries what happens by itself to the host, in order, across epochs: one that was not acknowledged is sent
// again on the next epoch.
type Events struct {
	mu    sync.Mutex
	queue []*guestv1.ReportRequest
	// Has room for one: there is something in the queue.
	queued chan struct{}
	// Held by the epoch that delivers.
	delivering sync.Mutex
}

// NewEvents makes an empty queue.
func NewEvents() *Events { return &Events{queued: make(chan struct{}, 1)} }

// ProcessExited reports the end of a command.
func (e *Events) ProcessExited(id string, exit *guestv1.ExitStatus) {
	e.add(&guestv1.ReportRequest{Event: &guestv1.ReportRequest_ProcessExited{
		ProcessExited: &guestv1.ProcessExited{ProcessId: id, Exit: exit},
	}})
}

// OutOfMemory reports that the kernel killed processes of a command.
func (e *Events) OutOfMemory(id string) {
	e.add(&guestv1.ReportRequest{Event: &guestv1.ReportRequest_OutOfMemory{
		OutOfMemory: &guestv1.OutOfMemory{ProcessId: id},
	}})
}

func (e *Events) add(event *guestv1.ReportRequest) {
	e.mu.Lock()
	if len(e.queue) == maxQueuedEvents {
		e.queue[0] = nil
		e.queue = e.queue[1:]
	}
	e.queue = append(e.queue, event)
	e.mu.Unlock()
	e.wake()
}

func (e *Events) wake() {
	select {
	case e.queued <- struct{}{}:
	default:
	}
}

func (e *Events) first() *guestv1.ReportRequest {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) == 0 {
		return nil
	}
	return e.queue[0]
}

func (e *Events) done(event *guestv1.ReportRequest) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) > 0 && e.queue[0] == event {
		e.queue[0] = nil
		e.queue = e.queue[1:]
	}
}

// caller is a call.Peer.
type caller interface {
	Call(ctx context.Context, name string, request, response proto.Message) error
}

// deliver says that the agent is ready, and then sends the queue until the context, which is the epoch's, ends.
func (e *Events) deliver(ctx context.Context, host caller, epoch uint32) {
	e.delivering.Lock()
	defer e.delivering.Unlock()
	// A wake-up that the last epoch took without delivering.
	defer e.wake()
	_ = report(ctx, host, &guestv1.ReportRequest{Event: &guestv1.ReportRequest_AgentReady{
		AgentReady: &guestv1.AgentReady{Epoch: epoch},
	}})
	for ctx.Err() == nil {
		event := e.first()
		if event == nil {
			select {
			case <-e.queued:
			case <-ctx.Done():
			}
			continue
		}
		switch err := report(ctx, host, event); {
		case err == nil || isAnswer(err) && ctx.Err() == nil:
			// A host that answers with an error has had it; sending it again would not help.
			e.done(event)
		case !errors.Is(err, context.DeadlineExceeded):
			// The link is over, and the context is about to be.
			<-ctx.Done()
		}
	}
}

// isAnswer tells an error that the host sent from one that kept the report from reaching it.
func isAnswer(err error) bool {
	var said *failure.Error
	return errors.As(err, &said)
}

func report(ctx context.Context, host caller, event *guestv1.ReportRequest) error {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	return host.Call(ctx, "pyro.guest.v1.EventService/Report", event, &guestv1.ReportResponse{})
}
