// Package agenttest lets a test call services as the host does, over an in-memory channel.
package agenttest

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/guard"
	"pyro/guest/internal/link"
)

// Connect serves the methods until the test ends, and gives the host's side.
func Connect(t testing.TB, methods call.Methods) *call.Peer {
	t.Helper()
	toAgent, toHost := newPipe(), newPipe()
	log := guard.NewLog(os.Stderr)
	agent := call.NewPeer(context.Background(), toHost, methods, log)
	host := call.NewPeer(context.Background(), toAgent, nil, log)
	var carrying sync.WaitGroup
	carrying.Go(func() { toAgent.carry(t, agent) })
	carrying.Go(func() { toHost.carry(t, host) })
	t.Cleanup(func() {
		toAgent.close()
		toHost.close()
		host.Close()
		agent.Close()
		carrying.Wait()
	})
	return host
}

// pipe carries frames one way.
type pipe struct {
	frames chan []byte
	closed chan struct{}
	once   sync.Once
}

func newPipe() *pipe { return &pipe{frames: make(chan []byte, 16), closed: make(chan struct{})} }

func (p *pipe) close() { p.once.Do(func() { close(p.closed) }) }

func (p *pipe) Send(frame []byte) error {
	packet := append([]byte(nil), frame[link.HeaderBytes:]...)
	select {
	case p.frames <- packet:
		return nil
	case <-p.closed:
		return errors.New("the pipe is closed")
	}
}

func (p *pipe) carry(t testing.TB, to *call.Peer) {
	for {
		select {
		case packet := <-p.frames:
			if err := to.Deliver(link.NewPacket(packet)); err != nil {
				t.Errorf("a rule was broken: %v", err)
			}
		case <-p.closed:
			return
		}
	}
}

// Unary makes a call of one message each way: response is filled in.
func Unary[R proto.Message](ctx context.Context, host *call.Peer, name string, request proto.Message, response R) (R, error) {
	err := host.Call(ctx, name, request, response)
	if err != nil {
		var none R
		return none, err
	}
	return response, nil
}

// Download is a call that is answered with many messages.
type Download[R any, PR interface {
	*R
	proto.Message
}] struct {
	stream  *call.Stream
	message PR
	err     error
}

// Receive waits for the next message.
func (d *Download[R, PR]) Receive() bool {
	d.message = PR(new(R))
	d.err = d.stream.Receive(d.message)
	return d.err == nil
}

// Msg is what Receive received.
func (d *Download[R, PR]) Msg() PR { return d.message }

// Err is nil after the end of a call that went well.
func (d *Download[R, PR]) Err() error {
	if d.err == io.EOF {
		return nil
	}
	return d.err
}

// Close leaves the call.
func (d *Download[R, PR]) Close() error {
	d.stream.Leave()
	return nil
}

// OpenDownload begins one.
func OpenDownload[R any, PR interface {
	*R
	proto.Message
}](ctx context.Context, host *call.Peer, name string, request proto.Message) (*Download[R, PR], error) {
	stream, err := host.Open(ctx, name, request, true)
	if err != nil {
		return nil, err
	}
	return &Download[R, PR]{stream: stream}, nil
}

// Upload is a call of many messages that is answered with one.
type Upload[Q, R proto.Message] struct {
	stream   *call.Stream
	response R
	err      error
}

// OpenUpload begins one; response is filled in.
func OpenUpload[Q, R proto.Message](ctx context.Context, host *call.Peer, name string, response R) *Upload[Q, R] {
	stream, err := host.Open(ctx, name, nil, false)
	return &Upload[Q, R]{stream, response, err}
}

// Send sends a message; io.EOF means that the answer is there already.
func (u *Upload[Q, R]) Send(message Q) error {
	if u.err != nil {
		return u.err
	}
	return u.stream.Send(message)
}

// CloseAndReceive waits for the answer.
func (u *Upload[Q, R]) CloseAndReceive() (R, error) {
	var none R
	if u.err != nil {
		return none, u.err
	}
	defer u.stream.Leave()
	if err := u.stream.CloseSend(); err != nil {
		return none, err
	}
	if err := u.stream.Receive(u.response); err != nil {
		return none, err
	}
	return u.response, nil
}

// CodeOf is the code in the detail of an error of the wire.
func CodeOf(err error) string {
	if wire, ok := errors.AsType[*failure.Error](err); ok && wire.Detail != nil {
		return wire.Detail.Code
	}
	return ""
}
