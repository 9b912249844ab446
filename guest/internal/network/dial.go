package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

// dialTimeout bounds a connect to the machine's own loopback: only a listener whose queue is full is slow.
const dialTimeout = 5 * time.Second

// incoming is the host's side of a connection to a published port.
type incoming struct {
	call.Both[*guestv1.DialRequest, *guestv1.DialResponse]
}

func (i incoming) receive() ([]byte, bool, error) {
	if !i.Receive() {
		return nil, false, errors.Join(errEarly, i.Err())
	}
	switch part := i.Msg().Part.(type) {
	case *guestv1.DialRequest_Data:
		return part.Data, false, nil
	case *guestv1.DialRequest_Finished:
		return nil, true, nil
	default:
		return nil, false, errEarly
	}
}

func (i incoming) room(chunk *call.Chunk) ([]byte, error) {
	return chunk.Begin(&guestv1.DialResponse{})
}

func (i incoming) send(chunk *call.Chunk, n int) error { return i.SendChunk(chunk, n) }

func (i incoming) finish() error {
	return i.Send(&guestv1.DialResponse{Part: &guestv1.DialResponse_Finished{Finished: &guestv1.StreamFinished{}}})
}

// settle has nothing to do: the method's end is the call's.
func (i incoming) settle() error { return nil }
func (i incoming) stop()         { i.Stop() }

// dialMethod serves Dial.
func (s *Service) dialMethod() call.Method {
	return call.BidiStream(s.Dial, dataField, func(m *guestv1.DialRequest) *[]byte {
		part := &guestv1.DialRequest_Data{}
		m.Part = part
		return &part.Data
	})
}

// Dial connects the host to a port of the machine's loopback.
func (s *Service) Dial(ctx context.Context, host call.Both[*guestv1.DialRequest, *guestv1.DialResponse]) error {
	if !host.Receive() {
		return failure.OfWire(failure.InvalidMessage, "a connection without a port")
	}
	open, ok := host.Msg().Part.(*guestv1.DialRequest_Open)
	if !ok || open.Open == 0 || open.Open > 65535 {
		return failure.OfWire(failure.InvalidMessage, "a connection without a port")
	}
	conn, err := dialLoopback(ctx, uint16(open.Open))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return host.Send(&guestv1.DialResponse{Part: &guestv1.DialResponse_Refused{Refused: refusal(err)}})
	}
	if err := host.Send(&guestv1.DialResponse{Part: &guestv1.DialResponse_Opened{Opened: &guestv1.StreamOpened{}}}); err != nil {
		reset(conn)
		return err
	}
	if err := carry(ctx, conn, incoming{host}); err != nil {
		return failure.OfWire(failure.Unavailable, "the connection was reset: %w", err)
	}
	return nil
}

func dialLoopback(ctx context.Context, port uint16) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAlive: -1}
	var failures []error
	for _, address := range []string{"127.0.0.1", "::1"} {
		conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
		if err == nil {
			return conn.(*net.TCPConn), nil
		}
		failures = append(failures, err)
	}
	return nil, errors.Join(failures...)
}

func refusal(err error) *guestv1.StreamRefused {
	because := guestv1.RefusedBecause_REFUSED_BECAUSE_UNREACHABLE
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		because = guestv1.RefusedBecause_REFUSED_BECAUSE_REFUSED
	case errors.Is(err, context.DeadlineExceeded):
		because = guestv1.RefusedBecause_REFUSED_BECAUSE_TIMED_OUT
	}
	return &guestv1.StreamRefused{Because: because, Message: fmt.Sprintf("nothing answers: %q", err)}
}
