package builder

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/archive"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
)

const (
	// The number of the field `data` of a PackImageResponse.
	dataField = 1
	// Names at the top that a request may have left out.
	maxLeaveOut = 16
)

// PackImage streams the tree of an image's disk as one tar. Nothing is compressed here: under emulation the host does it
// several times faster.
func (s *Service) PackImage(ctx context.Context, request *guestv1.PackImageRequest, stream call.Sends[*guestv1.PackImageResponse]) error {
	if err := checkDevice(request.Device); err != nil {
		return err
	}
	if len(request.LeaveOutEmpty) > maxLeaveOut {
		return failure.New(failure.InvalidArgument, "name fewer", "%d names are more than %d", len(request.LeaveOutEmpty), maxLeaveOut)
	}
	end, err := s.begin()
	if err != nil {
		return err
	}
	defer end()
	packed, err := packDevice(ctx, request, stream)
	if err != nil {
		return packFailure(ctx, err)
	}
	result := &guestv1.PackResult{EntryCount: packed.Entries, LeftOut: packed.LeftOut}
	return stream.Send(&guestv1.PackImageResponse{Result: result})
}

func packDevice(ctx context.Context, request *guestv1.PackImageRequest, stream call.Sends[*guestv1.PackImageResponse]) (packed archive.Packed, err error) {
	source, err := mountToRead(request.Device, sourcePath, "")
	if err != nil {
		return packed, err
	}
	defer source.unmount()
	return packTree(ctx, source.top, request.LeaveOutEmpty, stream)
}

// packTree streams the tree below an open directory.
func packTree(ctx context.Context, root int, leaveOutEmpty []string, stream call.Sends[*guestv1.PackImageResponse]) (archive.Packed, error) {
	var disk unix.Statfs_t
	if err := unix.Fstatfs(root, &disk); err != nil {
		return archive.Packed{}, fmt.Errorf("measure the image: %w", err)
	}
	used := (disk.Blocks - disk.Bfree) * uint64(disk.Bsize)
	if err := stream.Send(&guestv1.PackImageResponse{UsedBytes: used}); err != nil {
		return archive.Packed{}, err
	}
	chunks := &chunkWriter{stream: stream, chunk: call.NewChunk(dataField)}
	packed, err := archive.Pack(ctx, root, chunks, archive.PackOptions{LeaveOutEmpty: leaveOutEmpty})
	if err != nil {
		return packed, err
	}
	return packed, chunks.flush()
}

func packFailure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, portable := errors.AsType[*archive.PortabilityError](err); portable {
		return failure.New(failure.EnvironmentNotPortable, "remove or rename it in a workspace, save that as an environment, and push it", "%v", err)
	}
	for _, broken := range []error{unix.EIO, unix.EUCLEAN, unix.EBADMSG, unix.EINVAL, io.ErrUnexpectedEOF} {
		if errors.Is(err, broken) {
			return failure.New(failure.EnvironmentDamaged, "make the environment again", "the image cannot be read: %v", err)
		}
	}
	return failure.From(err)
}

// chunkWriter sends what is written in messages that are as large as they may be.
type chunkWriter struct {
	stream call.Sends[*guestv1.PackImageResponse]
	chunk  *call.Chunk
	room   []byte
	used   int
}

func (w *chunkWriter) Write(data []byte) (int, error) {
	written := 0
	for written < len(data) {
		if w.used == len(w.room) {
			if err := w.flush(); err != nil {
				return written, err
			}
			room, err := w.chunk.Begin(&guestv1.PackImageResponse{})
			if err != nil {
				return written, err
			}
			w.room = room
		}
		n := copy(w.room[w.used:], data[written:])
		w.used += n
		written += n
	}
	return written, nil
}

func (w *chunkWriter) flush() error {
	if w.used == 0 {
		return nil
	}
	err := w.stream.SendChunk(w.chunk, w.used)
	w.room, w.used = nil, 0
	return err
}
