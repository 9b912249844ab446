package file

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
	"pyro/guest/internal/walk"
)

const (
	defaultEntries = 100_000
	batchBytes     = 256 << 10
)

var errEnough = errors.New("enough entries")

// List streams what is in a directory, or one thing that is none.
func (s *Service) List(ctx context.Context, request *guestv1.ListFilesRequest, stream call.Sends[*guestv1.ListFilesResponse]) error {
	name, err := checkPath(request.Path)
	if err != nil {
		return err
	}
	view, err := s.view(request.Within)
	if err != nil {
		return err
	}
	handle, err := openAsIs(view, name)
	if err != nil {
		return err
	}
	defer unix.Close(handle)
	var stat unix.Statx_t
	if err := unix.Statx(handle, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &stat); err != nil {
		return accessFailure(name, err)
	}
	shown := []byte(tidy(name))
	list := &list{stream: stream, left: int(request.MaxEntries)}
	if list.left == 0 {
		list.left = defaultEntries
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		entry, err := entryOf(shown, &stat, handle, "")
		if err != nil {
			return accessFailure(name, err)
		}
		return errors.Join(list.add(entry), list.end(false))
	}
	return list.directory(ctx, handle, shown, request.Recursive)
}

// tidy takes superfluous slashes and dots out of a path. ".." stays: what it means depends on links.
func tidy(name string) string {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return "/" + strings.Join(parts, "/")
}

// openAsIs opens what a path leads to as a handle, and a link itself where that leads to nothing.
func openAsIs(view rootdir.View, name string) (int, error) {
	handle, err := view.Open(name, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) {
		handle, err = view.Open(name, unix.O_PATH|unix.O_NOFOLLOW)
	}
	if err != nil {
		return -1, accessFailure(name, err)
	}
	return handle, nil
}

// list sends entries in batches.
type list struct {
	stream call.Sends[*guestv1.ListFilesResponse]
	batch  guestv1.ListFilesResponse
	bytes  int
	left   int
}

func (l *list) directory(ctx context.Context, handle int, shown []byte, recursive bool) error {
	fd, err := walk.Open(handle, []byte("."))
	if err != nil {
		return accessFailure(string(shown), err)
	}
	defer unix.Close(fd)
	prefix := append(bytes.TrimSuffix(shown, []byte("/")), '/')
	clipped := false
	err = walk.Down(fd, recursive, func(at walk.Visited) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(prefix)+len(at.Path) > walk.MaxPathBytes {
			clipped = true
			return nil
		}
		entry, err := entryOf(append(bytes.Clone(prefix), at.Path...), at.Stat, at.Parent, string(at.Name))
		if err != nil {
			if walk.Vanished(err) {
				return nil
			}
			return err
		}
		return l.add(entry)
	}, func([]byte, error) error {
		clipped = true
		return nil
	})
	if err != nil && err != errEnough {
		return failure.From(err)
	}
	return l.end(clipped || err == errEnough)
}

// add says errEnough for one more than there may be.
func (l *list) add(entry *guestv1.FileEntry) error {
	if l.left == 0 {
		return errEnough
	}
	l.left--
	bytes := proto.Size(entry) + 8
	if l.bytes+bytes > batchBytes {
		if err := l.send(); err != nil {
			return err
		}
	}
	l.batch.Entries = append(l.batch.Entries, entry)
	l.bytes += bytes
	return nil
}

func (l *list) end(truncated bool) error {
	l.batch.Truncated = truncated
	return l.send()
}

func (l *list) send() error {
	err := l.stream.Send(&l.batch)
	l.batch.Entries, l.bytes = l.batch.Entries[:0], 0
	return err
}
