package clone

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// Of the kernel: XATTR_LIST_MAX and XATTR_SIZE_MAX.
	maxXattrBytes = 64 << 10
)

// attributes are what a thing has besides its content.
type attributes struct {
	kind, mode uint32
	uid, gid   int
	times      [2]unix.Timespec
	xattrs     []xattr
}

type xattr struct {
	name  string
	value []byte
}

func readAttributes(parent int, name string, stat *unix.Statx_t) (attributes, error) {
	a := attributes{
		kind: uint32(stat.Mode) & unix.S_IFMT, mode: uint32(stat.Mode) & 0o7777, uid: int(stat.Uid), gid: int(stat.Gid),
		times: [2]unix.Timespec{timespec(stat.Atime), timespec(stat.Mtime)},
	}
	path := inDirectory(parent, name)
	names := make([]byte, maxXattrBytes)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return a, fmt.Errorf("list its extended attributes: %w", err)
	}
	for each := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if each == "" {
			continue
		}
		value := make([]byte, maxXattrBytes)
		n, err := unix.Lgetxattr(path, each, value)
		if err != nil {
			return a, fmt.Errorf("read its extended attribute %q: %w", each, err)
		}
		a.xattrs = append(a.xattrs, xattr{each, value[:n:n]})
	}
	return a, nil
}

// write sets them: the owner first, which takes setuid and capabilities away; the times last.
func (a attributes) write(parent int, name string) error {
	if err := unix.Fchownat(parent, name, a.uid, a.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set its owner: %w", err)
	}
	if a.kind != unix.S_IFLNK {
		if err := unix.Fchmodat(parent, name, a.mode, 0); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	path := inDirectory(parent, name)
	for _, each := range a.xattrs {
		if err := unix.Lsetxattr(path, each.name, each.value, 0); err != nil {
			return fmt.Errorf("set its extended attribute %q: %w", each.name, err)
		}
	}
	if err := unix.UtimesNanoAt(parent, name, a.times[:], unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set its times: %w", err)
	}
	return nil
}

// inDirectory is a path for calls that take no descriptor; the name itself is not followed by those that begin with an l.
func inDirectory(parent int, name string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", parent, name)
}

func timespec(t unix.StatxTimestamp) unix.Timespec {
	return unix.Timespec{Sec: t.Sec, Nsec: int64(t.Nsec)}
}
