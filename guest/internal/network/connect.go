package network

import (
	"context"
	"errors"
	"sync"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
)

// outgoing is the host's side of a connection that a program opened.
type outgoing struct {
	*call.Duplex[*guestv1.ConnectRequest, *guestv1.ConnectResponse]
}

func openOutgoing(ctx context.Context, host *call.Peer, target *guestv1.ConnectTarget) (outgoing, error) {
	first := &guestv1.ConnectRequest{Part: &guestv1.ConnectRequest_Open{Open: target}}
	duplex, err := call.OpenDuplex(ctx, host, "pyro.guest.v1.GatewayService/Connect", first, dataField,
		func(m *guestv1.ConnectResponse) *[]byte {
			part := &guestv1.ConnectResponse_Data{}
			m.Part = part
			return &part.Data
		})
	return outgoing{duplex}, err
}

func (o outgoing) receive() ([]byte, bool, error) {
	if !o.Receive() {
		return nil, false, errors.Join(errEarly, o.Err())
	}
	switch part := o.Msg().Part.(type) {
	case *guestv1.ConnectResponse_Data:
		return part.Data, false, nil
	case *guestv1.ConnectResponse_Finished:
		return nil, true, nil
	default:
		return nil, false, errEarly
	}
}

func (o outgoing) room(chunk *call.Chunk) ([]byte, error) {
	return chunk.Begin(&guestv1.ConnectRequest{})
}

func (o outgoing) send(chunk *call.Chunk, n int) error { return o.SendChunk(chunk, n) }

func (o outgoing) finish() error {
	return o.SendLast(&guestv1.ConnectRequest{Part: &guestv1.ConnectRequest_Finished{Finished: &guestv1.StreamFinished{}}})
}

// settle waits for the host's word that the call is over: leaving before would be a reset.
func (o outgoing) settle() error {
	if o.Receive() {
		return errEarly
	}
	return o.Err()
}

func (o outgoing) stop() { o.Cancel() }

// connect serves one connect of a program.
func (s *Service) connect(ctx context.Context, a *attempt) {
	select {
	case s.connections <- struct{}{}:
		defer func() { <-s.connections }()
	default:
		s.refusals.do(func() {
			s.options.Log.Printf("more than %d connections at once: one to %s is refused", maxConnections, a.to)
		})
		_ = a.refuse()
		return
	}
	host, epoch := s.host()
	if host == nil {
		_ = a.fail(hostUnreachable)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(epoch, cancel)()
	target := &guestv1.ConnectTarget{Address: a.to.Addr().AsSlice(), Port: uint32(a.to.Port())}
	if a.group != 0 {
		target.OpenedBy = s.options.Commands.OwnerOf(a.group)
	}
	out, err := openOutgoing(ctx, host, target)
	if err != nil {
		_ = a.fail(hostUnreachable)
		return
	}
	defer out.Leave()
	if !out.Receive() {
		_ = a.fail(hostUnreachable)
		return
	}
	switch part := out.Msg().Part.(type) {
	case *guestv1.ConnectResponse_Opened:
		conn, err := a.accept()
		if err != nil {
			return
		}
		_ = carry(ctx, conn, out)
	case *guestv1.ConnectResponse_Refused:
		s.refusals.do(func() { s.options.Log.Printf("a connection to %s is refused: %q", a.to, part.Refused.Message) })
		_ = a.reject(part.Refused.Because)
		_ = out.settle()
	default:
		_ = a.fail(hostUnreachable)
	}
}

// reject makes the connect fail as the host says.
func (a *attempt) reject(because guestv1.RefusedBecause) error {
	switch because {
	case guestv1.RefusedBecause_REFUSED_BECAUSE_REFUSED:
		return a.refuse()
	case guestv1.RefusedBecause_REFUSED_BECAUSE_POLICY, guestv1.RefusedBecause_REFUSED_BECAUSE_LIMIT:
		return a.fail(prohibited)
	default:
		return a.fail(hostUnreachable)
	}
}

// seldom does what it is told to once a second at most: programs that try again and again are not to fill the console.
type seldom struct {
	mu   sync.Mutex
	last time.Time
}

func (s *seldom) do(what func()) {
	s.mu.Lock()
	due := time.Since(s.last) >= time.Second
	if due {
		s.last = time.Now()
	}
	s.mu.Unlock()
	if due {
		what()
	}
}
