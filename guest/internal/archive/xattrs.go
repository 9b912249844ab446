package archive

import (
	"archive/tar"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	xattrPrefix = "SCHILY.xattr."
	defaultACL  = "system.posix_acl_default"
)

func hasXattrs(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, xattrPrefix) {
			return true
		}
	}
	return false
}

// attributed is something with extended attributes: what is open, or what has a name and is not opened.
type attributed struct {
	set    func(path, name string, value []byte, flags int) error
	list   func(path string, names []byte) (int, error)
	remove func(path, name string) error
	path   string
}

func opened(fd int) attributed {
	return attributed{unix.Setxattr, unix.Listxattr, unix.Removexattr, fmt.Sprintf("/proc/self/fd/%d", fd)}
}

func named(directory int, base string) attributed {
	return attributed{unix.Lsetxattr, unix.Llistxattr, unix.Lremovexattr, fmt.Sprintf("/proc/self/fd/%d/%s", directory, base)}
}

// setXattrs keeps what the file system can keep; the OCI specification asks for no more.
func (a attributed) setXattrs(header *tar.Header) error {
	total := 0
	for key, value := range header.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok {
			continue
		}
		if total += len(name) + len(value); len(name) > maxXattrName || len(value) > maxXattrBytes {
			return fmt.Errorf("%w: %q", ErrXattr, clipName(name))
		}
		err := a.set(a.path, name, []byte(value), 0)
		switch {
		case err == nil, err == unix.ENOTSUP:
		case err == unix.EPERM && strings.HasPrefix(name, "user."):
			// Linux takes "user." attributes on files and directories only.
		case err == unix.E2BIG, err == unix.ENOSPC && total > keptXattrBytes/2:
			return fmt.Errorf("%w: %q", ErrXattr, clipName(name))
		default:
			return fmt.Errorf("set the extended attribute %q: %w", clipName(name), err)
		}
	}
	return nil
}

// dropXattrs removes the extended attributes that the header does not have: of a directory that a lower layer brought,
// or inherited from the one above.
func (a attributed) dropXattrs(header *tar.Header) error {
	names := make([]byte, maxXattrBytes)
	n, err := a.list(a.path, names)
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list its extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if _, kept := header.PAXRecords[xattrPrefix+name]; kept || name == "" {
			continue
		}
		if err := a.remove(a.path, name); err != nil && err != unix.ENOTSUP && err != unix.ENODATA && err != unix.EPERM {
			return fmt.Errorf("remove the extended attribute %q: %w", name, err)
		}
	}
	return nil
}

// inheritsACL tells whether what is made in an open directory takes an access list from it.
func inheritsACL(fd int) bool {
	_, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), defaultACL, nil)
	return err == nil
}
