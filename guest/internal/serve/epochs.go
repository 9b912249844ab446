package serve

import (
	"context"
	"net"
	"net/http"
	"sync"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/gen/pyro/guest/v1/guestv1connect"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/h2"
	"pyro/guest/internal/link"
)

type epochKey struct{}

// Epoch is the epoch of the link that carries the call of this context; 0 where there is no link.
func Epoch(ctx context.Context) uint32 {
	epoch, _ := ctx.Value(epochKey{}).(uint32)
	return epoch
}

// Epochs serves the handler on every epoch of the link until the context ends. connected is told of each epoch before
// it is served.
func Epochs(ctx context.Context, l *link.Link, handler http.Handler, events *Events, log guard.Log, connected func()) {
	var sessions sync.WaitGroup
	defer sessions.Wait()
	for {
		session, err := l.Accept(ctx)
		if err != nil {
			return
		}
		connected()
		sessions.Go(func() { log.Run("an epoch", func() { epoch(ctx, session, handler, events, log) }) })
	}
}

// epoch serves one session to its end.
func epoch(ctx context.Context, session *link.Session, handler http.Handler, events *Events, log guard.Log) {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, epochKey{}, session.Epoch()))
	defer cancel()
	var channels sync.WaitGroup
	defer channels.Wait()
	serve := func(conn net.Conn) func() {
		return func() {
			log.Run("a channel", func() {
				if err := h2.Serve(ctx, conn, handler); err != nil && ctx.Err() == nil {
					log.Printf("serve a channel: %v", err)
				}
			})
		}
	}
	channels.Go(serve(session.Control()))
	channels.Go(serve(session.Bulk()))
	channels.Go(func() {
		log.Run("the event channel", func() {
			transport := h2.NewTransport(session.Event())
			defer transport.CloseIdleConnections()
			client := guestv1connect.NewEventServiceClient(&http.Client{Transport: transport}, "http://host")
			ready := &guestv1.ReportRequest{Event: &guestv1.ReportRequest_AgentReady{
				AgentReady: &guestv1.AgentReady{Epoch: session.Epoch()},
			}}
			events.deliver(ctx, client, ready)
		})
	})
	select {
	case <-session.Done():
	case <-ctx.Done():
	}
	cancel()
}
