package file

import (
	"context"
	"errors"
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/changes"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/inodes"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/walk"
)

// Changes streams what differs from the baseline below a directory.
func (s *Service) Changes(ctx context.Context, request *guestv1.ChangesRequest, stream call.Sends[*guestv1.ChangesResponse]) error {
	name, err := checkPath(request.Path)
	if err != nil {
		return err
	}
	below, err := checkBelow(request.Below)
	if err != nil {
		return err
	}
	old, err := s.baseline()
	if err != nil {
		return err
	}
	before, after, err := openBoth(old, s.options.Root, name, path.Dir(below))
	if err != nil {
		return err
	}
	defer closeDirectory(before)
	defer closeDirectory(after)
	out := &changeBatch{stream: stream}
	options := changes.Options{Emit: out.add}
	if table := s.inodes(); table != nil {
		options.Inode = table.Stat
	}
	comparison := changes.New(ctx, options)
	if below == "." {
		err = comparison.Directories(before, after)
	} else {
		prefix := path.Dir(below)
		if prefix == "." {
			prefix = ""
		}
		err = comparison.One(before, after, prefix, path.Base(below))
	}
	if err != nil {
		return changesFailure(ctx, err)
	}
	out.batch.Examined = comparison.Examined
	return out.send()
}

func (s *Service) inodes() *inodes.Table {
	if s.options.Inodes == nil {
		return nil
	}
	return s.options.Inodes()
}

func changesFailure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, walk.ErrTooDeep), errors.Is(err, walk.ErrTooManyNames):
		return failure.New(failure.GuestFileRefused, "remove that directory, or compare a part of the tree", "%v", err)
	}
	return failure.From(err)
}

// checkBelow takes a path below the directory; "." is the directory itself.
func checkBelow(raw []byte) (string, error) {
	name := string(raw)
	if strings.HasPrefix(name, "/") || strings.IndexByte(name, 0) >= 0 || len(name) > walk.MaxPathBytes {
		return "", failure.New(failure.InvalidArgument, "use a relative path of at most 4,095 bytes", "%.200q is no path below the directory", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", failure.New(failure.GuestFileRefused, `use a path without ".."`, `the path %q contains ".."`, name)
		}
	}
	return path.Clean(name), nil
}

// openBoth opens a directory, and one below it without links on that way, in both trees: where it is missing it is
// changes.Absent, unless it is in both.
func openBoth(old, now rootdir.Root, name, below string) (before, after int, err error) {
	if before, err = openOne(old, name, below); err != nil {
		return changes.Absent, changes.Absent, err
	}
	if after, err = openOne(now, name, below); err != nil {
		closeDirectory(before)
		return changes.Absent, changes.Absent, err
	}
	if before == changes.Absent && after == changes.Absent {
		return before, after, accessFailure(path.Join(name, below), unix.ENOENT)
	}
	return before, after, nil
}

func openOne(root rootdir.Root, name, below string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY
	top, err := root.Open(name, flags, 0)
	if err == nil && below != "." {
		parent := top
		top, err = rootdir.OpenAt(parent, below, flags, 0, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
		_ = unix.Close(parent)
	}
	if err == nil {
		return top, nil
	}
	if walk.Vanished(err) {
		return changes.Absent, nil
	}
	return changes.Absent, accessFailure(name, err)
}

func closeDirectory(fd int) {
	if fd != changes.Absent {
		_ = unix.Close(fd)
	}
}

// changeBatch sends changes in batches.
type changeBatch struct {
	stream call.Sends[*guestv1.ChangesResponse]
	batch  guestv1.ChangesResponse
	bytes  int
}

func (b *changeBatch) add(change *guestv1.Change) error {
	bytes := proto.Size(change) + 8
	if b.bytes+bytes > batchBytes {
		if err := b.send(); err != nil {
			return err
		}
	}
	b.batch.Changes = append(b.batch.Changes, change)
	b.bytes += bytes
	return nil
}

func (b *changeBatch) send() error {
	err := b.stream.Send(&b.batch)
	b.batch.Changes, b.bytes = b.batch.Changes[:0], 0
	return err
}
