package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

const (
	defaultMode = 0o644
	maxLinks    = 40
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
	place, err := s.placeOf(name)
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

// place is where a file is to be: an open directory and a name in it that is no link.
type place struct {
	directory int
	base      string
	// Of the file that is there; nil where there is none.
	old *unix.Stat_t
}

// placeOf follows links at the end of the path by hand: the last directory must be known to make a file beside.
func (s *Service) placeOf(name string) (*place, error) {
	at := name
	for range maxLinks {
		if strings.HasSuffix(at, "/") || path.Base(at) == "." || path.Base(at) == ".." {
			return nil, failure.New(failure.GuestFileRefused, "name a regular file", "%q is a directory", name)
		}
		directoryName, base := path.Split(at)
		directory, err := s.openOrMake(directoryName)
		if err != nil {
			return nil, accessFailure(name, err)
		}
		var stat unix.Stat_t
		err = unix.Fstatat(directory, base, &stat, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == unix.ENOENT:
			return &place{directory, base, nil}, nil
		case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFREG:
			return &place{directory, base, &stat}, nil
		case err == nil && stat.Mode&unix.S_IFMT == unix.S_IFLNK:
			link := make([]byte, unix.PathMax)
			n, linkErr := unix.Readlinkat(directory, base, link)
			_ = unix.Close(directory)
			if linkErr != nil {
				return nil, accessFailure(name, linkErr)
			}
			if at = string(link[:n]); !path.IsAbs(at) {
				at = directoryName + at
			}
		default:
			_ = unix.Close(directory)
			if err != nil {
				return nil, accessFailure(name, err)
			}
			return nil, notRegular(name, stat.Mode)
		}
	}
	return nil, accessFailure(name, unix.ELOOP)
}

// openOrMake opens a directory, and makes what is missing of it.
func (s *Service) openOrMake(name string) (int, error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY
	fd, err := s.root.Open(name, flags, 0)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	at, err := s.root.Open("/", flags, 0)
	if err != nil {
		return -1, err
	}
	walked := ""
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." {
			continue
		}
		walked += "/" + part
		next, err := s.root.Open(walked, flags, 0)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(at, part, 0o755); err == nil {
				next, err = rootdir.OpenAt(at, part, flags|unix.O_NOFOLLOW, 0, 0)
			}
		}
		_ = unix.Close(at)
		if err != nil {
			return -1, err
		}
		at = next
	}
	return at, nil
}

func (p *place) write(ctx context.Context, stream call.Receives[*guestv1.WriteRequest]) (written uint64, err error) {
	mode := stream.Msg().Mode & 0o7777
	if mode == 0 {
		mode = defaultMode
		if p.old != nil {
			mode = p.old.Mode & 0o7777
		}
	}
	temporary := ".pyro-" + rand.Text()
	fd, err := unix.Openat(p.directory, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, err
	}
	renamed := false
	defer func() {
		_ = unix.Close(fd)
		if !renamed {
			_ = unix.Unlinkat(p.directory, temporary, 0)
		}
	}()
	for more := true; more; more = stream.Receive() {
		data := stream.Msg().Data
		for len(data) > 0 {
			n, err := unix.Write(fd, data)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return written, fmt.Errorf("write: %w", err)
			}
			written += uint64(n)
			data = data[n:]
		}
	}
	// A stream that broke off is no end of the file.
	if err := errors.Join(stream.Err(), ctx.Err()); err != nil {
		return written, err
	}
	if p.old != nil && unix.Geteuid() == 0 {
		if err := unix.Fchown(fd, int(p.old.Uid), int(p.old.Gid)); err != nil {
			return written, err
		}
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return written, err
	}
	if err := unix.Renameat(p.directory, temporary, p.directory, p.base); err != nil {
		return written, err
	}
	renamed = true
	return written, nil
}
