package file

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

// Write replaces or makes a regular file. Missing directories on the way are made; a link at the end is followed, so
// that what it leads to is replaced and the link stays.
func (s *Service) Write(ctx context.Context, stream call.Receives[*guestv1.WriteRequest]) (*guestv1.WriteResponse, error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, failure.New(failure.InvalidArgument, "send at least one message", "the stream names no file")
	}
	name, err := checkPath(stream.Msg().Path)
	if err != nil {
		return nil, err
	}
	view, err := s.view(stream.Msg().Within)
	if err != nil {
		return nil, err
	}
	place, err := placeOf(view, name, openOrMake)
	if err != nil {
		return nil, err
	}
	defer unix.Close(place.directory)
	written, err := place.write(ctx, stream)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, ok := errors.AsType[*failure.Error](err); ok {
			return nil, err
		}
		return nil, accessFailure(name, err)
	}
	return &guestv1.WriteResponse{BytesWritten: written}, nil
}

func (p *place) write(ctx context.Context, stream call.Receives[*guestv1.WriteRequest]) (written uint64, err error) {
	mode := stream.Msg().Mode
	fresh, err := newTemporary(p.directory)
	if err != nil {
		return 0, err
	}
	defer fresh.close()
	for more := true; more; more = stream.Receive() {
		if err := fresh.write(stream.Msg().Data); err != nil {
			return written, err
		}
		written += uint64(len(stream.Msg().Data))
	}
	// A stream that broke off is no end of the file.
	if err := errors.Join(stream.Err(), ctx.Err()); err != nil {
		return written, err
	}
	if err := fresh.adopt(p.directory, p.old, mode); err != nil {
		return written, err
	}
	return written, fresh.replace(p.directory, p.base)
}
