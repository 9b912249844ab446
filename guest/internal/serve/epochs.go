// Package serve carries the services over the link: for each epoch it answers the host's calls on the control and the
// bulk channel, and calls the host on the event and the network channel.
package serve

import (
	"context"
	"sync"

	"pyro/guest/internal/call"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
)

type epochKey struct{}

// Epoch is the epoch of the link that carries the call of this context; 0 where there is no link.
func Epoch(ctx context.Context) uint32 {
	epoch, _ := ctx.Value(epochKey{}).(uint32)
	return epoch
}

// Epochs serves the methods on every epoch of a link.
type Epochs struct {
	Methods call.Methods
	Events  *Events
	Log     guard.Log
	// Connected is told of each epoch before it is served.
	Connected func()
	// Network is given the host as the network channel reaches it. It returns when the context, which is the epoch's, has
	// ended and nothing of the epoch is left. May be nil.
	Network func(ctx context.Context, host *call.Peer)

	sessions sync.WaitGroup
}

// Open begins to serve a session; it ends with the session or the context, which is the agent's life. Give it to
// link.New.
func (e *Epochs) Open(ctx context.Context, session *link.Session) {
	e.Connected()
	ctx, cancel := context.WithCancel(context.WithValue(ctx, epochKey{}, session.Epoch()))
	control := call.NewPeer(ctx, session.Sender(link.Control), e.Methods, e.Log)
	bulk := call.NewPeer(ctx, session.Sender(link.Bulk), e.Methods, e.Log)
	event := call.NewPeer(ctx, session.Sender(link.Event), nil, e.Log)
	network := call.NewGatewayCaller(ctx, session.Sender(link.Network), e.Log)
	session.OnPacket(link.Control, control.Deliver)
	session.OnPacket(link.Bulk, bulk.Deliver)
	session.OnPacket(link.Event, event.Deliver)
	session.OnPacket(link.Network, network.Deliver)
	var calling sync.WaitGroup
	calling.Go(func() { e.Log.Run("the event channel", func() { e.Events.deliver(ctx, event, session.Epoch()) }) })
	if e.Network != nil {
		calling.Go(func() { e.Log.Run("the network channel", func() { e.Network(ctx, network) }) })
	}
	e.sessions.Go(func() {
		select {
		case <-session.Done():
		case <-ctx.Done():
		}
		cancel()
		for _, peer := range []*call.Peer{control, bulk, event, network} {
			peer.Close()
		}
		calling.Wait()
	})
}

// Wait waits for the end of all sessions, after their context's.
func (e *Epochs) Wait() { e.sessions.Wait() }
