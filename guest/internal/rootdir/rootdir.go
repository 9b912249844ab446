// Package rootdir resolves guest paths within the root directory of the commands. In the machine that is "/"; in tests
// outside of one it may be any directory, and nothing outside of it is reached.
package rootdir

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Root is the root directory of the commands, or of another tree.
type Root struct {
	path string
	// Of a tree that has no path; -1 where there is one.
	fd int
}

// New takes the path of the directory as the agent sees it.
func New(path string) Root { return Root{path, -1} }

// OfDescriptor takes a directory that may have no path, such as the top of a mount that is attached nowhere. The
// descriptor stays the caller's, and open.
func OfDescriptor(fd int) Root { return Root{"", fd} }

// Chroot is what a child must be chrooted to; empty when the agent's own root is the commands' too.
func (r Root) Chroot() string {
	if r.path == "/" {
		return ""
	}
	return r.path
}

// Open opens a guest path. Links are followed as a chrooted process would; magic links of /proc are refused.
func (r Root) Open(path string, flags uint64, mode uint32) (int, error) {
	const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	if r.fd >= 0 {
		return OpenAt(r.fd, path, flags, mode, resolve)
	}
	top, err := unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: r.path, Err: err}
	}
	defer unix.Close(top)
	return OpenAt(top, path, flags, mode, resolve)
}

// OpenAt is openat2 with its transient failures retried.
func OpenAt(top int, path string, flags uint64, mode uint32, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Mode: uint64(mode), Resolve: resolve}
	// EAGAIN: somebody renamed along the path while the kernel walked it.
	for attempt := 0; ; attempt++ {
		fd, err := unix.Openat2(top, path, &how)
		if (err == unix.EAGAIN && attempt < 100) || err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

// Stat follows links, within the root.
func (r Root) Stat(path string) (unix.Stat_t, error) {
	var stat unix.Stat_t
	fd, err := r.Open(path, unix.O_PATH, 0)
	if err != nil {
		return stat, err
	}
	defer unix.Close(fd)
	if err := unix.Fstat(fd, &stat); err != nil {
		return stat, fmt.Errorf("stat %q: %w", path, err)
	}
	return stat, nil
}
