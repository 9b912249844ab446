package file

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// Read streams a regular file from an offset.
func (s *Service) Read(ctx context.Context, request *guestv1.ReadRequest, stream call.Sends[*guestv1.ReadResponse]) error {
	name, err := checkPath(request.Path)
	if err != nil {
		return err
	}
	view, err := s.viewIn(request.Tree, request.Within)
	if err != nil {
		return err
	}
	file, stat, err := openRegular(view, name)
	if err != nil {
		return err
	}
	defer file.Close()
	offset := request.Offset
	if offset > 1<<62 {
		return failure.New(failure.InvalidArgument, "use an offset within the file", "the offset %d is too large", offset)
	}
	if _, err := file.Seek(int64(offset), io.SeekStart); err != nil {
		return accessFailure(name, err)
	}
	limit := request.MaxBytes
	if limit == 0 {
		limit = 1 << 62
	}
	message := &guestv1.ReadResponse{SizeBytes: uint64(stat.Size)}
	chunk := call.NewChunk(2)
	for first := true; ; first = false {
		room, err := chunk.Begin(message)
		if err != nil {
			return failure.From(err)
		}
		n, err := io.ReadFull(file, room[:min(limit, uint64(len(room)))])
		ended := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !ended {
			return failure.From(fmt.Errorf("read %q: %w", name, err))
		}
		limit -= uint64(n)
		if n > 0 || first {
			if err := stream.SendChunk(chunk, n); err != nil {
				return err
			}
			message.SizeBytes = 0
		}
		if ended || limit == 0 || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// openRegular looks before it opens: opening a device or a pipe can do something, or wait for ever.
func openRegular(view rootdir.View, name string) (*os.File, *unix.Stat_t, error) {
	handle, err := view.Open(name, unix.O_PATH)
	if err != nil {
		return nil, nil, accessFailure(name, err)
	}
	defer unix.Close(handle)
	var stat unix.Stat_t
	if err := unix.Fstat(handle, &stat); err != nil {
		return nil, nil, accessFailure(name, err)
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, nil, notRegular(name, stat.Mode)
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", handle), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, accessFailure(name, err)
	}
	return os.NewFile(uintptr(fd), name), &stat, nil
}
