// Package file reads, writes and unpacks files of the guest for the host, independently of the commands that run.
//
// Invariants:
//   - paths are absolute guest paths, resolved within the root directory of the commands, and beneath the directory that
//     a call is bound to (within);
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
	"pyro/guest/internal/inodes"
	"pyro/guest/internal/rootdir"
)

// unpackBytes is what an archive is read ahead.
const unpackBytes = 64 << 10

// Options of a Service.
type Options struct {
	// Of the commands.
	Root rootdir.Root
	// Opens the baseline's tree, or gives it again; nil where the machine can have none.
	Baseline func() (rootdir.Root, error)
	// The baseline's inodes, where they can be read without a look by name; nil where they never can.
	Inodes func() *inodes.Table
}

// Service is the FileService.
type Service struct{ options Options }

// New serves the files below the root.
func New(options Options) *Service { return &Service{options} }

// view is what of the root a call may reach.
func (s *Service) view(within []byte) (rootdir.View, error) { return viewOf(s.options.Root, within) }

// viewIn is view in either tree.
func (s *Service) viewIn(tree guestv1.Tree, within []byte) (rootdir.View, error) {
	switch tree {
	case guestv1.Tree_TREE_UNSPECIFIED:
		return s.view(within)
	case guestv1.Tree_TREE_BASELINE:
		root, err := s.baseline()
		if err != nil {
			return rootdir.View{}, err
		}
		return viewOf(root, within)
	}
	return rootdir.View{}, failure.New(failure.InvalidArgument, "", "there is no tree %d", tree)
}

func viewOf(root rootdir.Root, within []byte) (rootdir.View, error) {
	name := ""
	if len(within) > 0 {
		var err error
		if name, err = checkPath(within); err != nil {
			return rootdir.View{}, err
		}
	}
	view, err := root.Within(name)
	if err != nil {
		return rootdir.View{}, accessFailure(name, err)
	}
	return view, nil
}

func (s *Service) baseline() (rootdir.Root, error) {
	if s.options.Baseline == nil {
		return rootdir.Root{}, noBaseline(unix.ENODEV)
	}
	root, err := s.options.Baseline()
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOTBLK):
		return root, noBaseline(err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EUCLEAN), errors.Is(err, unix.EIO), errors.Is(err, unix.EBADMSG):
		return root, failure.New(failure.EnvironmentDamaged, "reset the workspace", "the disk of the baseline holds no good ext4 file system: %v", err)
	}
	return root, failure.From(err)
}

func noBaseline(err error) error {
	return failure.New(failure.InvalidArgument, "start the machine with its baseline as the second disk", "the machine has no baseline disk: %v", cause(err))
}

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
	if _, ok := errors.AsType[*failure.Error](err); ok {
		return err
	}
	if outside, ok := errors.AsType[*rootdir.OutsideError](err); ok {
		return failure.New(failure.GuestFileRefused, fmt.Sprintf("use a path below %q", outside.Directory), "%q cannot be used: %v", name, outside)
	}
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
		unix.S_IFIFO: "a pipe", unix.S_IFSOCK: "a socket", unix.S_IFLNK: "a link",
	}[mode&unix.S_IFMT]
	return failure.New(failure.GuestFileRefused, "name a regular file", "%q is %s", name, kind)
}

// Methods are the service on the wire.
func (s *Service) Methods() call.Methods {
	return call.Methods{
		"pyro.guest.v1.FileService/Read":       call.ServerStream(s.Read),
		"pyro.guest.v1.FileService/Write":      call.ClientStream(s.Write, 3, func(m *guestv1.WriteRequest) *[]byte { return &m.Data }),
		"pyro.guest.v1.FileService/List":       call.ServerStream(s.List),
		"pyro.guest.v1.FileService/Edit":       call.Unary(s.Edit),
		"pyro.guest.v1.FileService/PackTar":    call.ServerStream(s.PackTar),
		"pyro.guest.v1.FileService/Commit":     call.ClientStream(s.Commit, 3, dataOfCommit),
		"pyro.guest.v1.FileService/Changes":    call.ServerStream(s.Changes),
		"pyro.guest.v1.FileService/ExtractTar": call.ClientStream(s.ExtractTar, 2, func(m *guestv1.ExtractTarRequest) *[]byte { return &m.Data }),
	}
}
