// Package walk reads directories and goes down trees for the file service and the comparison with the baseline.
//
// Invariants:
//   - no link is followed, and nothing but directories is opened;
//   - entries come in byte order of their paths, in which "a-b" comes before "a/b";
//   - what vanishes meanwhile is left out.
package walk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"pyro/guest/internal/quick"
)

const (
	// MaxNames bounds one directory: what is known of it is in memory at once.
	MaxNames = 1_000_000
	// MaxDepth bounds the descriptors that are open at once.
	MaxDepth = 1024
	// MaxPathBytes is the longest path; what has a longer one cannot be named in a call.
	MaxPathBytes = unix.PathMax - 1

	// Of struct linux_dirent64.
	direntLengthAt, direntTypeAt, direntNameAt = 16, 18, 19
)

// Errors of a directory.
var (
	ErrTooManyNames = errors.New("a directory has more than 1,000,000 entries")
	ErrTooDeep      = errors.New("directories lie too deep")
)

// Entry is a name in a directory.
type Entry struct {
	// A NUL lies behind its last byte.
	Name  []byte
	Inode uint64
	// One of unix.DT_*, never DT_UNKNOWN.
	Type byte
	// Not the entry itself but what lies below it, for a directory.
	Below bool
}

// Reader reads directories; its buffer is used again.
type Reader struct{ buffer []byte }

// NewReader makes one.
func NewReader() *Reader { return &Reader{make([]byte, 64<<10)} }

// Read gives the names in an open directory, in no order. Beyond MaxNames they are left out, with ErrTooManyNames.
func (r *Reader) Read(fd int) ([]Entry, error) {
	var entries []Entry
	for {
		n, err := unix.Getdents(fd, r.buffer)
		if err == unix.EINTR {
			continue
		}
		// A directory that was removed reads as ENOENT.
		if n <= 0 || err == unix.ENOENT {
			return entries, ignore(err, unix.ENOENT)
		}
		// Names take less than the structures that they came in: they are never moved.
		arena := make([]byte, 0, n)
		for rest := r.buffer[:n]; len(rest) > direntNameAt; {
			length := int(binary.NativeEndian.Uint16(rest[direntLengthAt:]))
			name := rest[direntNameAt:length]
			if end := bytes.IndexByte(name, 0); end >= 0 {
				name = name[:end]
			}
			inode, kind := binary.NativeEndian.Uint64(rest), rest[direntTypeAt]
			rest = rest[length:]
			if string(name) == "." || string(name) == ".." {
				continue
			}
			if len(entries) == MaxNames {
				return entries, ErrTooManyNames
			}
			begin := len(arena)
			arena = append(append(arena, name...), 0)
			name = arena[begin : len(arena)-1]
			if kind == unix.DT_UNKNOWN {
				if kind = typeOf(fd, name); kind == unix.DT_UNKNOWN {
					continue
				}
			}
			entries = append(entries, Entry{Name: name, Inode: inode, Type: kind})
		}
	}
}

func ignore(err error, harmless ...error) error {
	if slices.Contains(harmless, err) {
		return nil
	}
	return err
}

func typeOf(fd int, name []byte) byte {
	var stat unix.Statx_t
	if Stat(fd, name, &stat) != nil {
		return unix.DT_UNKNOWN
	}
	return byte(stat.Mode & unix.S_IFMT >> 12)
}

// Stat looks at an entry, at a link itself. The name is one of Read: a NUL must lie behind it, which is why there is no
// copy of it, as unix.Statx would make twice for each of 10,000 files.
func Stat(directory int, name []byte, stat *unix.Statx_t) error {
	const flags = unix.AT_SYMLINK_NOFOLLOW | unix.AT_STATX_SYNC_AS_STAT
	for {
		_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(directory), uintptr(unsafe.Pointer(unsafe.SliceData(name))),
			flags, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(stat)), 0)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// Look is Stat, quick where the directory is local and the entry is none itself.
func (e Entry) Look(directory int, local bool, stat *unix.Statx_t) error {
	if local && e.Type != unix.DT_DIR {
		return quick.Stat(directory, e.Name, stat)
	}
	return Stat(directory, e.Name, stat)
}

// Sort puts the names in byte order of the paths: each directory twice, itself and, in its place, what lies below it.
func Sort(entries []Entry) []Entry {
	for _, entry := range entries {
		if entry.Type == unix.DT_DIR {
			entry.Below = true
			entries = append(entries, entry)
		}
	}
	slices.SortFunc(entries, Compare)
	return entries
}

// Compare compares two names of one directory as the paths that begin with them.
func Compare(a, b Entry) int {
	common := min(len(a.Name), len(b.Name))
	if order := bytes.Compare(a.Name[:common], b.Name[:common]); order != 0 {
		return order
	}
	return a.next(common) - b.next(common)
}

// next is the byte of the path at an index at or right behind the end of the name.
func (e Entry) next(at int) int {
	switch {
	case at < len(e.Name):
		return int(e.Name[at])
	case e.Below:
		return '/'
	default:
		return -1
	}
}

// Open opens a directory that is an entry; no link.
func Open(directory int, name []byte) (int, error) {
	for {
		fd, err := unix.Openat(directory, string(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// Vanished tells whether an error says that an entry is not there any more, or is something else by now.
func Vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
