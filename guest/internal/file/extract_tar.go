package file

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/archive"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// ExtractTar unpacks the stream under a directory, which is made when it is missing. What is there is overwritten,
// never deleted. A refused entry ends it; what came before stays. In a directory that is not root's, all of it belongs to
// that directory's owner; else to whom the archive says.
func (s *Service) ExtractTar(ctx context.Context, stream call.Receives[*guestv1.ExtractTarRequest]) (*guestv1.ExtractTarResponse, error) {
	if !stream.Receive() {
		if err := stream.Err(); err != nil {
			return nil, err
		}
		return nil, failure.New(failure.InvalidArgument, "send at least one message", "the stream names no directory")
	}
	name, err := checkPath(stream.Msg().Directory)
	if err != nil {
		return nil, err
	}
	view, err := s.view(stream.Msg().Within)
	if err != nil {
		return nil, err
	}
	top, err := openOrMake(view, name)
	if err != nil {
		return nil, accessFailure(name, err)
	}
	defer unix.Close(top)
	from := &received{stream: stream, rest: stream.Msg().Data}
	options := archive.Options{}
	if uid, gid, other, err := rootdir.Owner(top); err != nil {
		return nil, accessFailure(name, err)
	} else if other {
		options.Owner = &archive.Owner{UID: uid, GID: gid}
	}
	unpacked, err := archive.Unpack(ctx, top, bufio.NewReaderSize(from, unpackBytes), options)
	if err == nil {
		// Padding after the archive's end: the sender is to see its stream taken whole.
		_, err = io.Copy(io.Discard, from)
	}
	if err != nil {
		return nil, extractFailure(ctx, stream.Err(), err)
	}
	return &guestv1.ExtractTarResponse{EntryCount: unpacked.Entries, BytesWritten: unpacked.Bytes}, nil
}

func extractFailure(ctx context.Context, streamErr, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case streamErr != nil:
		return streamErr
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return failure.New(failure.GuestDiskFull, "free some space in the guest, or use a larger disk", "unpack the archive: %v", err)
	case errors.Is(err, archive.ErrTooLarge):
		return failure.New(failure.GuestDiskFull, "leave it out, or bring a part of it", "unpack the files: %v", err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF):
		return failure.New(failure.InvalidArgument, "send a whole, uncompressed tar archive", "unpack the archive: %v", err)
	}
	if _, ok := errors.AsType[*archive.EntryError](err); ok {
		return failure.New(failure.GuestFileRefused, "leave that entry out of the archive", "unpack the archive: %v", err)
	}
	return failure.From(err)
}

// received is the data of the messages as one stream.
type received struct {
	stream call.Receives[*guestv1.ExtractTarRequest]
	rest   []byte
}

func (r *received) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.stream.Receive() {
			if err := r.stream.Err(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		r.rest = r.stream.Msg().Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
