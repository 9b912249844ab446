// Package file reads, writes and unpacks files of the guest for the host, independently of the commands that run.
//
// Invariants:
//   - paths are absolute guest paths, resolved within the root directory of the commands;
//   - only regular files are read and replaced: no device, pipe or socket is ever opened;
//   - a file is replaced whole or not at all.
package file

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	guestv1 "pyro/guest/gen/pyro/guest/v1"
	"pyro/guest/internal/call"
	"pyro/guest/internal/failure"
	"pyro/guest/internal/rootdir"
)

// unpackBytes is what an archive is read ahead.
const unpackBytes = 64 << 10

// Service is the FileService.
type Service struct{ root rootdir.Root }

// New serves the files below the root.
func New(root rootdir.Root) *Service { return &Service{root} }

// checkPath takes an absolute path and gives it without superfluous parts; ".." stays, the kernel resolves it.
func checkPath(raw []byte) (string, error) {
	name := string(raw)
	switch {
	case !path.IsAbs(name):
		return "", failure.New(failure.InvalidArgument, "use an absolute path in the guest", "the path %q is not absolute", name)
	case strings.IndexByte(name, 0) >= 0:
		return "", failure.New(failure.InvalidArgument, "use a path without NUL bytes", "the path %q contains a NUL byte", name)
	case len(name) >= unix.PathMax:
		return "", failure.New(failure.InvalidArgument, "use a shorter path", "the path has %d bytes; Linux takes at most %d", len(name), unix.PathMax-1)
	}
	return name, nil
}

// accessFailure names what the kernel said about a path.
func accessFailure(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return failure.New(failure.GuestFileNotFound, "list the directory to see what is there", "%q does not exist in the guest", name)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS), errors.Is(err, unix.ELOOP),
		errors.Is(err, unix.ENAMETOOLONG), errors.Is(err, unix.ETXTBSY), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EXDEV):
		return failure.New(failure.GuestFileRefused, "choose another path", "%q cannot be used: %v", name, cause(err))
	default:
		return failure.From(fmt.Errorf("%q: %w", name, err))
	}
}

func cause(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

func notRegular(name string, mode uint32) error {
	kind := map[uint32]string{
		unix.S_IFDIR: "a directory", unix.S_IFCHR: "a device", unix.S_IFBLK: "a device",
		unix.S_IFIFO: "a pipe", unix.S_IFSOCK: "a socket",
	}[mode&unix.S_IFMT]
	return failure.New(failure.GuestFileRefused, "name a regular file", "%q is %s", name, kind)
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.FileService/Read":       call.ServerStream(s.Read),
		"pyro.guest.v1.FileService/Write":      call.ClientStream(s.Write, 3, func(m *guestv1.WriteRequest) *[]byte { return &m.Data }),
		"pyro.guest.v1.FileService/ExtractTar": call.ClientStream(s.ExtractTar, 2, func(m *guestv1.ExtractTarRequest) *[]byte { return &m.Data }),
	}
}
